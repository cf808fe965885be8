"""What an audit says of a chain that lost its quorum and was recovered: always that it was, and by whose decision.

The trust file has accepted the document (client/trust.py), else no header behind it would have been followed. Here it
is told again in every audit, for ever, and looked at once more: that the state keeps exactly these recoveries, and that
enough members approved each with admin keys that were theirs at that height, by the genesis and by what members
signed since (client/audit_keys.py), not by the word of validators who owe their place to it.
"""

from client.audit_entries import Find
from client.audit_keys import Vouching
from client.verified import NotVerifiable, VerifiedChain
from ledger import hashes, state
from ledger.hashes import Purpose
from ledger.members import admin_key_key
from ledger.recovery import Opened
from proto.chiptrace.v1.ledger_pb2 import (
    IdentifierRecord,
    MemberRecord,
    Reason,
    RecoveriesRecord,
    RecoveryRecord,
)


def tell_recoveries(chain: VerifiedChain, find: Find) -> None:
    """Finds RECOVERED for each recovery that the chain went through. Raises NotVerifiable where its state and its
    headers do not tell of the same ones."""
    if not chain.recoveries:
        return
    told = chain.record(state.RECOVERIES_KEY, RecoveriesRecord) or RecoveriesRecord()
    if list(told.heights) != sorted(chain.recoveries):
        raise NotVerifiable(
            f"chain {chain.trust.name}: its headers show recoveries after heights {sorted(chain.recoveries)}, its state "
            f"has {list(told.heights)}. Tell its members.",
            Reason.BAD_PROOF,
        )
    vouching = Vouching(chain)
    for opened in chain.recoveries.values():
        record = chain.record(state.recovery_key(opened.height), RecoveryRecord)
        if record is None or record.document != opened.hash:
            raise NotVerifiable(
                f"chain {chain.trust.name}: its state keeps another recovery of height {opened.height} than its header "
                "names. Tell its members.",
                Reason.BAD_PROOF,
            )
        members = approvers(chain, vouching, opened)
        find(
            chain,
            "",
            "RECOVERED",
            f"chain {chain.trust.name} lost its quorum and was recovered after height {opened.height} by its members "
            f"{', '.join(members) or '(none)'}, with other validators: {opened.document.reason} (document "
            f"{opened.hash.hex()})",
            (),
        )
        if len(members) < record.governance_threshold:
            find(
                chain,
                "",
                "RECOVERY_NOT_APPROVED",
                f"of the {record.governance_threshold} members that had to approve the recovery after height "
                f"{opened.height} of chain {chain.trust.name}, {len(members)} did with admin keys that others vouch for",
                (),
            )


def approvers(chain: VerifiedChain, vouching: Vouching, opened: Opened) -> list[str]:
    """The members that approved it, each with an admin key it had at that height."""
    found: set[str] = set()
    for approval in opened.approvals:
        row = chain.record(admin_key_key(approval.key), IdentifierRecord)
        if row is None or row.member in found:
            continue
        signed = hashes.verify(
            approval.key,
            Purpose.RECOVERY,
            chain.trust.chain_id,
            opened.document_bytes,
            approval.signature,
        )
        if signed and approval.key in _admin_keys(chain, vouching, row.member, opened.height):
            found.add(row.member)
    return sorted(found)


def _admin_keys(chain: VerifiedChain, vouching: Vouching, member: str, height: int) -> list[bytes]:
    """The admin keys of a member after a height, as the genesis and approved proposals put them."""
    genesis = chain.genesis
    keys = [key for put in genesis.members if put.id == member for key in put.admin_keys] if genesis else []
    record = chain.record(state.member_key(member), MemberRecord)
    if record is None:
        return []
    for proven in chain.history(state.member_key(member), record.history):
        if not 0 < proven.entry.height <= height:
            continue
        for change in vouching.approved(proven):
            if change.WhichOneof("kind") == "put_member" and change.put_member.id == member:
                keys = list(change.put_member.admin_keys)
    return keys
