"""Commands about what crosses: export-part, return-part, materialise, follow-part."""

from pathlib import Path
from typing import Annotated

import typer

from client import following
from client.cli_parts import Licences, Minutes, Part, Parts, idempotency_key, tell
from client.console import (
    DEFAULT_TRUST,
    ChainOption,
    JsonOption,
    MemberOption,
    TrustOption,
    without_traceback,
)
from client.materialising import operations, way_in
from client.serial_lists import read_proofs
from client.session import open_chain
from ledger import codec, decimals
from ledger.errors import Malformed
from ledger.identifiers import canonical
from proto.chiptrace.v1.bridge_pb2 import ReturnPart, SendPart
from proto.chiptrace.v1.ledger_pb2 import Operation, UnitAmount

Quantity = Annotated[
    str, typer.Option("--quantity", help="How much of a lot, as a number; for amounts only.")
]
Unit = Annotated[str, typer.Option("--unit", help="UN/CEFACT unit code of the amount; none for pieces.")]


def register(app: typer.Typer) -> None:
    """Add the commands about crossings."""
    app.command("export-part")(export_part)
    app.command("return-part")(return_part)
    app.command("materialise")(materialise)
    app.command("follow-part")(follow_part)


@without_traceback
def export_part(
    part: Part,
    to: Annotated[str, typer.Option("--to", help="The light client, named after the chain it follows.")],
    receiver: Annotated[str, typer.Option("--receiver", help="Member of that chain who is to accept it.")],
    chain: ChainOption,
    member: MemberOption,
    quantity: Quantity = "",
    unit: Unit = "",
    timeout: Minutes = 60,
    licence: Licences = None,
    shown: Annotated[
        Path | None,
        typer.Option(
            "--shown", help="Of a serial first named here, of a lot by a root: its proof (`lot prove`)."
        ),
    ] = None,
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """Send a part with all that is in it over the bridge; or serials of a lot, LOT?interval=i-j; or an amount of one.

    It is on exactly one chain at any time.

    Example: chiptrace export-part ID --to assembler --receiver boardworks --chain chipmaker --as chipdist
    """
    name = canonical(part).text
    is_amount = canonical(part).is_class
    if is_amount != bool(quantity):
        raise Malformed(f"{name}: say --quantity for an amount of a lot, and for nothing else")
    with open_chain(trust, chain, member) as session:
        due = session.verified.advance().latest_time_ms + timeout * 60_000
        send = SendPart(client=to, part=name, receiver=receiver, timeout_ms=due, licences=licence or [])
        if is_amount:
            send.amount.CopyFrom(UnitAmount(unit=unit, amount=decimals.parse(quantity)))
        if shown is not None:
            proofs = read_proofs([shown])
            if name not in proofs:
                raise Malformed(f"{shown} is no proof of {name}")
            send.membership.CopyFrom(proofs[name])
        recorded = session.submitter().submit(
            [Operation(send_part=codec.encode(send))],
            idempotency_key("send", name, to, receiver, quantity, unit),
        )
        tell(recorded, f"sent to {receiver} over client {to}", as_json=as_json)


@without_traceback
def return_part(
    part: Part,
    chain: ChainOption,
    member: MemberOption,
    client: Annotated[str, typer.Option("--client", help="Of a lot: the client it came over.")] = "",
    sender: Annotated[str, typer.Option("--sender", help="Of a lot: who sent it, over there.")] = "",
    receiver: Annotated[str, typer.Option("--receiver", help="Of a lot: for whom it waits here.")] = "",
    unit: Unit = "",
    timeout: Minutes = 60,
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """Send what arrived over the bridge back to its shipper: declined, or its offer expired.

    Example: chiptrace return-part ID --chain assembler --as boardworks
    """
    name = canonical(part).text
    if canonical(part).is_class and not (client and sender and receiver):
        raise Malformed(f"{name}: of a lot say which shipment, by --client, --sender and --receiver")
    with open_chain(trust, chain, member) as session:
        due = session.verified.advance().latest_time_ms + timeout * 60_000
        message = ReturnPart(
            part=name, timeout_ms=due, client=client, sender=sender, receiver=receiver, unit=unit
        )
        recorded = session.submitter().submit(
            [Operation(return_part=codec.encode(message))],
            idempotency_key("return", name, client, sender, receiver, unit),
        )
        tell(recorded, "sent back", as_json=as_json)


@without_traceback
def materialise(
    parts: Parts,
    source: Annotated[str, typer.Option("--from", help="The chain that the container came from.")],
    chain: ChainOption,
    member: MemberOption,
    shown: Annotated[
        list[Path] | None,
        typer.Option("--shown", help="Of a serial first named there, of a lot by a root: its proof."),
    ] = None,
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """Make parts known that arrived inside a container, so that events can name them; with what is around them.

    Example: chiptrace materialise ID ID --from chipmaker --chain assembler --as boardworks
    """
    with open_chain(trust, chain, member) as session, open_chain(trust, source) as other:
        session.verified.snapshot()
        names = [
            name for part in parts for name in way_in(session.verified, other.verified, canonical(part).text)
        ]
        unique = list(dict.fromkeys(names))
        recorded = session.submitter().submit(
            operations(session.verified, other.verified, unique, read_proofs(shown or [])),
            idempotency_key("materialise", source, *unique),
        )
        tell(recorded, f"{len(unique)} known here now", as_json=as_json)


@without_traceback
def follow_part(
    part: Part,
    source: Annotated[str, typer.Option("--from", help="The chain that it went on from.")],
    chain: ChainOption,
    member: MemberOption,
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """Let a chain know where a part went on to, so that it may come from there: a step of a long route. Anyone may.

    Example: chiptrace follow-part ID --from assembler --chain chipmaker --as chipdist
    """
    name = canonical(part).text
    with open_chain(trust, chain, member) as session, open_chain(trust, source) as other:
        recorded = session.submitter().submit(
            following.operations(session.verified, other.verified, name),
            idempotency_key("follow", source, name),
        )
        tell(recorded, f"known here: {name} left chain {source}", as_json=as_json)
