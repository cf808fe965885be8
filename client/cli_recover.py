"""`chiptrace recover …`, what needs no node of one's own: look at a recovery, sign it offline, fetch one that was."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from client import recovery_files
from client.connection import Connection
from client.console import (
    DEFAULT_TRUST,
    OUT,
    ChainOption,
    JsonOption,
    TrustOption,
    plain,
    print_json,
    without_traceback,
)
from client.session import open_chain
from client.tree_view import time_text
from ledger import codec, recovery
from ledger.block import decode_header, recovery_mark
from ledger.errors import Invalid, Malformed
from ledger.recovery import Opened
from proto.chiptrace.v1.ledger_pb2 import Reason
from proto.chiptrace.v1.node_pb2 import HeadersRequest

recover = typer.Typer(
    no_args_is_help=True,
    help="Continue a chain that lost its quorum for good (docs/recovery.md): status, propose, show, sign, apply, fetch.",
)
DocumentFile = Annotated[Path, typer.Argument(help="A document, made by `propose`.", metavar="DOCUMENT")]
ApprovalFiles = Annotated[
    list[Path] | None, typer.Argument(help="Approvals, made by `sign`.", metavar="[APPROVAL]...")
]
Out = Annotated[Path, typer.Option("-o", "--out", help="The file to write; must not exist yet.")]


def write_new(path: Path, data: bytes) -> None:
    """A new file; a document or an approval is never written over another one."""
    with path.open("xb") as file:
        file.write(data)


@recover.command("show")
@without_traceback
def show(document: DocumentFile, approvals: ApprovalFiles = None, as_json: JsonOption = False) -> None:
    """Show exactly what a document says, and who signed it. Needs no node, trust file or network.

    Example: chiptrace recover show recovery.document recovery.siliconfab
    """
    tell(recovery_files.read(document, approvals or []).opened, as_json=as_json)


@recover.command("sign")
@without_traceback
def sign(
    document: DocumentFile,
    key: Annotated[Path, typer.Option("--key", help="Your member's admin key file.")],
    out: Out,
    as_json: JsonOption = False,
) -> None:
    """Approve a recovery with an admin key, and say what was approved. Needs no node, trust file or network.

    Example: chiptrace recover sign recovery.document --key admin.key -o recovery.siliconfab
    """
    read = recovery_files.read(document)
    write_new(out, codec.encode(recovery_files.approve(read, key)))
    tell(recovery_files.read(document, [out]).opened, as_json=as_json)


@recover.command("fetch")
@without_traceback
def fetch(
    chain: ChainOption,
    height: Annotated[
        int, typer.Option("--height", help="The last height before the recovery; left out: the newest one.")
    ] = -1,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Write the document here, and each approval to FILE.approval-N."),
    ] = None,
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """Show a recovery that a chain went through, as a node of it tells. Compare its hash with what members published.

    Example: chiptrace recover fetch --chain chipmaker -o recovery.document
    """
    with open_chain(trust, chain) as session:
        found = {item.height: item for item in _told_by_node(session.connection, session.trust.chain_id)}
    if not found:
        raise Invalid(f"the node shows no recovery of chain {chain}", Reason.NOT_FOUND)
    chosen = found.get(max(found) if height < 0 else height)
    if chosen is None:
        heights = ", ".join(map(str, sorted(found)))
        raise Invalid(f"chain {chain} was recovered after height {heights}, not {height}", Reason.NOT_FOUND)
    if out is not None:
        write_new(out, chosen.document_bytes)
        for number, approval in enumerate(chosen.approvals, start=1):
            write_new(out.with_name(f"{out.name}.approval-{number}"), codec.encode(approval))
    tell(chosen, as_json=as_json)


def _told_by_node(connection: Connection, chain_id: bytes) -> Iterator[Opened]:
    """The recoveries in the headers that a node shows. Raises Malformed, Invalid."""
    height, more = 0, True
    while more:
        reply = connection.call(lambda stub: stub.GetHeaders, HeadersRequest(from_height=height))
        before = height
        for signed in reply.headers:
            header = decode_header(signed.header)
            height = max(height, header.height)
            if not signed.recovery:
                continue
            if header.recovery != recovery_mark(chain_id, signed.recovery):
                raise Malformed("the node sends a recovery that its header does not name; ask another one")
            yield recovery.decode(signed.recovery)
        more = reply.more and height > before


# ---- told ----------------------------------------------------------------------------------------------------


def as_fields(opened: Opened) -> dict[str, Any]:
    """A recovery as plain data: bytes in hexadecimal."""
    document = opened.document
    return {
        "document": opened.hash.hex(),
        "chain_id": document.chain_id.hex(),
        "height": document.height,
        "block_hash": document.block_hash.hex(),
        "app_hash": document.app_hash.hex(),
        "validators": [{"member": item.member, "key": item.key.hex()} for item in document.validators],
        "reason": document.reason,
        "signed_ms": document.signed_ms,
        "replaces": document.replaces.hex(),
        "approvals": [approval.key.hex() for approval in opened.approvals],
    }


def tell(opened: Opened, *, as_json: bool, **more: Any) -> None:
    """What a recovery says, for people or as JSON; `more` is added."""
    fields = as_fields(opened)
    if as_json:
        print_json({**fields, **more})
        return
    document = opened.document
    OUT.print(f"recovery    {fields['document']}")
    OUT.print(f"chain       {fields['chain_id']}")
    OUT.print(f"goes on     from height {document.height}, block {fields['block_hash']}")
    OUT.print(f"app_hash    {fields['app_hash']}")
    for item in fields["validators"]:
        OUT.print(f"validator   {plain(item['member'])} {item['key']}")
    OUT.print(f"reason      {plain(document.reason)}")
    OUT.print(f"drawn up    {time_text(document.signed_ms)}")
    if document.replaces:
        OUT.print(f"replaces    {fields['replaces']}")
    for key in fields["approvals"]:
        OUT.print(f"approved    by the admin key {key}")
    for name, value in more.items():
        OUT.print(f"{plain(name.replace('_', ' ')):<11} {plain(str(value))}")
