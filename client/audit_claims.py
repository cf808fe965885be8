"""Claims of other chains about a subject: what was told to this chain, and whether the chain that told it says so.

1. What stands in the subject's history, and what the chain lists that stands in none, is in a record named by the chain
   that sent it; the record is what its packet said, and the packet came over a client of that chain, proven here.
2. Where that chain is in the trust file, it is asked: its own record of the claim says the same, as its issuer signed it,
   and the packet stands in the complete history of it. It can do so though no light client here is believed: the auditor follows it herself.
3. A claim that a chain only passed on is that chain's word, and is said to be so.
"""

from collections.abc import Callable, Iterable, Mapping

from client.audit_packets import Told, told
from client.histories import ProvenEntry
from client.verified import NotVerifiable, VerifiedChain, older_or_false
from ledger import state
from ledger.attestations import foreign_attestation_key, foreign_attestations_key
from proto.chiptrace.v1.bridge_pb2 import ClientRecord
from proto.chiptrace.v1.ledger_pb2 import (
    AttestationRecord,
    EntryKind,
    ForeignAttestation,
    ForeignAttestationRecord,
    ForeignAttestationsRecord,
    Reason,
)

# Of a chain, a claim as its issuer signed it.
Signed = Callable[[VerifiedChain, str], AttestationRecord | None]
Find = Callable[[VerifiedChain, str, str, str, tuple[bytes, ...]], None]


