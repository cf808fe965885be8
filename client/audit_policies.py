"""Under which licences something left: the policies that were in force at each shipping, and what it named.

1. A policy is read as it was put: the proposal that enough members approved says the very same, and so of its end. It
   never changes, and its record says from which height to which one it was in force.
2. The licence is one by the ledger's own rule (ledger/policies.py) at the time of the shipping, and its issuer's key
   signed what its record says.
3. A licence that was revoked afterwards is told: the shipping was right, and somebody thought better of it.

At the very heights at which a policy was put or ended, its order against a shipping is not known, and it is not asked for.
"""

from collections.abc import Callable

from client.audit_keys import Vouching
from client.audit_report import Step
from client.histories import ProvenEntry
from client.verified import NotVerifiable, VerifiedChain
from ledger import codec, hashes, state
from ledger.identifiers import canonical, grant_prefixes
from ledger.policies import Item, Leaving, claims, is_triggered, items_of, named, why_not
from proto.chiptrace.v1.ledger_pb2 import (
    Attest,
    AttestationRecord,
    Change,
    EntryKind,
    Operation,
    PoliciesRecord,
    PolicyRecord,
    PutPolicy,
    Reason,
    RevokePolicy,
)

Find = Callable[[VerifiedChain, str, str, str, tuple[bytes, ...]], None]
Signer = Callable[[str, ProvenEntry, Operation, int], str]


