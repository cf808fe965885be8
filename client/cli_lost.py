"""Commands about chains that froze, expired or are lost: a substitute header, consent of the other chain, taking over.

chiptrace govern substitute …   a change file with a new anchor for a client
chiptrace govern give-up …      a change file that gives a lost chain up
chiptrace govern consent …      an admin of the other chain agrees to such a file
chiptrace rehome …              a part is taken over from a chain that was given up
"""

from pathlib import Path
from typing import Annotated

import typer

from client import consents, governance_file
from client.cli_govern import Out, govern
from client.cli_parts import idempotency_key, tell
from client.console import (
    DEFAULT_TRUST,
    OUT,
    ChainOption,
    JsonOption,
    MemberOption,
    TrustOption,
    plain,
    print_json,
    without_traceback,
)
from client.session import open_chain
from ledger import codec, state
from ledger.errors import Malformed
from ledger.identifiers import canonical
from proto.chiptrace.v1.ledger_pb2 import Change, Operation, PartRecord

ClientOption = Annotated[str, typer.Option("--client", help="The chain's client of the other chain.")]
Of = Annotated[str, typer.Option("--of", help="The other chain, by its name in the trust file.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    govern.command("substitute")(substitute)
    govern.command("give-up")(give_up)
    govern.command("consent")(consent)
    app.command("rehome")(rehome)


def _write(path: Path, change: Change, what: str, *, as_json: bool) -> None:
    with path.open("x") as file:
        file.write(governance_file.section(change))
    if as_json:
        print_json({"file": str(path)})
    else:
        OUT.print(plain(f"{path}: {what}"))


@without_traceback
def substitute(
    client: ClientOption, of: Of, out: Out, trust: TrustOption = DEFAULT_TRUST, as_json: JsonOption = False
) -> None:
    """Write a change file that gives a frozen or expired client the newest header of its chain.

    Example: chiptrace govern substitute --client assembler --of assembler -o thaw.toml
    """
    with open_chain(trust, of) as session:
        change = consents.thaw(session.verified, client)
    _write(
        out, change, f"a new anchor for client {client}; admins of {of} consent to it next", as_json=as_json
    )


@without_traceback
def give_up(
    client: ClientOption,
    of: Of,
    chain: ChainOption,
    why: Annotated[str, typer.Option("--why", help="For the record, and for every audit.")],
    out: Out,
    member: Annotated[
        list[str] | None,
        typer.Option("--member", help="THERE=HERE: who takes over what a member there had; repeat for more."),
    ] = None,
    heir: Annotated[bool, typer.Option("--heir", help="Take over what is at home there, too.")] = False,
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """Write a change file that gives up a chain which is lost for good. It cannot be taken back.

    Example: chiptrace govern give-up --client assembler --of assembler --chain chipmaker --member boardworks=moduleworks
    --why "both sites burnt down" -o give-up.toml
    """
    members: dict[str, str] = {}
    for pair in member or []:
        there, equals, here = pair.partition("=")
        if not equals or there in members:
            raise Malformed(f"--member {pair}: THERE=HERE, each member there once")
        members[there] = here
    with open_chain(trust, chain) as host, open_chain(trust, of) as lost:
        change = consents.give_up(host.verified, lost.verified, client, members, why, heir=heir)
    _write(out, change, f"chain {of} is given up; admins of {of} consent to it next", as_json=as_json)


@without_traceback
def consent(
    file: Annotated[Path, typer.Argument(help="A change file with one change.", metavar="FILE")],
    chain: ChainOption,
    key: Annotated[Path, typer.Option("--key", help="Your member's admin key file, of the other chain.")],
    out: Out,
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """Consent, as an admin of the other chain, to a new anchor or to giving your chain up. --chain: who keeps the client.

    Example: chiptrace govern consent give-up.toml --chain chipmaker --key admin.key -o give-up-1.toml
    """
    changes = governance_file.read(file)
    if len(changes) != 1:
        raise Malformed(f"{file} holds {len(changes)} changes; consent is given to one")
    with open_chain(trust, chain) as session:
        change = consents.consent(session.verified, changes[0], key)
    _write(out, change, "with your consent; the next admin goes on from this file", as_json=as_json)


@without_traceback
def rehome(
    part: Annotated[str, typer.Argument(help="The part, by its identifier.", metavar="ID")],
    of: Of,
    chain: ChainOption,
    member: MemberOption,
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """Take a part over from a chain that was given up; a node of that chain must still show its last state.

    Example: chiptrace rehome ID --of assembler --chain chipmaker --as chipdist
    """
    name = canonical(part).text
    with open_chain(trust, chain, member) as host, open_chain(trust, of) as lost:
        last = consents.LastState(host.verified, lost.verified)
        record = host.verified.record(state.part_key(name), PartRecord)
        ending = None if record is None else consents.ending(host.verified, last, record)
        if ending is not None:
            # On its way there when the chain was lost: what became of it there is proven first.
            recorded = host.submitter().submit([ending], idempotency_key("rehome-ending", name))
            if ending.HasField("timeout_packet"):
                tell(recorded, f"{name} never arrived on chain {of}, and is back", as_json=as_json)
                return
            last.rows.clear()
        operation = Operation(rehome_part=codec.encode(consents.taking_over(last, name)))
        recorded = host.submitter().submit([operation], idempotency_key("rehome", name))
        tell(recorded, f"{name} taken over from chain {of}", as_json=as_json)