class Claims:
    """What other chains told one chain. What was read once is kept, and asked for at its source by `check`."""

    def __init__(self, chain: VerifiedChain, find: Find, evidence: dict[str, list[str]]) -> None:
        self._chain = chain
        self._find = find
        self._evidence = evidence  # by subject, the claims about it that are in force
        self._records: dict[bytes, ForeignAttestationRecord] = {}

    def enter(self, name: str, came: Told) -> None:
        """An entry COPIED in the history of a subject, and the packet behind it. Raises NotVerifiable."""
        copy = came.copy
        client = self._chain.record(state.client_key(came.packet.destination_client), ClientRecord)
        if client is None:
            raise self._broken(copy.record.id, "it came over a client that has no record")
        name_of = ForeignAttestation(issuer_chain=copy.issuer_chain, id=copy.record.id)
        record = self._read(name, client.chain_id, name_of)
        said, now = AttestationRecord(), record.copy.record
        said.CopyFrom(copy.record)
        said.revoked_at_ms = now.revoked_at_ms
        if said != now or (copy.record.revoked_at_ms and not now.revoked_at_ms):
            raise self._broken(copy.record.id, "its record is not what its packet said")

    def about(self, name: str, others: Iterable[bytes]) -> None:
        """Everything that these chains told about a subject, also where it has no history here. Raises NotVerifiable."""
        for chain_id in others:
            for one in self._listed(name, chain_id):
                self._read(name, chain_id, one)

    def made_here(self, name: str, signed: Callable[[str], AttestationRecord | None]) -> None:
        """What this chain's own members claimed about a subject that had left: its history is frozen. `signed` is the
        record of a claim that its issuer signed. Raises NotVerifiable."""
        for one in self._listed(name, self._chain.trust.chain_id):
            claim = signed(one.id)
            if claim is None or claim.subject != name:
                raise self._broken(one.id, f"it has no record about {name}")
            self._judge(name, claim, claim.issuer)

    def _listed(self, name: str, chain_id: bytes) -> list[ForeignAttestation]:
        """Every page of what a chain told here about a subject."""
        page = self._chain.record(foreign_attestations_key(chain_id, name), ForeignAttestationsRecord)
        if page is None:
            return []
        found = list(page.attestations)
        for number in range(1, 1 + page.pages):
            key = foreign_attestations_key(chain_id, name, number)
            further = self._chain.record(key, ForeignAttestationsRecord)
            if further is None:
                raise self._broken(name, f"page {number} of the list of claims is missing")
            found += further.attestations
        return found

    def _read(self, name: str, chain_id: bytes, claim: ForeignAttestation) -> ForeignAttestationRecord:
        key = foreign_attestation_key(chain_id, claim.issuer_chain, claim.id)
        if key in self._records:
            return self._records[key]
        record = self._chain.record(key, ForeignAttestationRecord)
        if record is None or record.copy.record.subject != name:
            raise self._broken(claim.id, f"it has no record about {name}")
        self._records[key] = record
        self._tell(name, record)
        return record

    def _tell(self, name: str, record: ForeignAttestationRecord) -> None:
        claim, copy = record.copy.record, record.copy
        by = f"{claim.issuer} of chain {copy.issuer_chain.hex()[:16]}"
        if copy.passed:
            by += f", as chain {record.chain.hex()[:16]} passed it on"
        self._judge(name, claim, by)

    def _judge(self, name: str, claim: AttestationRecord, by: str) -> None:
        what = f"{name}: {claim.kind} {claim.id} by {by}"
        if claim.revoked_at_ms:
            self._find(self._chain, name, "REVOKED_ATTESTATION", what, ())
        elif claim.kind == "recall":
            self._find(self._chain, name, "RECALLED", f"{what}: {claim.scope}", ())
        elif 0 < claim.valid_until_ms < self._chain.snapshot().time_ms:
            self._find(self._chain, name, "EXPIRED_ATTESTATION", what, ())
        else:
            self._evidence.setdefault(name, []).append(f"{claim.kind} {claim.id} by {by}")

    # ---- at its source --------------------------------------------------------------------------------------

    def check(self, chains: Mapping[bytes, VerifiedChain], signed: Signed) -> None:
        """Step 2, for every claim that was met. Raises NotVerifiable, Overtaken."""
        for record in self._records.values():
            source = chains.get(record.chain)
            if source is None:
                claim = record.copy.record
                text = f"{claim.kind} {claim.id} was told by chain {record.chain.hex()}, which the trust file does not name"
                self._find(self._chain, claim.subject, "CHAIN_NOT_TRUSTED", text, ())
            elif source is not self._chain:
                self._asked(source, record, signed)

    def _asked(self, source: VerifiedChain, record: ForeignAttestationRecord, signed: Signed) -> None:
        copy, claim = record.copy, AttestationRecord()
        mine: AttestationRecord | ForeignAttestationRecord | None
        if copy.passed:
            key = foreign_attestation_key(copy.told_by, copy.issuer_chain, copy.record.id)
            mine = source.record(key, ForeignAttestationRecord)
            claim = AttestationRecord() if mine is None else mine.copy.record
        else:
            key = state.attestation_key(copy.record.id)
            mine = signed(source, copy.record.id)
            if mine is not None:
                claim.CopyFrom(mine)
                for name in ("history", "copied_to", "waiting"):
                    claim.ClearField(name)
        said = AttestationRecord()
        said.CopyFrom(copy.record)
        said.revoked_at_ms = claim.revoked_at_ms  # which may follow later
        sent = self._commitment(record)
        entries = [] if mine is None else source.history(key, mine.history)
        if said != claim or all(entry.entry.digest != sent for entry in entries):
            raise self._older_or_false(
                source, f"of {copy.record.id}, and proves a history in which it said no such thing"
            )
        if copy.record.revoked_at_ms and not claim.revoked_at_ms:
            raise self._older_or_false(
                source, f"{copy.record.id} was revoked, and proves that it is in force"
            )
        if claim.revoked_at_ms and not copy.record.revoked_at_ms:
            text = f"{copy.record.kind} {copy.record.id} by {claim.issuer} was revoked on chain {source.trust.name}"
            self._find(self._chain, copy.record.subject, "REVOKED_ATTESTATION", text, ())

    def _older_or_false(self, source: VerifiedChain, what: str) -> NotVerifiable:
        text = f"chain {source.trust.name} told chain {self._chain.trust.name} {what}"
        return older_or_false(source, self._chain.snapshot().time_ms, text)

    def _commitment(self, record: ForeignAttestationRecord) -> bytes:
        """Of the packet that brought the claim as it stands: in the newest entry of its history here."""
        copy = record.copy
        key = foreign_attestation_key(record.chain, copy.issuer_chain, copy.record.id)
        entries = self._chain.history(key, record.history)
        incoming = [
            proven.entry.digest
            for proven in entries
            if proven.entry.kind == EntryKind.COPIED and _brought(proven)
        ]
        if not incoming:
            raise self._broken(copy.record.id, "no packet of its history brought it")
        return incoming[-1]

    def _broken(self, claim: str, why: str) -> NotVerifiable:
        return NotVerifiable(
            f"chain {self._chain.trust.name}: claim {claim} of another chain: {why}. The chain's own members let this "
            "stand; ask them.",
            Reason.BAD_PROOF,
        )


def _brought(proven: ProvenEntry) -> bool:
    """Whether an entry is about the packet that came, and not about one that passed the claim on."""
    operations, place = proven.transaction.body.operations, proven.entry.operation
    came = told(operations[place]) if place < len(operations) else None
    return came is not None and came.commitment == proven.entry.digest
