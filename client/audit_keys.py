"""Who vouches for a signing key: the genesis, or enough members with their admin keys; never the chain alone.

A quorum of validators can certify any state, also a key record that gives its own key another member's name. What
it cannot make is what members' admin keys, which are kept offline, have signed. So a key that is not in the
genesis must have been put by a proposal that as many members approved as the genesis asks for, each with an admin
key that is in the genesis itself or was put by such a proposal before.
"""

from client.histories import ProvenEntry
from client.verified import VerifiedChain
from ledger import codec, hashes, state
from ledger.errors import ChiptraceError
from ledger.limits import APPROVALS_PER_PROPOSAL_MAX, TRANSACTION_BYTES_MAX
from ledger.members import admin_key_key
from proto.chiptrace.v1.ledger_pb2 import (
    Change,
    Govern,
    GovernanceProposal,
    IdentifierRecord,
    KeyRecord,
    MemberRecord,
)

DEPTH_MAX = 64  # of admin keys that were put by admin keys that were put …


class Vouching:
    """Vouches for keys of one chain. What was found out is kept."""

    def __init__(self, chain: VerifiedChain) -> None:
        self._chain = chain
        self._known: dict[bytes, bool] = {}
        self._admins: dict[tuple[bytes, int], str | None] = {}

    def is_vouched(self, record: KeyRecord) -> bool:
        """Whether the key is this member's, and of this role, by more than the chain's word. Raises NotVerifiable."""
        if record.key not in self._known:
            self._known[record.key] = self._in_genesis(record) or self._was_put(record)
        return self._known[record.key]

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
        operations = proven.transaction.body.operations
        if proven.entry.operation >= len(operations) or self._chain.genesis is None:
            return []
        operation = operations[proven.entry.operation]
        if operation.WhichOneof("kind") != "govern":
            return []
        try:
            proposal = codec.decode(GovernanceProposal, operation.govern.proposal, TRANSACTION_BYTES_MAX)
        except ChiptraceError:
            return []
        if proposal.chain_id != self._chain.trust.chain_id:
            return []
        members = self._approvers(operation.govern, proven.entry.height, depth)
        enough = len(members) >= self._chain.genesis.parameters.governance_threshold
        return list(proposal.changes) if enough else []

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
        """Whose admin key it was by a height: of a member of the genesis, or put there by approval before."""
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
            if not 0 < proven.entry.height < height:
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
