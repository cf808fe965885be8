"""Who vouches for a signing key: the genesis, or enough members with their admin keys; never the chain alone.

A quorum of validators can certify any state, also a key record that gives its own key another member's name. What
it cannot make is what members' admin keys, which are kept offline, have signed. So a key that is not in the
genesis must have been put by a proposal that as many members approved as the genesis asks for, each with an admin
key that is in the genesis itself or was put by such a proposal before, and carried out before it expired. The same goes
for the end of a key, and for the identifiers that name a member in events.
"""

from collections.abc import Iterable
from typing import NamedTuple

from client.histories import ProvenEntry
from client.verified import VerifiedChain
from ledger import codec, hashes, state
from ledger.errors import ChiptraceError
from ledger.limits import APPROVALS_PER_PROPOSAL_MAX, PROPOSAL_EXPIRY_MS_MAX, TRANSACTION_BYTES_MAX
from ledger.members import MEMBER_URN, admin_key_key, member_for
from proto.chiptrace.v1.ledger_pb2 import (
    Change,
    Govern,
    GovernanceProposal,
    IdentifierRecord,
    KeyRecord,
    MemberRecord,
)

DEPTH_MAX = 64  # of admin keys that were put by admin keys that were put …


class _Naming(NamedTuple):
    """What a change of a member says of one identifier. since: its height."""

    since: int
    has: bool
    is_approved: bool


class Named(NamedTuple):
    """Whether an identifier named a member in events of a height. has: by what the chain shows; is_approved: by more than
    its word; surely: by what members approved, at whatever place of the block the event stood."""

    has: bool
    is_approved: bool
    surely: bool


