"""`chiptrace recover …`, what needs no node of one's own: look at a recovery, sign it offline, fetch one that was."""

import contextlib
import errno
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from client import recovery_check, recovery_files
from client import trust as trust_file
from client.clock import now_ms
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
from ledger.errors import ChiptraceError, Invalid, Malformed
from ledger.recovery import Opened
from proto.chiptrace.v1.ledger_pb2 import Reason
from proto.chiptrace.v1.node_pb2 import HeadersRequest

PAGES_MAX: Final = 4_096  # of headers, from one node

recover = typer.Typer(
    no_args_is_help=True,
    help="Continue a chain that lost its quorum for good (docs/recovery.md): status, propose, show, sign, apply, fetch, check.",
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
        chosen = _chosen([session.connection], session.trust.chain_id, chain, height)
    if out is not None:
        files = {out: chosen.document_bytes}
        for number, approval in enumerate(chosen.approvals, start=1):
            files[out.with_name(f"{out.name}.approval-{number}")] = codec.encode(approval)
        for path in files:
            if path.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        for path, data in files.items():
            write_new(path, data)
    tell(chosen, as_json=as_json)


def _told_by_node(connection: Connection, chain_id: bytes) -> Iterator[Opened]:
    """The recoveries in the headers that a node shows. Raises Malformed, Invalid."""
    height = 0
    for _ in range(PAGES_MAX):
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
        if not reply.more or height == before:
            return


@recover.command("check")
@without_traceback
def check_command(
    chain: ChainOption,
    height: Annotated[
        int, typer.Option("--height", help="The last height before the recovery; left out: the newest one.")
    ] = -1,
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """Ask every node of a recovered chain what it holds behind the recovery, and name who signed on both sides of a fork.

    Exit 1: the chain is forked. Example: chiptrace recover check --chain chipmaker
    """
    known = trust_file.read(trust)
    place = known.chain(chain)
    identity = known.identity(place.name)
    nodes = [Connection(place, identity, only=endpoint) for endpoint in place.endpoints]
    try:
        accepted = [item.document for item in place.recoveries]
        opened = _chosen(nodes, place.chain_id, chain, height, accepted)
        found = recovery_check.check(nodes, place.chain_id, opened, now_ms(), accepted)
    finally:
        for node in nodes:
            node.close()
    sides = {side.endpoint: side.state for side in found.sides}
    if as_json:
        forked_by = None if found.forked_by is None else list(found.forked_by)
        print_json(
            {"document": opened.hash.hex(), "height": opened.height, "nodes": sides, "forked_by": forked_by}
        )
    else:
        OUT.print(f"recovery    {opened.hash.hex()} after height {opened.height}")
        for endpoint, state in sides.items():
            OUT.print(f"  {plain(endpoint):<24} {plain(state)}")
        if found.forked_by is not None:
            names = ", ".join(found.forked_by)
            signers = (
                names
                or "nobody is proven to have; a recovery that your trust file does not list is a node's word"
            )
            OUT.print(
                f"[red]forked[/]: two blocks of height {opened.height + 1} are shown as final; signed both: {plain(signers)}"
            )
    raise typer.Exit(0 if found.forked_by is None else 1)


def _chosen(
    nodes: Sequence[Connection], chain_id: bytes, chain: str, height: int, accepted: Collection[bytes] = ()
) -> Opened:
    """The recovery that the nodes show, whichever of them does; one that was accepted rather than any other. Raises
    Invalid(NOT_FOUND)."""
    told: list[Opened] = []
    for node in nodes:
        with contextlib.suppress(ChiptraceError):
            told.extend(_told_by_node(node, chain_id))
    mine = [item for item in told if item.hash in accepted and height in (-1, item.height)]
    found = {item.height: item for item in mine or told}
    if not found:
        raise Invalid(f"no node shows a recovery of chain {chain}", Reason.NOT_FOUND)
    chosen = found.get(max(found) if height < 0 else height)
    if chosen is None:
        heights = ", ".join(map(str, sorted(found)))
        raise Invalid(f"chain {chain} was recovered after height {heights}, not {height}", Reason.NOT_FOUND)
    return chosen


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
