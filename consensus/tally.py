"""The open height's votes as they are counted, and the certificates held. Both hold verified things only.

One slot per (view, kind, signer), so that a signer who votes twice neither replaces its vote nor poisons the
count of others. What is already in its slot is recognised before any signature is looked at.
"""

from enum import Enum, auto

from consensus import certificate as certificates
from consensus.quorum import VIEW_FIRST, quorum
from ledger.errors import InvariantBroken
from proto.chiptrace.v1.consensus_pb2 import Certificate, Vote, VoteKind


class Standing(Enum):
    """What a vote would be to the tally."""

    NEW = auto()
    KNOWN = auto()  # its slot holds a vote for the same
    CONFLICTING = auto()  # convicts its signer together with one that is held, if its signature is valid


def conflict(first: Vote, second: Vote) -> bool:
    """Whether these two votes of one signer, at one height and view, are a fault (rule 9).

    Two notarizes or two finalizes of different blocks, or nullify and finalize. notarize and nullify of one view
    are no fault (rule 4).
    """
    if first.kind == second.kind:
        return first.block_hash != second.block_hash
    return {first.kind, second.kind} == {VoteKind.NULLIFY, VoteKind.FINALIZE}


class Tally:
    """Verified votes of one height by (view, kind, signer)."""

    def __init__(self, validators: int) -> None:
        self._validators = validators
        self._slots: dict[tuple[int, VoteKind.ValueType], dict[int, Vote]] = {}

    def standing(self, vote: Vote) -> tuple[Standing, Vote | None]:
        """What the vote would be, and the earlier vote it conflicts with. Looks at no signature."""
        held = self._slots.get((vote.view, vote.kind), {}).get(vote.signer)
        if held is not None:
            return (Standing.CONFLICTING, held) if conflict(held, vote) else (Standing.KNOWN, None)
        for kind in (VoteKind.NULLIFY, VoteKind.FINALIZE):
            other = self._slots.get((vote.view, kind), {}).get(vote.signer)
            if other is not None and conflict(other, vote):
                return Standing.CONFLICTING, other
        return Standing.NEW, None

    def signers(self, view: int, kind: "VoteKind.ValueType") -> frozenset[int]:
        """Indexes of those whose vote of this kind and view is counted."""
        return frozenset(self._slots.get((view, kind), {}))

    def add(self, vote: Vote) -> Certificate | None:
        """Counts a verified vote in its slot, if that is free; returns the certificate once a quorum stands.

        A nullify and a finalize of one signer are both counted: each is its own, and honest validators alone
        never give both quorums.
        """
        slot = self._slots.setdefault((vote.view, vote.kind), {})
        if vote.signer in slot:
            return None
        slot[vote.signer] = vote
        return self.quorum_for(vote)

    def quorum_for(self, vote: Vote) -> Certificate | None:
        """The certificate of what this vote is for, if a quorum has voted so."""
        slot = self._slots.get((vote.view, vote.kind), {})
        same = {signer: held.signature for signer, held in slot.items() if held.block_hash == vote.block_hash}
        if len(same) < quorum(self._validators):
            return None
        return certificates.form(vote.kind, vote.height, vote.view, vote.block_hash, same, self._validators)


class Held:
    """Verified certificates of the open height: N(v), Z(v) by view, and F once there is one."""

    def __init__(self) -> None:
        self._notarizations: dict[int, Certificate] = {}
        self._nullifications: dict[int, Certificate] = {}
        self._highest_notarized = 0
        self.finalization: Certificate | None = None

    def has(self, certificate: Certificate) -> bool:
        """Whether a certificate of that kind and view is held already (one F of any view is enough)."""
        if certificate.kind == VoteKind.NOTARIZE:
            return certificate.view in self._notarizations
        if certificate.kind == VoteKind.NULLIFY:
            return certificate.view in self._nullifications
        return self.finalization is not None

    def add(self, certificate: Certificate) -> None:
        """Keeps a verified certificate; the first one of its kind and view stays."""
        if self.has(certificate):
            return
        if certificate.kind == VoteKind.NOTARIZE:
            self._notarizations[certificate.view] = certificate
            self._highest_notarized = max(self._highest_notarized, certificate.view)
        elif certificate.kind == VoteKind.NULLIFY:
            self._nullifications[certificate.view] = certificate
        elif certificate.kind == VoteKind.FINALIZE:
            self.finalization = certificate
        else:
            raise InvariantBroken(f"a certificate of kind {certificate.kind} was taken as verified")

    def notarization(self, view: int) -> Certificate | None:
        """N(view), if held."""
        return self._notarizations.get(view)

    def highest_notarization(self, below: int | None = None) -> Certificate | None:
        """N(u) of the highest u, or of the highest u < `below`."""
        if below is None or self._highest_notarized < below:
            return self._notarizations.get(self._highest_notarized)
        views = [view for view in self._notarizations if view < below]
        return self._notarizations[max(views)] if views else None

    def nullifications(self, after: int, before: int | None = None) -> list[Certificate]:
        """Z(w) for the w held with after < w (< before), ascending."""
        views = sorted(w for w in self._nullifications if after < w and (before is None or w < before))
        return [self._nullifications[view] for view in views]

    def all_nullified(self, after: int, before: int) -> bool:
        """Whether Z(w) is held for every w with after < w < before."""
        return all(view in self._nullifications for view in range(max(after + 1, VIEW_FIRST), before))

    def notarizations(self) -> list[Certificate]:
        """Every N held, by ascending view."""
        return [self._notarizations[view] for view in sorted(self._notarizations)]
