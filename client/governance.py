"""What members do to change the rules: write a proposal, look at it, approve it offline, bring it to the chain.

Files carry the very bytes that are signed or sent: a proposal the canonical `GovernanceProposal`, an approval the
`Signature` of one admin key over it, a join proof the `JoinProof` of a validator's node. Each is checked when it is
read, so that what is wrong is told before anything is sent, by file.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from google.protobuf.message import Message

from bridge import machine
from client import keys
from client.governance_file import plain
from client.verified import NotVerifiable, VerifiedChain
from consensus.quorum import quorum
from ledger import codec, hashes, joining, state
from ledger.context import Context
from ledger.errors import ChiptraceError, Malformed, Refused
from ledger.hashes import HASH_BYTES, ZERO, Purpose
from ledger.limits import CHANGES_PER_PROPOSAL_MAX, TRANSACTION_BYTES_MAX
from ledger.members import member_of_admin_key
from ledger.state import Kind, Overlay
from proto.chiptrace.v1.bridge_pb2 import ClientRecord
from proto.chiptrace.v1.ledger_pb2 import (
    Change,
    Govern,
    GovernanceProposal,
    GrantRecord,
    JoinProof,
    KeyRecord,
    MemberRecord,
    Operation,
    Parameters,
    PolicyRecord,
    ProposalRecord,
    Signature,
    ValidatorsRecord,
)

_PART_BYTES_MAX: Final = 1_024  # of an approval or a join proof
M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A proposal as it is signed, and what it says."""

    data: bytes
    content: GovernanceProposal
    place: str  # the file

    @property
    def hash(self) -> bytes:
        """By which it is known: two people who see the same one look at the same proposal."""
        return hashes.tagged_hash(Purpose.PROPOSAL, self.content.chain_id, self.data)


def propose(chain_id: bytes, expires_ms: int, changes: Sequence[Change]) -> bytes:
    """The bytes of a new proposal, unlike any other. Raises Malformed when they are more than a transaction takes."""
    data = codec.encode(
        GovernanceProposal(
            chain_id=chain_id, expires_ms=expires_ms, nonce=secrets.token_bytes(16), changes=changes
        )
    )
    if len(data) > TRANSACTION_BYTES_MAX // 2:
        raise Malformed(f"the proposal has {len(data)} bytes, which no transaction carries; split it")
    return data


def read_proposal(path: Path) -> Proposal:
    """The proposal in a file. Raises Malformed, OSError."""
    data = _read(path, TRANSACTION_BYTES_MAX, "a proposal; `chiptrace govern propose` writes one")
    content = _decoded(GovernanceProposal, data, path, "a proposal; `chiptrace govern propose` writes one")
    if len(content.chain_id) != HASH_BYTES or len(content.nonce) != 16:
        raise Malformed(f"{path} is no proposal: its chain id or its nonce has a wrong length")
    if not 0 < len(content.changes) <= CHANGES_PER_PROPOSAL_MAX:
        raise Malformed(f"{path} is no proposal: it has {len(content.changes)} changes")
    return Proposal(data, content, str(path))


def approve(proposal: Proposal, key: Path) -> Signature:
    """The approval by an admin key. No node is asked. Raises Malformed."""
    seed = keys.read_seed(key)
    signature = hashes.sign(seed, Purpose.PROPOSAL, proposal.content.chain_id, proposal.data)
    return Signature(key=hashes.public_key(seed), signature=signature)


def read_approval(path: Path, proposal: Proposal) -> Signature:
    """The approval in a file, of this proposal. Raises Malformed, OSError."""
    what = "an approval; `chiptrace govern sign` writes one"
    approval = _decoded(Signature, _read(path, _PART_BYTES_MAX, what), path, what)
    if not hashes.verify(
        approval.key, Purpose.PROPOSAL, proposal.content.chain_id, proposal.data, approval.signature
    ):
        raise Malformed(f"{path} does not approve {proposal.place}: it is of another proposal, or damaged")
    return approval


def read_join_proof(path: Path, proposal: Proposal) -> JoinProof:
    """The join proof in a file, for a validator of this proposal. Raises Malformed, Refused, OSError."""
    what = "a join proof; `chiptrace node join-proof` writes one"
    proof = _decoded(JoinProof, _read(path, _PART_BYTES_MAX, what), path, what)
    try:
        joining.check_signature(proposal.content.chain_id, proof)
    except Refused as error:
        raise Refused(f"{path}: {error}", error.reason) from None
    if proof.key not in _validators_of(proposal.content.changes):
        raise Malformed(f"{path} is of {proof.key.hex()}, which {proposal.place} makes no validator")
    return proof


def operation(proposal: Proposal, approvals: Sequence[Signature], proofs: Sequence[JoinProof]) -> Operation:
    """What is brought to the chain."""
    return Operation(govern=Govern(proposal=proposal.data, approvals=approvals, join_proofs=proofs))


def _validators_of(changes: Sequence[Change]) -> set[bytes]:
    return {validator.key for change in changes for validator in change.set_validators.validators}


def _read(path: Path, bytes_max: int, what: str) -> bytes:
    with path.open("rb") as file:
        data = file.read(bytes_max + 1)
    if len(data) > bytes_max:
        raise Malformed(f"{path} is larger than {bytes_max} bytes and not {what}")
    return data


