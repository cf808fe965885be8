"""Sync (rule 11): everything the engine fetches, in one place and always on. No mode is entered or left.

Three questions, each with its own file: how far the chain is proven to go (boundaries.py), the decided heights up to
there (catchup.py), and the one body that the open height waits for (body_fetch.py).
"""

from collections.abc import Mapping

from consensus.body_fetch import BodyFetch
from consensus.boundaries import Horizon
from consensus.catchup import Catchup, Fetched, Need
from consensus.height import OpenHeight
from consensus.outbox import Outbox
from consensus.patience import Patience
from consensus.voter import Identity
from proto.chiptrace.v1.consensus_pb2 import BlockReply, BoundaryReply, Certificate, PeerMessage
from proto.chiptrace.v1.ledger_pb2 import ValidatorSet


class Sync:
    """What is asked of others, and what their answers bring."""

    def __init__(self, identity: Identity, validators: ValidatorSet, out: Outbox) -> None:
        own, settings = identity.own_key, identity.settings
        self._patience = Patience(settings.block_request_ms)
        self._horizon = Horizon(identity.chain_id, own, identity.verify, validators, self._patience)
        self._catchup = Catchup(own, settings, self._patience)
        self._body = BodyFetch(own, settings)
        self._out = out

    @property
    def target(self) -> int:
        """The highest height that is proven to be decided elsewhere."""
        return self._horizon.target

    @property
    def fetched(self) -> Mapping[int, Fetched]:
        """Blocks at hand that wait for their heights."""
        return self._catchup.fetched

    def told(self, peer: bytes, finalization: Certificate, open_height: int) -> None:
        """A peer has shown a finalization of the open height or above."""
        self._catchup.shown(peer, finalization.height)
        if finalization.height > open_height:
            self._horizon.told(peer, finalization)

    def connected(self, peer: bytes) -> None:
        """The line to a peer is up anew."""
        self._patience.wake(peer)
        self._horizon.connected(peer)
        self._catchup.connected(peer)

    def opened(self, height: int, validators: ValidatorSet) -> None:
        """This height is open now, and this set in force at it."""
        self._horizon.opened(height, validators)

    # ---- answers ------------------------------------------------------------------------------------

    def replied(self, peer: bytes, reply: BlockReply, height: OpenHeight, now_ms: int) -> None:
        """Takes in blocks that were asked for, or the body of the open height that is missing."""
        if not reply.block_hash:
            self._catchup.answered(peer, reply, self._need(height, height.missing_body()), now_ms)
            return
        body = self._body.answered(peer, reply, now_ms)
        if body is not None:
            height.body_arrived(reply.block_hash, body, now_ms)

    def told_boundaries(self, peer: bytes, reply: BoundaryReply, now_ms: int) -> None:
        """Takes the steps towards a claimed height that a reply proves."""
        self._horizon.answered(peer, reply, now_ms)

    def use_fetched(self, height: OpenHeight, now_ms: int) -> None:
        """A fetched block and its finalization come in by the same door as any other."""
        fetched = self._catchup.take(height.height)
        if fetched is None:
            return
        # Its teller and many others have it: it is not passed on.
        valid = height.receive_certificate(fetched.finalization, now_ms, pass_on=False)
        if valid and height.decision is not None:
            valid = height.body_arrived(height.decision.block_hash, fetched.block, now_ms)
        if valid:
            self._catchup.verified(fetched)
        else:
            self._catchup.refuted(fetched, now_ms)

    # ---- questions ----------------------------------------------------------------------------------

    def ask(self, height: OpenHeight, now_ms: int) -> int | None:
        """Asks for all that is missing now; returns when to be called again at the latest."""
        for peer, question in self._horizon.requests(now_ms):
            self._out.send(peer, PeerMessage(boundary_request=question))
        missing = height.missing_body()
        need = self._need(height, missing)
        for peer, request in self._catchup.requests(need, now_ms):
            self._out.send(peer, PeerMessage(block_request=request))
        block_hash, first = missing or (None, [])
        others = [*need.validators, *self._catchup.showing(height.height)] if missing else []
        asked = self._body.request(block_hash, first, others, now_ms)
        if asked is not None:
            self._out.send(asked[0], PeerMessage(block_request=asked[1]))
        moments = [self._horizon.next_ms(now_ms), self._catchup.next_ms(need, now_ms), self._body.next_ms()]
        return min((moment for moment in moments if moment is not None), default=None)

    def _need(self, height: OpenHeight, missing: tuple[bytes, list[bytes]] | None) -> Need:
        decided = height.decision is not None
        # A decided block without its body is one that others may have executed.
        at_hand = decided and missing is None
        return Need(
            first_height=height.height + 1 if at_hand else height.height,
            target=max(self._horizon.target, height.height if decided else 0),
            validators=[validator.key for validator in self._horizon.validators.validators],
        )
