"""Simplex, one height at a time, as a pure state machine: `step(input, now) -> effects`.

The protocol. n validators have one vote each; a quorum is floor(2n/3) + 1. Height H opens when H - 1 is final and
executed. Its views count 1, 2, 3...; the leader of view v is validator (H + v) mod n. A vote signs kind, chain,
height, view and block hash; a quorum of one kind is a certificate: N(v) notarization, Z(v) nullification, F(v)
finalization. The rules, by the numbers that the code cites:

 1. Propose. The leader takes the highest u < v whose N(u) it holds and proposes that block again, else a new block
    with u = 0. It attaches N(u), Z(w) for every u < w < v (of thousands the newest), and F of height H - 1. Any
    complete proof is good, even where voters hold a notarization above u. What is missing is waited for; it is
    never held against the leader.
 2. Judge once. Only a new block goes to the application. A block proposed again was judged by honest validators;
    it must be at hand and durable, no more.
 3. On N(v) of the open height, any v: make it durable, send it on once, vote finalize(v) unless nullified v, enter
    max(view, v + 1). The body is not needed for that. A leader that entered by notarization waits a short grace for
    the finalization to form. View timers always run above view 1.
 4. Nullify the current view only: on timeout, refused block (in early views), or leader known dead. Having
    notarized it is no obstacle and no fault. On Z(v): send it on, enter v + 1; what pends on N(v) goes on.
 5. F of any view decides the height. Finalize votes of old views keep counting. Messages for a decided height are
    answered with its finalization, also when idle.
 6. Safety is four local rules and a journal: safety.py. What a vote rests on is durable before the vote leaves. Own
    votes come back from the journal after a restart, into our own count.
 7. Repair. Certificates go out once when formed or received. Standing still, we resend a part of what others may
    lack; a leader resends its proposal to those whose vote it lacks: one lost message does not cost the view.
    timeout(v) = base * min(8, 1.5^(v - 1)). Leaders known dead are skipped, and those that let their last turns pass
    have a quarter of it in the first views of a height: local hints that fail open (presence.py).
 8. Empty blocks. The height's clock starts on waiting transactions, on a proposal or certificate for the height, on
    valid votes of more than may be dishonest, or when a block is due. Votes of fewer make one due a first view's length
    after the height opened: who voted after waiting in vain loses nothing, and a liar gets few blocks. Before that
    view 1 does not time out. Once it runs, the leader may propose an empty block. One that only certifies the height
    before is held back for as long as that took, a quarter of a second at most: what comes meanwhile goes into it, and
    need not wait behind it.
 9. Evidence. Conflicting notarizes, conflicting finalizes, or nullify and finalize of one view are reported, one
    fault of each signer and height.
10. Validator changes. Only the set in force at H signs for H; `Executed` brings the set of the next height.
11. Sync is always on and no mode: sync.py. A finalization above the open height is believed by proof: by the set in
    force here, or by the boundary headers that lead to the set which signed it. Blocks up to there are fetched, and
    come in by the same door as our own. Whoever fetches old heights votes as soon as it has opened the newest one,
    and never for a height it has not opened.

The words of other heights: a message for a height below the open one is a straggler's and is answered (5); one for
the next height is kept until that opens (early.py); a finalization further ahead is a claim to be proven (11); anything
else is dropped.

Where we differ from design: nothing is looser. No notarize follows a nullify in one view (either is safe). Fetched
blocks are not checked backwards from one certificate: each comes with its own finalization, which exactly its set
verifies, so that every height keeps one and a change of the set on the way needs no care.
"""

from collections.abc import Iterable, Mapping

from consensus.answers import Answers, tip_of
from consensus.catchup import Fetched
from consensus.early import EarlyMessages
from consensus.effects import (
    BlockBuilt,
    BlockJudged,
    Decide,
    Effect,
    EngineSettings,
    Executed,
    Input,
    PeerConnected,
    Received,
    Sign,
    TimerFired,
    VerifySignature,
    WorkPending,
)
from consensus.height import OpenHeight
from consensus.journal import replay
from consensus.messages import check_shape
from consensus.outbox import Outbox
from consensus.presence import Presence
from consensus.repair import Resender, backlog, message_of, own_proposal
from consensus.sync import Sync
from consensus.voter import Identity, Opening, Voter
from ledger.errors import InvariantBroken, Malformed
from proto.chiptrace.v1.consensus_pb2 import Certificate, JournalRecord, PeerMessage, Proposal, Tip, VoteKind
from proto.chiptrace.v1.ledger_pb2 import ValidatorSet


