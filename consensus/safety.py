"""The four local rules on which safety rests, and the only place where a vote is signed.

For each view of the open height:

    (a) at most one notarize;
    (b) never both nullify and finalize;
    (c) notarize only on a complete proof: N(u) of that very block and Z(w) for every u < w < v, or, for a new
        block, Z(w) for every w < v; the parent being final is what opened the height;
    (d) finalize a block only while holding N(v) for it.

Everything else in this package is liveness. The record below is restored from the own votes in the journal, all
of which are durable before they leave (rule 6): a vote that is not in the journal was never sent. We are
stricter than (a) to (d) in one point that costs nothing: no notarize after nullify.
"""

from collections.abc import Callable

from consensus.messages import signed_vote
from consensus.tally import Held
from ledger.errors import InvariantBroken
from proto.chiptrace.v1.consensus_pb2 import Certificate, Vote, VoteKind


def proof_complete(held: Held, view: int, from_view: int, block_hash: bytes) -> bool:
    """Rule (c): whether certificates held prove that this block may be notarized in `view`."""
    if not 0 <= from_view < view:
        return False
    if from_view > 0:
        notarization = held.notarization(from_view)
        if notarization is None or notarization.block_hash != block_hash:
            return False
    return held.all_nullified(after=from_view, before=view)


class Safety:
    """What this validator has signed at one height. Each method returns the signed vote, or None where a rule
    forbids it; the caller makes the vote durable before it sends it."""

    def __init__(self, chain_id: bytes, height: int, signer: int, sign: Callable[[bytes], bytes]) -> None:
        self._chain_id = chain_id
        self._height = height
        self._signer = signer
        self._sign = sign
        self._notarized: dict[int, bytes] = {}
        self._nullified: set[int] = set()
        self._finalized: dict[int, bytes] = {}

    def restore(self, vote: Vote) -> None:
        """Takes over an own vote from the journal. Raises InvariantBroken for one that the rules forbid: then
        this key has signed elsewhere, or the journal is not its own."""
        view, block = vote.view, vote.block_hash
        if vote.kind == VoteKind.NOTARIZE:
            lawful = self._notarized.setdefault(view, block) == block
        elif vote.kind == VoteKind.FINALIZE:
            lawful = self._finalized.setdefault(view, block) == block and view not in self._nullified
        else:
            self._nullified.add(view)
            lawful = view not in self._finalized
        if not lawful or vote.height != self._height or vote.signer != self._signer:
            raise InvariantBroken(
                f"the journal holds votes of height {vote.height}, view {vote.view} that no validator signs "
                "together; this key must not vote any more: have it replaced"
            )

    def may_notarize(self, view: int) -> bool:
        """Whether (a) allows a notarize in this view; (c) is judged with the block."""
        return view not in self._notarized and view not in self._nullified

    def notarize(self, view: int, from_view: int, block_hash: bytes, held: Held) -> Vote | None:
        """Signs a notarize of this block, under (a) and (c)."""
        if not self.may_notarize(view) or not proof_complete(held, view, from_view, block_hash):
            return None
        self._notarized[view] = block_hash
        return self._signed(VoteKind.NOTARIZE, view, block_hash)

    def nullify(self, view: int) -> Vote | None:
        """Signs a nullify of this view, under (b), once."""
        if view in self._nullified or view in self._finalized:
            return None
        self._nullified.add(view)
        return self._signed(VoteKind.NULLIFY, view, b"")

    def finalize(self, notarization: Certificate, held: Held) -> Vote | None:
        """Signs a finalize for a notarization that is held, under (b) and (d), once."""
        view = notarization.view
        if view in self._nullified or view in self._finalized:
            return None
        kept = held.notarization(view)
        if kept is None or kept.block_hash != notarization.block_hash:
            return None
        self._finalized[view] = kept.block_hash
        return self._signed(VoteKind.FINALIZE, view, kept.block_hash)

    def _signed(self, kind: "VoteKind.ValueType", view: int, block_hash: bytes) -> Vote:
        vote = Vote(kind=kind, height=self._height, view=view, block_hash=block_hash, signer=self._signer)
        vote.signature = self._sign(signed_vote(self._chain_id, vote))
        return vote