class Vouching:
    """Vouches for keys and names of one chain. What was found out is kept."""

    def __init__(self, chain: VerifiedChain) -> None:
        self._chain = chain
        self._known: dict[bytes, bool] = {}
        self._admins: dict[tuple[bytes, int], str | None] = {}
        self._named: dict[tuple[str, str], list[_Naming]] = {}  # by identifier and member

    def is_vouched(self, record: KeyRecord) -> bool:
        """Whether the key is this member's, and of this role, by more than the chain's word. Raises NotVerifiable."""
        if record.key not in self._known:
            self._known[record.key] = self._in_genesis(record) or self._was_put(record)
        return self._known[record.key]

    def is_ended_so(self, record: KeyRecord) -> bool:
        """Whether a key was revoked, and compromised since, as its record says, by more than the chain's word."""
        revoked_ms = compromised_ms = 0
        is_over = record.revoked_at_ms or record.compromised_since_ms
        for proven in self._chain.history(state.signer_key(record.key), record.history) if is_over else ():
            for change in self._approved(proven, 0):
                if change.WhichOneof("kind") != "revoke_key" or change.revoke_key.key != record.key:
                    continue
                revoked_ms = revoked_ms or self._time_ms(proven)
                since_ms = change.revoke_key.compromised_since_ms
                compromised_ms = min(since_ms or compromised_ms, compromised_ms or since_ms)
        return (revoked_ms, compromised_ms) == (record.revoked_at_ms, record.compromised_since_ms)

    def named(self, identifier: str, member: str, height: int) -> Named:
        """Whether an identifier named a member in events of a height, and who says so.

        At the very height at which that changed it counts as both. Raises NotVerifiable."""
        if identifier.startswith(MEMBER_URN) and identifier != f"{MEMBER_URN}{member}":
            return Named(has=False, is_approved=False, surely=False)
        place = identifier, member
        if place not in self._named:
            self._named[place] = self._naming(identifier, member)
        told = self._named[place]
        has = [one for one in _of_height(told, height) if one.has]
        approved = [one for one in told if one.is_approved]
        surely = any(one.since < height for one in approved) and all(
            one.has for one in _of_height(approved, height)
        )
        return Named(bool(has), any(one.is_approved for one in has), surely)

    def whom(self, identifier: str, height: int, perhaps: Iterable[str]) -> str | None:
        """The member that an identifier surely named in events of a height: one of these, of the genesis, or whom it names
        now; None where none of them is it. Raises NotVerifiable."""
        first = [] if self._chain.genesis is None else [put.id for put in self._chain.genesis.members]
        now = member_for(self._chain, identifier) or ""
        known = sorted({*first, *perhaps, now})
        return next((member for member in known if self.named(identifier, member, height).surely), None)

    def _naming(self, identifier: str, member: str) -> list[_Naming]:
        """Each time that it was said whether the identifier is the member's, in order; a member's own URN always is."""
        genesis, own = self._chain.genesis, identifier.startswith(MEMBER_URN)
        first = [put for put in genesis.members if put.id == member] if genesis is not None else []
        told = [_Naming(0, own or identifier in put.identifiers, is_approved=True) for put in first]
        if told and own:
            return told
        record = self._chain.record(state.member_key(member), MemberRecord)
        if record is None or (told and record.history.n == 1):
            return told
        for proven in self._chain.history(state.member_key(member), record.history):
            changes, is_approved = self._proposed(proven, 0)
            told += [
                _Naming(proven.entry.height, own or identifier in change.put_member.identifiers, is_approved)
                for change in changes
                if change.WhichOneof("kind") == "put_member" and change.put_member.id == member
            ]
        return told

    def approved(self, proven: ProvenEntry) -> list[Change]:
        """The changes of the proposal behind an entry, if it was approved as a key must be. Raises NotVerifiable."""
        return self._approved(proven, 0)

    def _in_genesis(self, record: KeyRecord) -> bool:
        genesis = self._chain.genesis
        if genesis is None:
            return False
        wanted = (record.key, record.member, record.role, record.valid_from_ms, record.valid_until_ms)
        return any(
            wanted == (put.key, put.member, put.role, put.valid_from_ms, put.valid_until_ms)
            for put in genesis.keys
        )

    def _was_put(self, record: KeyRecord) -> bool:
        wanted = (record.key, record.member, record.role, record.valid_from_ms, record.valid_until_ms)
        for proven in self._chain.history(state.signer_key(record.key), record.history):
            for change in self._approved(proven, 0):
                put = change.put_key
                made = (put.key, put.member, put.role, put.valid_from_ms, put.valid_until_ms)
                if change.WhichOneof("kind") == "put_key" and made == wanted:
                    return True
        return False

    def _approved(self, proven: ProvenEntry, depth: int) -> list[Change]:
        """The changes of the proposal behind an entry, if members approved it in the number that is needed."""
        changes, is_approved = self._proposed(proven, depth)
        return changes if is_approved else []

    def _proposed(self, proven: ProvenEntry, depth: int) -> tuple[list[Change], bool]:
        """The changes of the proposal behind an entry, and whether enough members approved it in its time."""
        operations = proven.transaction.body.operations
        if proven.entry.operation >= len(operations) or self._chain.genesis is None:
            return [], False
        operation = operations[proven.entry.operation]
        if operation.WhichOneof("kind") != "govern":
            return [], False
        try:
            proposal = codec.decode(GovernanceProposal, operation.govern.proposal, TRANSACTION_BYTES_MAX)
        except ChiptraceError:
            return [], False
        if proposal.chain_id != self._chain.trust.chain_id:
            return [], False
        time_ms = self._time_ms(proven)
        in_time = time_ms <= proposal.expires_ms <= time_ms + PROPOSAL_EXPIRY_MS_MAX
        members = self._approvers(operation.govern, proven.entry.height, depth)
        enough = len(members) >= self._chain.genesis.parameters.governance_threshold
        return list(proposal.changes), enough and in_time

    def _time_ms(self, proven: ProvenEntry) -> int:
        return self._chain.times([proven.entry.height])[proven.entry.height]

    def _approvers(self, govern: Govern, height: int, depth: int) -> set[str]:
        chain_id, found = self._chain.trust.chain_id, set()
        for approval in govern.approvals[:APPROVALS_PER_PROPOSAL_MAX]:
            member = self._member_of(approval.key, height, depth)
            signed = member is not None and hashes.verify(
                approval.key, hashes.Purpose.PROPOSAL, chain_id, govern.proposal, approval.signature
            )
            if member is not None and signed:
                found.add(member)
        return found

    def _member_of(self, key: bytes, height: int, depth: int) -> str | None:
        """Whose admin key it was by a height: of a member of the genesis, or put there by approval, perhaps in the same block."""
        place = (key, height)
        if place not in self._admins:
            self._admins[place] = self._of_genesis(key) or self._of_later(key, height, depth + 1)
        return self._admins[place]

    def _of_genesis(self, key: bytes) -> str | None:
        members = self._chain.genesis.members if self._chain.genesis is not None else ()
        return next((member.id for member in members if key in member.admin_keys), None)

    def _of_later(self, key: bytes, height: int, depth: int) -> str | None:
        row = self._chain.record(admin_key_key(key), IdentifierRecord)
        if row is None or depth > DEPTH_MAX:
            return None
        record = self._chain.record(state.member_key(row.member), MemberRecord)
        if record is None:
            return None
        for proven in self._chain.history(state.member_key(row.member), record.history):
            if not 0 < proven.entry.height <= height:
                continue
            for change in self._approved(proven, depth):
                put = change.put_member
                if (
                    change.WhichOneof("kind") == "put_member"
                    and put.id == row.member
                    and key in put.admin_keys
                ):
                    return row.member
        return None


def _of_height(told: list[_Naming], height: int) -> list[_Naming]:
    """What was in force when a height began, and what was said at it."""
    return [one for one in told if one.since < height][-1:] + [one for one in told if one.since == height]