class Engine:
    """One validator (or follower) of one chain. The driver feeds it inputs and makes its effects happen, in order.

    Times are milliseconds of one clock that does not go backwards and is comparable with header times.
    """

    def __init__(
        self,
        chain_id: bytes,
        own_key: bytes | None,
        sign: Sign | None,
        verify: VerifySignature,
        settings: EngineSettings,
        height: int,
        block_hash: bytes,
        finalization: Certificate | None,
        validators: ValidatorSet,
        next_due_ms: int,
        journal: Iterable[JournalRecord],
        now: int,
    ) -> None:
        """Opens `height + 1`. `height`, `block_hash` and `finalization` are of the last block in the store (0, the
        genesis hash that block 1 names as parent, and None for a new chain); `validators` are in force at
        `height + 1`. Raises InvariantBroken for a journal that cannot be this key's or this store's, or a last block
        without its finalization."""
        shown = (0, block_hash) if finalization is None else (finalization.height, finalization.block_hash)
        if shown != (height, block_hash):
            raise InvariantBroken(
                f"the store ends at height {height}, but its finalization is of height {shown[0]}"
            )
        self._identity = Identity(chain_id, own_key, sign, verify, settings)
        self._out = Outbox()
        self._presence = Presence(own_key, settings.leader_dead_ms)
        self._sync = Sync(self._identity, validators, self._out)
        self._answers = Answers(settings, self._out)
        self._early = EarlyMessages()
        self._resender = Resender(settings.resend_bytes_max)
        self._timer_ms: int | None = None
        self._deciding = False  # Decide is out, Executed is awaited
        self._last: OpenHeight | None = None  # the newest executed height, for those still at it
        self._finalization = finalization
        self._open = self._opened(height + 1, block_hash, validators, next_due_ms, now)
        self._sync.opened(self.height, validators)
        self._replay = replay(journal, height + 1)
        self._open.voter.restore(self._replay)

    # ---- for the driver -----------------------------------------------------------------------------

    @property
    def height(self) -> int:
        """The open height: one above the newest executed block."""
        return self._open.height

    @property
    def view(self) -> int:
        """The current view of the open height."""
        return self._open.voter.view

    @property
    def finalization(self) -> Certificate | None:
        """Of the newest decided height, executed or about to be; None before the first."""
        return self._open.decision or self._finalization

    @property
    def behind(self) -> int:
        """How many heights are proven to be decided elsewhere beyond what is decided here."""
        return max(0, self._sync.target - self._decided_height())

    @property
    def fetched(self) -> Mapping[int, Fetched]:
        """What is at hand for heights above the open one, by height. Nothing of it is verified, and what is may change."""
        return self._sync.fetched

    def start(self, now_ms: int) -> tuple[Effect, ...]:
        """What a validator does first: goes on where its journal ends and tells where it is."""
        self._open.voter.resume(now_ms)
        self._out.send(None, tip_of(self.finalization))
        proposal = self._open.voter.own_proposal
        if proposal is not None and proposal.view == self.view:
            self._out.send_proposal(proposal)  # the very same: another would be a second notarize
        if self._replay.begun:
            self._resend(now_ms)
        self._settle(now_ms)
        return self._out.take()

    def step(self, event: Input, now_ms: int) -> tuple[Effect, ...]:
        """Takes one thing that happened; returns what is to be done, in this order. The only dispatch."""
        match event:
            case Received():
                self._receive(event.sender, event.message, now_ms)
            case BlockJudged() if event.height == self.height:
                self._open.judged(event.block_hash, event.valid, now_ms)
            case BlockBuilt() if event.height == self.height:
                self._open.voter.built(event.view, event.block, event.wanted, now_ms)
            case Executed():
                self._executed(event, now_ms)
            case WorkPending():
                self._open.work_pending(now_ms)
            case PeerConnected():
                self._sync.connected(event.key)
                self._out.send(event.key, tip_of(self.finalization))
            case TimerFired():
                self._timer_ms = None
        self._settle(now_ms)
        return self._out.take()

    # ---- messages -----------------------------------------------------------------------------------

    def _receive(self, sender: bytes, message: PeerMessage, now_ms: int) -> None:
        if sender == self._identity.own_key:
            return
        try:
            check_shape(message)
        except Malformed:
            return
        match message.WhichOneof("kind"):
            case "vote":
                self._agree(sender, message.vote.height, message, now_ms)
            case "proposal":
                if message.proposal.HasField("parent_finalization"):
                    self._told_final(sender, message.proposal.parent_finalization, now_ms)
                self._agree(sender, message.proposal.height, message, now_ms)
            case "certificate":
                if message.certificate.kind == VoteKind.FINALIZE:
                    self._told_final(sender, message.certificate, now_ms)
                self._agree(sender, message.certificate.height, message, now_ms)
            case "tip":
                self._told_tip(sender, message.tip, now_ms)
            case "block_request":
                heights = [self._open] if self._last is None else [self._open, self._last]
                self._answers.body(sender, message.block_request, heights, now_ms)
            case "block_reply":
                self._sync.replied(sender, message.block_reply, self._open, now_ms)
            case "boundary_reply":
                self._sync.told_boundaries(sender, message.boundary_reply, now_ms)

    def _agree(self, sender: bytes, height: int, message: PeerMessage, now_ms: int) -> None:
        """A vote, proposal or certificate, by its height."""
        if height >= self.height - 1:
            self._presence.heard(sender)
        if height <= self._decided_height():
            self._straggler(sender, height, message, now_ms)
        elif height == self.height:
            if message.HasField("vote"):
                self._open.receive_vote(sender, message.vote, now_ms)
            elif message.HasField("proposal"):
                self._open.receive_proposal(sender, message.proposal, now_ms)
            elif message.certificate.kind != VoteKind.FINALIZE:  # that one was told final before
                self._open.receive_certificate(message.certificate, now_ms, teller=sender)
        elif height == self.height + 1:
            self._early.keep(sender, height, message)

    def _told_final(self, sender: bytes, finalization: Certificate, now_ms: int) -> None:
        """A finalization of any height, from a certificate, a tip or a proposal (rules 5 and 11)."""
        if finalization.height >= self.height:
            self._sync.told(sender, finalization, self.height)
        if finalization.height == self.height:
            self._open.receive_certificate(finalization, now_ms, teller=sender)

    def _told_tip(self, sender: bytes, tip: Tip, now_ms: int) -> None:
        height = tip.finalization.height if tip.HasField("finalization") else 0
        if height:
            self._told_final(sender, tip.finalization, now_ms)
        if height < self._decided_height():
            self._answers.behind(sender, self.finalization, now_ms)

    def _straggler(self, sender: bytes, height: int, message: PeerMessage, now_ms: int) -> None:
        """A message for a decided height is answered with the newest finalization (rule 5)."""
        vote = message.proposal.vote if message.HasField("proposal") else message.vote
        for decided in (self._open, self._last):
            if not message.HasField("certificate") and decided is not None and decided.height == height:
                decided.receive_late_vote(sender, vote, now_ms)
        if message.HasField("proposal") and height == self.height:
            self._late_proposal(message.proposal, now_ms)
            return
        knows = message.HasField("certificate") and message.certificate.kind == VoteKind.FINALIZE
        if not knows or height < self._decided_height():
            self._answers.behind(sender, self.finalization, now_ms)

    def _late_proposal(self, proposal: Proposal, now_ms: int) -> None:
        """Its height was decided before it came: it may still bring the body."""
        decision = self._open.decision
        if decision is not None and not self._deciding and proposal.vote.block_hash == decision.block_hash:
            self._open.body_arrived(decision.block_hash, proposal.block, now_ms)

    # ---- heights ------------------------------------------------------------------------------------

    def _executed(self, event: Executed, now_ms: int) -> None:
        if event.height < self.height:
            return
        decision = self._open.decision
        if decision is None or event.height != self.height or event.block_hash != decision.block_hash:
            raise InvariantBroken(
                f"block {event.block_hash.hex()} of height {event.height} was executed, but height {self.height} "
                f"is open and {'undecided' if decision is None else 'decided for ' + decision.block_hash.hex()}"
            )
        due_ms = event.next_due_ms or now_ms + self._open.voter.schedule.certifying_wait_ms(now_ms)
        self._last = self._open
        self._finalization = decision
        self._deciding = False
        self._open = self._opened(event.height + 1, event.block_hash, event.validators, due_ms, now_ms)
        # Rule 10: from here on the set of the new height counts. What came too early is handled as if it came now.
        self._sync.opened(self.height, event.validators)
        for sender, message in self._early.take(self.height):
            self._receive(sender, message, now_ms)

    def _opened(
        self, height: int, parent_hash: bytes, validators: ValidatorSet, due_ms: int, now_ms: int
    ) -> OpenHeight:
        opening = Opening(height, parent_hash, self._finalization, validators, due_ms)
        voter = Voter(self._identity, opening, self._presence, self._out, now_ms)
        return OpenHeight(voter, self._out)

    def _decided_height(self) -> int:
        return self.height if self._open.decision is not None else self.height - 1

    # ---- after every input --------------------------------------------------------------------------

    def _settle(self, now_ms: int) -> None:
        """What follows from the new state whatever the input was."""
        if not self._deciding:
            self._sync.use_fetched(self._open, now_ms)
        self._open.voter.tick(now_ms)
        self._decide(now_ms)
        if self._open.decision is None and self._open.voter.schedule.resend_due(now_ms):
            self._resend(now_ms)
            for key, message in own_proposal(self._open.voter, self._identity.settings.resend_bytes_max):
                self._out.send(key, message)
        self._set_timer(self._sync.ask(self._open, now_ms))

    def _decide(self, now_ms: int) -> None:
        decision = self._open.decision
        if self._deciding or decision is None:
            return
        body = self._open.decided_body(now_ms)
        if body is not None:
            self._deciding = True
            self._out.result(Decide(self.height, decision.block_hash, body, decision))

    def _resend(self, now_ms: int) -> None:
        self._open.voter.schedule.progress_ms = now_ms
        for part in self._resender.next(backlog(self._open.voter, self._finalization)):
            self._out.send(None, message_of(part))

    def _set_timer(self, sync_ms: int | None) -> None:
        moments = [sync_ms]
        if self._open.decision is None:
            moments.append(self._open.voter.schedule.next_ms())
        at_ms = min((moment for moment in moments if moment is not None), default=None)
        if at_ms is not None and at_ms != self._timer_ms:
            self._timer_ms = at_ms
            self._out.set_timer(at_ms)
