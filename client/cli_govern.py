"""`chiptrace govern …`: how members change the rules they share. Write, look, sign offline, bring to the chain."""

import hashlib
from pathlib import Path
from typing import Annotated, Any

import typer

from client import governance, governance_file, keys
from client import trust as trust_file
from client.clock import now_ms
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
from client.governance import Proposal
from client.session import open_chain
from client.tree_view import time_text
from ledger import codec, state
from ledger.errors import Malformed
from ledger.limits import PROPOSAL_EXPIRY_MS_MAX
from proto.chiptrace.v1.ledger_pb2 import (
    Change,
    Parameters,
    SetParameters,
    SetValidators,
    Signature,
    ValidatorsRecord,
)

DAY_MS = 86_400_000
govern = typer.Typer(
    no_args_is_help=True,
    help="Change members, keys, grants, validators, parameters: propose, show, sign (offline), submit.",
)
ProposalFile = Annotated[Path, typer.Argument(help="A proposal, made by `propose`.", metavar="PROPOSAL")]
Out = Annotated[Path, typer.Option("-o", "--out", help="The file to write; must not exist yet.")]


def register(app: typer.Typer) -> None:
    """Add the `govern` commands."""
    app.add_typer(govern, name="govern")


def _write(path: Path, data: bytes) -> None:
    """A new file; a proposal or an approval is never written over another one."""
    with path.open("xb") as file:
        file.write(data)


@govern.command("key")
@without_traceback
def key_command(
    file: Annotated[Path, typer.Argument(help="The key file to make; must not exist yet.", metavar="FILE")],
    as_json: JsonOption = False,
) -> None:
    """Make an admin, operator or other signing key; print the public key, for a proposal. Not for validators.

    Example: chiptrace govern key admin.key
    """
    public = keys.create(file).hex()
    if as_json:
        print_json({"file": str(file), "key": public})
    else:
        print(public)


