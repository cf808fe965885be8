"""What people are told about a validator key: what it has signed, and how a new one takes its place."""

from pathlib import Path
from typing import Any

from node.signer import ROTATE, SignState
from proto.chiptrace.v1.consensus_pb2 import Vote, VoteKind
from proto.chiptrace.v1.ledger_pb2 import Genesis

_LABELS = {
    "key": "key",
    "may_vote": "may vote",
    "why_not": "why not",
    "height": "height",
    "view": "view",
    "votes": "votes",
    "last_signed": "last signed",
    "bytes": "bytes",
    "position": "bytes ever",
    "tail_bytes": "torn bytes",
    "torn": "torn ends",
    "retired": "retired keys",
}


def fields(state: SignState) -> dict[str, Any]:
    """A signing state as one JSON object: `height` is the highest of which the record speaks, `votes` are those of it,
    `view` the highest of them."""
    return {
        "key": state.key.hex() if state.key else "",
        "may_vote": not state.trouble,
        "why_not": state.trouble,
        "height": state.height,
        "view": max((vote.view for vote in state.votes), default=0),
        "votes": [_vote(vote) for vote in state.votes],
        "last_signed": _vote(state.last_vote) if state.last_vote is not None else None,
        "bytes": state.size,
        "position": state.position,
        "tail_bytes": state.tail_bytes,
        "torn": [str(path) for path in state.torn],
        "retired": list(state.retired),
    }


def text(found: dict[str, Any]) -> str:
    """The same for people."""
    lines = []
    for name, label in _LABELS.items():
        value = found[name]
        if name == "votes":
            value = [_words(vote) for vote in value]
        elif name == "last_signed" and value:
            value = _words(value)
        elif name == "may_vote":
            value = "yes" if value else "no"
        if isinstance(value, list):
            lines += [f"{label if index == 0 else '':<12} {item}" for index, item in enumerate(value)]
        elif value not in ("", None):
            lines.append(f"{label:<12} {value}")
    if found["key"] and not found["may_vote"]:
        lines.append(f"{'next':<12} {ROTATE}")
    return "\n".join(lines)


def steps(document: Genesis, config_file: Path, old: bytes | None, new: bytes) -> list[str]:
    """What remains to be done after a key was put aside, in order."""
    members = {validator.key: validator.member for validator in document.validators}
    member = members.get(old or b"", "YOUR-MEMBER")
    chain = document.name
    before = old.hex() if old else "THE-OLD-KEY"
    change = (
        f'[[change]]\nkind = "put_key"\nkey = "{new.hex()}"\nmember = "{member}"\nrole = "validator"\n\n'
        f'[[change]]\nkind = "set_validators"\nvalidators = [ ... the set of `chiptrace govern current --chain {chain}`,\n'
        f'  but {{ member = "{member}", key = "{new.hex()}" }} in the place of {before} ]\n\n'
        f'[[change]]\nkind = "revoke_key"\nkey = "{before}"'
    )
    return [
        (
            f"1. Start the node: it follows the chain, serves clients, and does not vote yet.\n"
            f"   chiptrace node run --config {config_file}"
        ),
        (
            f"2. Once it is in step, take its proof of that.\n"
            f"   chiptrace node join-proof --config {config_file} -o join"
        ),
        (
            f"3. Have governance change the set. The change file:\n\n{change}\n\n"
            f"   chiptrace govern propose change.toml -o rotate.proposal --chain {chain}\n"
            f"   chiptrace govern sign ...      (enough members' admin keys, offline)\n"
            f"   chiptrace govern submit rotate.proposal APPROVAL... --join-proof join --chain {chain} --as {member}"
        ),
        (
            f"4. At every other validator: in [[peers]] of its configuration, key = the new one for {member} (address and pin "
            "stay), then send it SIGHUP. Two heights after the change is carried out the new key votes."
        ),
    ]


def _vote(vote: Vote) -> dict[str, Any]:
    return {
        "kind": VoteKind.Name(vote.kind),
        "height": vote.height,
        "view": vote.view,
        "block_hash": vote.block_hash.hex(),
    }


def _words(vote: dict[str, Any]) -> str:
    words = f"{vote['kind']} height {vote['height']} view {vote['view']}"
    return f"{words} block {vote['block_hash']}" if vote["block_hash"] else words
