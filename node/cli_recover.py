"""`chiptrace recover …`, what needs a node of one's own, stopped: where it stands, a document for it, giving it one."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from client import recovery_files
from client.cli_recover import ApprovalFiles, DocumentFile, Out, recover, tell, write_new
from client.clock import now_ms
from client.console import ERR, OUT, JsonOption, plain, print_json, without_traceback
from client.tree_view import time_text
from ledger import codec, recovery
from ledger.errors import Invalid, Malformed
from ledger.hashes import HASH_BYTES, KEY_BYTES
from node import signer
from node.config import NodeConfig, read
from node.recovery import Stopped, apply, opened_node, read_all, standing
from proto.chiptrace.v1.consensus_pb2 import Vote, VoteKind
from proto.chiptrace.v1.ledger_pb2 import Reason, Recovery, Validator

ConfigOption = Annotated[
    Path, typer.Option("--config", help="The configuration of your stopped node (TOML).")
]
MAY_BE_FINAL: Final = (
    "this node's key has voted to finalize that block at the height that is open. It may be final, and acknowledged, "
    "where this node cannot see it. Look for its finalization on every disk that is left before you go on from below it"
)


def register(app: typer.Typer) -> None:
    """Add the `recover` commands."""
    app.add_typer(recover, name="recover")


@recover.command("status")
@without_traceback
def status(config: ConfigOption, as_json: JsonOption = False) -> None:
    """Where a stopped node stands, to be compared among all that are left. Changes nothing.

    Example: chiptrace recover status --config nodes/mine/node.toml
    """
    settings = read(config, NodeConfig)
    given = [recovery.decode(data) for data in read_all(settings.data_dir)]
    with opened_node(settings) as node:
        if node.info is None:
            raise Invalid(f"{settings.data_dir} holds no chain yet", Reason.NOT_FOUND)
        voted = _finalized_above(settings, node)
        found: dict[str, Any] = {
            "chain_id": node.chain_id.hex(),
            "height": node.info.height,
            "block_hash": node.info.block_hash.hex(),
            "app_hash": node.info.app_hash.hex(),
            "time_ms": node.info.time_ms,
            "key": node.signing.key.hex() if node.signing.key else "",
            "may_be_final": [vote.block_hash.hex() for vote in voted],
            "recoveries": [{"height": one.height, "document": one.hash.hex()} for one in given],
        }
    if as_json:
        print_json(found)
        return
    for name in ("chain_id", "height", "block_hash", "app_hash", "key"):
        OUT.print(f"{name.replace('_', ' '):<11} {found[name] or '-'}")
    OUT.print(f"{'time':<11} {time_text(found['time_ms'])}")
    for one in found["recoveries"]:
        OUT.print(f"{'recovery':<11} after height {one['height']}: {one['document']}")
    for block in found["may_be_final"]:
        ERR.print(f"[bold red]block {block}[/] {plain(MAY_BE_FINAL)}")


def _finalized_above(settings: NodeConfig, node: Stopped) -> list[Vote]:
    """Own votes that may have made a block final above what is stored here; also those of keys retired since."""
    height = 0 if node.info is None else node.info.height
    blocks: dict[bytes, Vote] = {}
    retired = (settings.key_dir / signer.RETIRED_DIRECTORY / name for name in node.signing.retired)
    votes = [*node.signing.votes, *(vote for place in retired for vote in signer.inspect(place).votes)]
    for vote in votes:
        if vote.kind == VoteKind.FINALIZE and vote.height > height:
            blocks.setdefault(vote.block_hash, vote)
    return list(blocks.values())


@recover.command("propose")
@without_traceback
def propose(
    config: ConfigOption,
    validator: Annotated[
        list[str],
        typer.Option(
            "--validator", help="MEMBER=KEY of the new set, in order; a key the chain has never seen."
        ),
    ],
    reason: Annotated[str, typer.Option("--reason", help="Why, in words; it stands in every audit.")],
    out: Out,
    replaces: Annotated[
        str,
        typer.Option("--replaces", help="Hash of an earlier document for this height that came to nothing."),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Write the document of a recovery from where a stopped node stands; its bytes are what admins sign.

    Example: chiptrace recover propose --config node.toml --validator siliconfab=41d2… --reason "…" -o recovery.document
    """
    settings = read(config, NodeConfig)
    validators = [_validator(text) for text in validator]
    replaced = _digest(replaces, HASH_BYTES, "--replaces") if replaces else b""
    with opened_node(settings) as node:
        if node.info is None or node.application is None:
            raise Invalid(f"{settings.data_dir} holds no chain to go on from", Reason.NOT_FOUND)
        here = standing(node.info)
        data = recovery_files.draw_up(here, validators, reason, now_ms(), replaced)
        # Whatever the chain's own rules refuse, but for approvals, is told before anybody signs it.
        opened = recovery.decode(codec.encode(Recovery(document=data)))
        threshold = recovery.preview(node.application.store, here, opened).governance_threshold
        voted = _finalized_above(settings, node)
    write_new(out, data)
    tell(opened, as_json=as_json, members_needed=threshold)
    for vote in voted:
        ERR.print(f"[bold red]block {vote.block_hash.hex()}[/] {plain(MAY_BE_FINAL)}")


@recover.command("apply")
@without_traceback
def apply_command(
    document: DocumentFile, config: ConfigOption, approvals: ApprovalFiles = None, as_json: JsonOption = False
) -> None:
    """Give an approved recovery to your stopped node: a decision of yours, that no other node makes for it.

    Exit 2: it is not for this node as it stands, and nothing was kept.
    Example: chiptrace recover apply recovery.document recovery.siliconfab recovery.testlab --config node.toml
    """
    settings = read(config, NodeConfig)
    read_document = recovery_files.read(document, approvals or [])
    opened, effect = apply(settings, read_document.opened.data)
    with opened_node(settings) as node:
        keys = {item.key for item in opened.document.validators}
        votes = "yes" if node.signing.key in keys and not node.signing.trouble else "no, it observes"
    tell(opened, as_json=as_json, applied=str(effect), this_node_votes=votes)


def _validator(text: str) -> Validator:
    member, _, key = text.partition("=")
    if not member or not key:
        raise Malformed(f"--validator {text}: write it as MEMBER=KEY")
    return Validator(member=member, key=_digest(key, KEY_BYTES, f"the key of {member}"))


def _digest(text: str, size: int, what: str) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != size:
        raise Malformed(f"{what} must be {2 * size} hexadecimal digits")
    return found