@govern.command("propose")
@without_traceback
def propose(
    file: Annotated[Path, typer.Argument(help="Change file (TOML, or JSON).", metavar="FILE")],
    out: Out,
    chain: ChainOption,
    days: Annotated[
        int,
        typer.Option(
            "--days", help="Until it expires.", min=1, max=PROPOSAL_EXPIRY_MS_MAX // DAY_MS, show_default=True
        ),
    ] = 3,
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """Write the proposal of a change file; its bytes are what admins sign. No node is asked.

    Example: chiptrace govern propose join.toml -o join.proposal --chain chipmaker
    """
    changes = governance_file.read(file)
    data = governance.propose(trust_file.read(trust).chain(chain).chain_id, now_ms() + days * DAY_MS, changes)
    _write(out, data)
    _tell_proposal(governance.read_proposal(out), as_json=as_json)


@govern.command("show")
@without_traceback
def show(
    proposal: ProposalFile,
    approvals: Annotated[
        list[Path] | None, typer.Argument(help="Approvals, made by `sign`.", metavar="[APPROVAL]...")
    ] = None,
    chain: Annotated[
        str, typer.Option("--chain", help="Ask this chain what would change, and whether it would be taken.")
    ] = "",
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """Show exactly what a proposal says; with --chain also what it would change there, by the chain's own rules.

    Exit 1: the chain would refuse it now. Example: chiptrace govern show join.proposal --chain chipmaker
    """
    read = governance.read_proposal(proposal)
    signatures = [governance.read_approval(path, read) for path in approvals or []]
    if not chain:
        _tell_proposal(read, signatures, as_json=as_json)
        return
    with open_chain(trust, chain) as session:
        _check_chain(read, session.trust.chain_id, chain)
        found = governance.preview(session.verified, read, signatures)
    if as_json:
        seen = {
            "height": found.height,
            "differences": found.lines,
            "joining": found.joining,
            "refused": found.refused,
            "threshold": found.threshold,
            "approved": found.approved,
        }
        print_json({**_proposal_json(read, signatures), "preview": seen})
    else:
        _tell_proposal(read, signatures, as_json=False)
        _print_preview(found)
    raise typer.Exit(1 if found.refused else 0)


@govern.command("sign")
@without_traceback
def sign(
    proposal: ProposalFile,
    key: Annotated[Path, typer.Option("--key", help="Your member's admin key file.")],
    out: Out,
    as_json: JsonOption = False,
) -> None:
    """Approve a proposal with an admin key, and say what was approved. Needs no node, trust file or network.

    Example: chiptrace govern sign join.proposal --key admin.key -o join.siliconfab
    """
    read = governance.read_proposal(proposal)
    approval = governance.approve(read, key)
    _write(out, codec.encode(approval))
    _tell_proposal(read, [approval], as_json=as_json)


@govern.command("submit")
@without_traceback
def submit(
    proposal: ProposalFile,
    approvals: Annotated[
        list[Path], typer.Argument(help="Approvals, made by `sign`.", metavar="APPROVAL...")
    ],
    chain: ChainOption,
    member: MemberOption,
    join_proofs: Annotated[
        list[Path] | None,
        typer.Option(
            "--join-proof", help="Of a validator that joins (`chiptrace node join-proof`); may be repeated."
        ),
    ] = None,
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """Bring an approved proposal to its chain; any member may, and adds nothing by it.

    Example: chiptrace govern submit join.proposal join.siliconfab join.testlab --join-proof join --chain chipmaker --as testlab
    """
    read = governance.read_proposal(proposal)
    signatures = [governance.read_approval(path, read) for path in approvals]
    proofs = [governance.read_join_proof(path, read) for path in join_proofs or []]
    operation = governance.operation(read, signatures, proofs)
    with open_chain(trust, chain, member) as session:
        _check_chain(read, session.trust.chain_id, chain)
        recorded = session.submitter().submit([operation], _key(codec.encode(operation)))
    if as_json:
        print_json(
            {
                "height": recorded.height,
                "transaction": recorded.transaction.hex(),
                "proposal": read.hash.hex(),
            }
        )
        return
    OUT.print(f"[green]final[/] {plain(proposal)}: carried out at height {recorded.height}")
    if any(change.HasField("set_validators") for change in read.content.changes):
        OUT.print(f"the new validators are in force from height {recorded.height + 2}")


@govern.command("current")
@without_traceback
def current(chain: ChainOption, trust: TrustOption = DEFAULT_TRUST, as_json: JsonOption = False) -> None:
    """The chain's validators and parameters as they are proven now, as a change file to begin from.

    Example: chiptrace govern current --chain chipmaker > change.toml
    """
    with open_chain(trust, chain) as session:
        verified = session.verified
        record = verified.record(state.VALIDATORS_KEY, ValidatorsRecord)
        parameters = verified.record(state.PARAMETERS_KEY, Parameters)
        height = verified.snapshot().height
    if record is None or parameters is None:
        raise Malformed(f"chain {chain} has no validators or no parameters; ask another node")
    changes = [
        Change(set_validators=SetValidators(validators=record.next.validators)),
        Change(set_parameters=SetParameters(parameters=parameters)),
    ]
    if as_json:
        made = [governance_file.plain_change(change) for change in changes]
        print_json({"height": height, "change": made})
        return
    print(f"# chain {chain} at height {height}; leave only what you change\n")
    print("\n".join(governance_file.section(change) for change in changes), end="")


# ---- told -------------------------------------------------------------------------------------------------


def _check_chain(proposal: Proposal, chain_id: bytes, name: str) -> None:
    if proposal.content.chain_id != chain_id:
        raise Malformed(
            f"{proposal.place} is for chain {proposal.content.chain_id.hex()}, but {name} is {chain_id.hex()}"
        )


def _key(operation: bytes) -> bytes:
    """The same for the same command within a minute; what was refused may be brought again later."""
    minute = str(now_ms() // 60_000).encode()
    return hashlib.sha256(b"chiptrace/govern\0" + minute + b"\0" + operation).digest()[:16]


def _proposal_json(proposal: Proposal, approvals: list[Signature]) -> dict[str, Any]:
    return {
        "proposal": proposal.hash.hex(),
        "chain_id": proposal.content.chain_id.hex(),
        "expires_ms": proposal.content.expires_ms,
        "changes": [governance_file.plain_change(change) for change in proposal.content.changes],
        "approvals": [approval.key.hex() for approval in approvals],
    }


def _tell_proposal(proposal: Proposal, approvals: list[Signature] | None = None, *, as_json: bool) -> None:
    signed = approvals or []
    if as_json:
        print_json(_proposal_json(proposal, signed))
        return
    content = proposal.content
    OUT.print(f"proposal  {proposal.hash.hex()}")
    OUT.print(f"chain     {content.chain_id.hex()}")
    over = " [red](expired)[/]" if content.expires_ms < now_ms() else ""
    OUT.print(f"expires   {time_text(content.expires_ms)}{over}")
    for number, change in enumerate(content.changes, start=1):
        told = governance_file.plain_change(change)
        OUT.print(f"change {number}  [bold]{plain(told.pop('kind'))}[/]")
        for name, value in told.items():
            for line in _value_lines(value):
                OUT.print(f"          {plain(name)}: {plain(line)}")
    for approval in signed:
        OUT.print(f"approved  by the admin key {approval.key.hex()}")


def _value_lines(value: Any) -> list[str]:
    if isinstance(value, list):
        return [line for item in value for line in _value_lines(item)]
    if isinstance(value, dict):
        return [", ".join(f"{name} {item}" for name, item in value.items())]
    return [str(value)]


def _print_preview(found: governance.Preview) -> None:
    OUT.print(f"against the chain at height {found.height}:")
    for line in found.lines:
        OUT.print(f"  {plain(line)}")
    for key in found.joining:
        OUT.print(f"  [yellow]needs a join proof[/] of {key}")
    if found.refused:
        OUT.print(f"  [red]would be refused now[/] {plain(found.refused)}")
    OUT.print(
        f"approved by {plain(', '.join(found.approved)) or 'nobody'}; {found.threshold} members are needed"
    )
