"""Commands about claims that cross: tell another chain, and see what other chains told about a thing."""

from typing import Annotated

import typer

from client.audit_claims import Claims
from client.audit_entries import EntryReader
from client.cli_parts import Minutes, idempotency_key, tell
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
from client.session import open_all, open_chain
from client.verified import VerifiedChain
from ledger import codec, state
from ledger.errors import Malformed
from ledger.identifiers import canonical
from proto.chiptrace.v1.bridge_pb2 import SendAttestation
from proto.chiptrace.v1.ledger_pb2 import AttestationRecord, Operation

Attestation = Annotated[str, typer.Argument(help="URI of the attestation.", metavar="ID")]


def register(app: typer.Typer) -> None:
    """Add the commands about claims that cross."""
    app.command("send-attestation")(send_attestation)
    app.command("attestation")(attestation)
    app.command("claims")(claims)


@without_traceback
def send_attestation(
    identifier: Attestation,
    client: Annotated[str, typer.Option("--client", help="The chain's client of the other chain.")],
    chain: ChainOption,
    member: MemberOption,
    timeout: Minutes = 60,
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """Tell another chain of a claim made here; recalls and revocations go by themselves.

    Example: chiptrace send-attestation https://testlab.example/c/17 --client assembler --chain chipmaker --as testlab
    """
    with open_chain(trust, chain, member) as session:
        due = session.verified.advance().latest_time_ms + timeout * 60_000
        message = SendAttestation(client=client, id=identifier, timeout_ms=due)
        key = idempotency_key("send-attestation", identifier, client, str(due // 60_000))
        recorded = session.submitter().submit([Operation(send_attestation=codec.encode(message))], key)
        tell(recorded, f"{identifier} on its way over {client}", as_json=as_json)


@without_traceback
def attestation(
    identifier: Attestation,
    chain: ChainOption,
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """Show a claim made on a chain, proven, and which clients it was sent over or waits for.

    Example: chiptrace attestation https://testlab.example/c/17 --chain chipmaker
    """
    with open_chain(trust, chain) as session:
        record = session.verified.record(state.attestation_key(identifier), AttestationRecord)
    if record is None:
        raise Malformed(f"chain {chain} proves that nobody claimed {identifier} there")
    told = {
        "id": record.id,
        "issuer": record.issuer,
        "subject": record.subject,
        "kind": record.kind,
        "scope": record.scope,
        "valid_from_ms": record.valid_from_ms,
        "valid_until_ms": record.valid_until_ms,
        "revoked_at_ms": record.revoked_at_ms,
        "copied_to": list(record.copied_to),
        "waiting": list(record.waiting),
    }
    if as_json:
        print_json(told)
        return
    for name, value in told.items():
        OUT.print(plain(f"{name:15} {', '.join(value) if isinstance(value, list) else value}"))


@without_traceback
def claims(
    subject: Annotated[str, typer.Argument(help="A part, a lot, a container or a class.", metavar="ID")],
    chain: ChainOption,
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """Show what other chains told this one about a thing, each claim asked for at its own chain.

    Exit 1: there is a recall, a revocation, or a claim that ended. Example: chiptrace claims ID --chain assembler
    """
    name = canonical(subject).text
    found: list[dict[str, str]] = []
    evidence: dict[str, list[str]] = {}

    def find(where: VerifiedChain, of: str, code: str, text: str, _: tuple[bytes, ...]) -> None:
        found.append({"code": code, "chain": where.trust.name, "subject": of, "message": text})

    with open_all(trust) as sessions:
        views = {chain_id: session.verified for chain_id, session in sessions.items()}
        view = next((view for view in views.values() if view.trust.name == chain), None)
        if view is None:
            raise Malformed(f"the trust file names no chain {chain}")
        told = Claims(view, find, evidence)
        told.about(name, [chain_id for chain_id in views if chain_id != view.trust.chain_id])
        told.check(views, lambda of, claim: EntryReader(of, find).licences.attestation(claim))
    in_force = evidence.get(name, [])
    if as_json:
        print_json({"subject": name, "in_force": in_force, "findings": found})
    else:
        for text in in_force:
            OUT.print(plain(text))
        for item in found:
            OUT.print(plain(f"{item['code']}  {item['message']}"))
        if not in_force and not found:
            OUT.print(plain(f"no other chain of the trust file told chain {chain} anything about {name}"))
    raise typer.Exit(1 if found else 0)