class Licences:
    """Judges shippings of one chain. What was read once is kept."""

    def __init__(self, chain: VerifiedChain, find: Find, vouching: Vouching, signer: Signer) -> None:
        self._chain = chain
        self._find = find
        self._vouching = vouching
        self._signer = signer
        self._policies: dict[str, list[PolicyRecord]] = {}  # by prefix
        self._signed: dict[str, AttestationRecord | None] = {}  # by id

    def shown(self, name: str, lot: str, steps: list[Step]) -> list[Step]:
        """The steps of a part or a lot, each shipping with the licences it rested on; what lacks one is found."""
        if not any(step.leaving for step in steps):
            return steps
        items = items_of(canonical(name), lot)
        return [self._judged(name, items[0], step) for step in steps] if items else steps

    def _judged(self, name: str, item: Item, step: Step) -> Step:
        leaving = step.leaving
        if leaving is None:
            return step
        rests = [
            self._licence(name, item, step, leaving, record)
            for prefix in grant_prefixes(item.name)
            for record in self._about(prefix)
            if record.put_at < step.height
            and (record.revoked_at == 0 or step.height < record.revoked_at)
            and is_triggered(record.policy, leaving)
        ]
        said = [text for text in (step.detail, *rests) if text]
        return step._replace(detail="; ".join(said)) if rests else step

    def _licence(self, name: str, item: Item, step: Step, leaving: Leaving, record: PolicyRecord) -> str:
        policy, transactions = record.policy, (step.transaction,)
        why = []
        found = (
            (name, licence) for name in named(leaving.documents) for licence in self._claims(policy, name)
        )
        for identifier, licence in found:
            reason = why_not(policy, licence, item, leaving.destination, step.time_ms)
            if reason:
                why.append(f"{identifier}: {reason}")
                continue
            if licence.revoked_at_ms:
                text = f"{name} left at height {step.height} under {licence.kind} {identifier} by {licence.issuer}, "
                self._find(
                    self._chain, name, "REVOKED_ATTESTATION", f"{text}which was revoked since", transactions
                )
            return f"policy {policy.id}: {licence.kind} {identifier} by {licence.issuer}"
        text = (
            f"{name} left at height {step.height}, and policy {policy.id} asks for {policy.attestation} of "
        )
        wanted = f"{' or '.join(policy.issuers)}; {'; '.join(why) or 'none is named'}"
        self._find(self._chain, name, "LICENCE_MISSING", text + wanted, transactions)
        return f"policy {policy.id}: no licence"

    # ---- records and what they rest on --------------------------------------------------------------------

    def _about(self, prefix: str) -> list[PolicyRecord]:
        """Every policy that there ever was about a prefix."""
        if prefix not in self._policies:
            at = self._chain.record(state.policies_key(prefix), PoliciesRecord) or PoliciesRecord()
            self._policies[prefix] = [self._policy(policy) for policy in (*at.in_force, *at.ended)]
        return self._policies[prefix]

    def _policy(self, policy: str) -> PolicyRecord:
        key = state.policy_key(policy)
        record = self._chain.record(key, PolicyRecord)
        entries = [] if record is None else self._chain.history(key, record.history)
        heights = [proven.entry.height for proven in entries]
        told = [] if record is None else [height for height in (record.put_at, record.revoked_at) if height]
        if record is None or heights != told:
            raise self._broken(f"policy {policy}", "it has no record, or another one than its history makes")
        wanted = [Change(put_policy=record.policy), Change(revoke_policy=RevokePolicy(id=policy))]
        if any(
            change not in self._vouching.approved(proven)
            for change, proven in zip(wanted, entries, strict=False)
        ):
            text = f"enough admin keys do not vouch for policy {policy} as its record tells it"
            self._find(self._chain, "", "POLICY_NOT_APPROVED", text, (entries[0].entry.transaction,))
        return record

    def attestation(self, identifier: str) -> AttestationRecord | None:
        """The record of an attestation, if its issuer signed it so."""
        if identifier not in self._signed:
            record = self._chain.record(state.attestation_key(identifier), AttestationRecord)
            if record is not None:
                self._check_signed(identifier, record)
            self._signed[identifier] = record
        return self._signed[identifier]

    def _claims(self, policy: PutPolicy, identifier: str) -> list[AttestationRecord]:
        """What could be a licence: the chain's own claim, if its issuer signed it so, and those of other chains."""
        own = self.attestation(identifier)
        abroad = [record for record in claims(self._chain, policy, identifier) if "/" in record.issuer]
        return abroad if own is None else [own, *abroad]

    def _check_signed(self, identifier: str, record: AttestationRecord) -> None:
        what = f"attestation {identifier}"
        history = self._chain.history(state.attestation_key(identifier), record.history)
        entries = [
            proven for proven in history if proven.entry.kind == EntryKind.ATTESTED
        ]  # not where it was sent
        if len(entries) != (2 if record.revoked_at_ms else 1):
            raise self._broken(what, "its record and its history do not agree")
        for place, proven in enumerate(entries):
            body, height = proven.transaction.body, proven.entry.height
            if proven.entry.operation >= len(body.operations):
                raise self._broken(what, "a transaction has no such operation")
            operation = body.operations[proven.entry.operation]
            claim, kind = operation.attest, "revoke_attestation" if place else "attest"
            digest = hashes.tagged_hash(
                hashes.Purpose.OPERATION, self._chain.trust.chain_id, codec.encode(operation)
            )
            if operation.WhichOneof("kind") != kind or digest != proven.entry.digest:
                raise self._broken(what, f"no operation {kind} made entry {place}")
            member = self._signer(what, proven, operation, self._chain.times([height])[height])
            time_ms = self._chain.times([height])[height]
            if place == 0:
                told, signed = (
                    (record.issuer, identifier, *content_of(record)),
                    (member, claim.id, *content_of(claim)),
                )
            else:
                told = (record.issuer, identifier, record.revoked_at_ms)
                signed = (member, operation.revoke_attestation.id, time_ms)
            if told != signed:
                raise self._broken(what, f"it is not what {member} signed")

    def _broken(self, what: str, why: str) -> NotVerifiable:
        return NotVerifiable(
            f"chain {self._chain.trust.name}: {what}: {why}. The chain's own members let this stand; ask them.",
            Reason.BAD_PROOF,
        )


def content_of(claim: AttestationRecord | Attest) -> tuple[object, ...]:
    """What a claim says: all that its issuer signs, but its own id."""
    return (
        claim.subject,
        claim.kind,
        claim.valid_from_ms,
        claim.valid_until_ms,
        tuple(claim.destinations),
        claim.scope,
        claim.document_sha256,
        claim.document_name,
    )