def _decoded(kind: type[M], data: bytes, path: Path, what: str) -> M:
    try:
        return codec.decode(kind, data, TRANSACTION_BYTES_MAX)
    except Malformed as error:
        raise Malformed(f"{path} is not {what} ({error})") from None


# ---- against the chain as it is ---------------------------------------------------------------------------


@dataclass(slots=True)
class Preview:
    """What a proposal would do to the chain as it stands, carried out here by the chain's own rules."""

    height: int
    lines: list[str] = field(default_factory=list)  # what would differ, one line each
    joining: list[str] = field(default_factory=list)  # keys (hex) that need a join proof
    refused: str = ""  # why it would be refused now, approvals and join proofs aside
    threshold: int = 0  # members that must approve
    approved: list[str] = field(default_factory=list)  # members that do


def preview(chain: VerifiedChain, proposal: Proposal, approvals: Sequence[Signature] = ()) -> Preview:
    """Runs the proposal's changes on the proven state of a chain; nothing is sent.

    Raises what reading the chain raises; a rule that refuses is told in the preview.
    """
    pinned = chain.snapshot()
    parameters = chain.record(state.PARAMETERS_KEY, Parameters) or Parameters()
    overlay = Overlay(chain)
    context = Context(
        overlay=overlay,
        chain_id=proposal.content.chain_id,
        height=pinned.height + 1,
        time_ms=max(pinned.time_ms, chain.now_ms()),
        transaction_id=ZERO,
        operation_index=0,
        operation=ZERO,
        signer=KeyRecord(),
        member="",
        parameters=parameters,
        changes=machine.changes(),
        # Whether they are in step is for their proofs to say.
        in_step=dict.fromkeys(_validators_of(proposal.content.changes), False),
    )
    found = Preview(pinned.height, threshold=parameters.governance_threshold)
    found.approved = sorted({member_of_admin_key(chain, a.key) or "" for a in approvals} - {""})
    newest = chain.record(state.VALIDATORS_KEY, ValidatorsRecord) or ValidatorsRecord()
    done = chain.record(state.proposal_key(proposal.hash), ProposalRecord)
    if done is not None:
        found.refused = f"PROPOSAL_REPEATED: it was carried out at height {done.height}"
        return found
    if proposal.content.expires_ms < context.time_ms:
        found.refused = "PROPOSAL_EXPIRED: its time is over; propose anew"
        return found
    for number, change in enumerate(proposal.content.changes, start=1):
        try:
            kind = change.WhichOneof("kind")
            handler = context.changes.get(kind) if kind is not None else None
            if kind is None or handler is None:
                raise Malformed("a kind of change that this version does not know")
            handler(context, getattr(change, kind))
        except NotVerifiable:
            raise
        except ChiptraceError as error:
            found.refused = f"change {number}: {error.code}: {error}"
            return found
    found.lines = _differences(chain, overlay)
    found.joining = [key.hex() for key, joins in context.in_step.items() if joins]
    record = state.load(overlay, state.VALIDATORS_KEY, ValidatorsRecord) or ValidatorsRecord()
    found.lines += _seats(newest, record)
    return found


_RECORDS: Final[dict[Kind, tuple[str, type[Message]]]] = {
    Kind.MEMBER: ("member", MemberRecord),
    Kind.KEY: ("key", KeyRecord),
    Kind.GRANT: ("grant", GrantRecord),
    Kind.POLICY: ("policy", PolicyRecord),
    Kind.CLIENT: ("client", ClientRecord),
}
_NOT_SHOWN: Final = {"history", "id", "key", "prefix"}


def _differences(chain: VerifiedChain, overlay: Overlay) -> list[str]:
    """What the records that people know by name would say, field by field."""
    lines = []
    record: type[Message]
    for key, value in overlay.changes.items():
        kind, components = state.parse_state_key(key)
        if key == state.PARAMETERS_KEY:
            word, record, name = "parameters", Parameters, ""
        elif kind in _RECORDS and len(components) == 1 and value is not None:
            (word, record), name = _RECORDS[kind], _named(kind, components[0])
        else:
            continue
        old = state.load(chain, key, record)
        before = plain(old) if old is not None else {}
        after = plain(record.FromString(value or b""))
        title = f"{word} {name}".strip()
        if old is None:
            lines.append(f"new {title}")
        for field_name in dict.fromkeys([*before, *after]):
            was, now = before.get(field_name), after.get(field_name)
            if field_name not in _NOT_SHOWN and was != now:
                lines.append(f"{title}: {field_name} {_said(was, now)}")
    return lines


def _named(kind: Kind, component: bytes) -> str:
    return component.hex() if kind is Kind.KEY else component.decode()


def _said(was: Any, now: Any) -> str:
    return f"= {_text(now)}" if was is None else f"{_text(was)} -> {_text(now)}"


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_text, value)) + "]"
    return "-" if value is None else str(value)


def _seats(before: ValidatorsRecord, after: ValidatorsRecord) -> list[str]:
    """Who joins and who leaves the newest validator set, and how many may then fail."""
    was = {validator.key: validator.member for validator in before.next.validators}
    now = {validator.key: validator.member for validator in after.next.validators}
    if list(was) == list(now):
        return []
    lines = [f"validator {member} {key.hex()} joins" for key, member in now.items() if key not in was]
    lines += [f"validator {member} {key.hex()} leaves" for key, member in was.items() if key not in now]
    return [*lines, f"validators: {len(was)} -> {len(now)}, of which {quorum(len(now))} are a quorum"]
