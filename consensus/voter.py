"""What a validator does at the open height: count, hold, enter views, vote, propose (rules 1, 3, 4, 5, 7, 8).

Rule numbers are those of the protocol in engine.py. `Safety` may forbid any vote; nothing here may override it.
"""

from dataclasses import dataclass

from consensus import bodies, journal, proposals
from consensus.bodies import Bodies
from consensus.effects import BuildBlock, EngineSettings, Sign, VerifySignature
from consensus.messages import signed_vote
from consensus.outbox import Outbox
from consensus.presence import Presence
from consensus.quorum import VIEW_FIRST, index_of, leader, quorum
from consensus.safety import Safety
from consensus.schedule import Schedule, grace_ms
from consensus.tally import Held, Standing, Tally
from ledger.errors import InvariantBroken
from proto.chiptrace.v1.consensus_pb2 import Certificate, JournalRecord, Proposal, Vote, VoteKind
from proto.chiptrace.v1.ledger_pb2 import ValidatorSet


@dataclass(frozen=True, slots=True)
class Identity:
    """Who we are and on which chain. Without `sign` we follow and never vote."""

    chain_id: bytes
    own_key: bytes | None
    sign: Sign | None
    verify: VerifySignature
    settings: EngineSettings


@dataclass(frozen=True, slots=True)
class Opening:
    """What the decided parent fixes for a height."""

    height: int
    parent_hash: bytes
    parent_finalization: Certificate | None  # None at height 1
    validators: ValidatorSet
    due_ms: int


class Voter:
    """Holds verified votes, certificates and bodies of one height, and acts on them."""

    def __init__(
        self, identity: Identity, opening: Opening, presence: Presence, out: Outbox, now_ms: int
    ) -> None:
        self.identity = identity
        self.opening = opening
        self.schedule = Schedule(identity.settings, opening.due_ms, VIEW_FIRST, now_ms, now_ms)
        self.held = Held()
        self.bodies = Bodies()
        self.tally = Tally(len(opening.validators.validators))
        self.own_votes: list[Vote] = []
        self.own_proposal: Proposal | None = None  # the newest
        self.building: int | None = None  # the view we asked a block for
        self._presence = presence
        self._out = out
        self._begun = False  # the journal has a record of this height
        self._voters: set[int] = set()  # whose votes at this height were heard, by index
        self.schedule.idle = presence.idle(opening.validators, opening.height, VIEW_FIRST)
        self._safety: Safety | None = None
        index = index_of(opening.validators, identity.own_key)
        if index is not None and identity.sign is not None:
            self._safety = Safety(identity.chain_id, opening.height, index, identity.sign)

    @property
    def view(self) -> int:
        """The current view."""
        return self.schedule.view

    @property
    def decision(self) -> Certificate | None:
        """The finalization, once the height is decided."""
        return self.held.finalization

    def may_propose(self) -> bool:
        """Whether the current view is ours to propose in, still without a proposal and not given up."""
        return (
            self._safety is not None
            and self.decision is None
            and self._leader(self.view) == self.identity.own_key
            and self._safety.may_notarize(self.view)
        )

    def may_vote(self) -> bool:
        """Whether a proposal of the current view is still of use; who only follows wants its body."""
        return self._safety is None or self._safety.may_notarize(self.view)

    # ---- counting and holding ---------------------------------------------------------------------

    def count(self, vote: Vote, now_ms: int) -> None:
        """Counts a verified vote, ours or another's. Old views count too: any of them may still decide (rule 5)."""
        certificate = self.tally.add(vote)
        if certificate is not None:
            self.hold(certificate, now_ms)

    def hold(
        self, certificate: Certificate, now_ms: int, *, teller: bytes | None = None, pass_on: bool = True
    ) -> None:
        """Acts on a verified certificate, once (rules 3, 4 and 5). `pass_on`: others than its teller may lack it."""
        if self.decision is not None or self.held.has(certificate):
            return
        self.held.add(certificate)
        if certificate.kind == VoteKind.FINALIZE:
            # Rule 5: F of any view decides the height. It goes out once (rule 7), and is durable with the block.
            if pass_on:
                self._out.send_certificate(certificate, teller)
            self._end_view(now_ms)
            self._presence.proposed(self._leader(certificate.view))
            return
        # Rule 6: durable before any vote that rests on it; rule 7: rebroadcast once.
        self._keep(journal.of_certificate(certificate))
        self._out.send_certificate(certificate, teller)
        if certificate.kind == VoteKind.NOTARIZE:
            self._finalize(certificate, now_ms)
            self._presence.proposed(self._leader(certificate.view))
        elif self.held.notarization(certificate.view) is None:
            self._presence.turn_passed(self.opening.validators, self._leader(certificate.view))
        # Rules 3 and 4. Z(v) takes nothing from what pends on N(v): it is held and counts as before.
        if self.held.finalization is not None:
            return  # our own vote has decided the height
        if certificate.view >= self.view:
            self._enter(certificate.view + 1, now_ms, notarized=certificate.kind == VoteKind.NOTARIZE)
        else:
            self.propose(now_ms)  # what was missing of the proof may be complete now

    def _finalize(self, notarization: Certificate, now_ms: int) -> None:
        # Rule 3: for N of any view, with or without the body, unless nullified.
        vote = None if self._safety is None else self._safety.finalize(notarization, self.held)
        if vote is not None:
            self._cast(vote, now_ms)

    def _cast(self, vote: Vote, now_ms: int, proposal: Proposal | None = None) -> None:
        # Rule 6: durable, then sent; counted by ourselves like any other vote.
        self.own_votes.append(vote)
        self._keep(journal.of_vote(vote))
        if proposal is None:
            self._out.send_vote(vote)
        else:
            self._out.send_proposal(proposal)
        self.count(vote, now_ms)

    def _keep(self, record: JournalRecord) -> None:
        if self._safety is None:
            return  # no vote of ours will rest on it
        if not self._begun:
            self._begun = True
            self._out.persist(journal.of_height(self.opening.height))
        self._out.persist(record)

    # ---- views --------------------------------------------------------------------------------------

    def start(self, now_ms: int) -> None:
        """The height's clock runs (rule 8)."""
        if self.decision is None and self.schedule.start(now_ms):
            self._begin_view(now_ms)

    def heard(self, signer: int, now_ms: int) -> None:
        """A validator votes at this height (rule 8). More of them than may be dishonest start its clock. Fewer do once they
        may have waited for a first view themselves: else one of them makes empty blocks as fast as messages travel."""
        self._voters.add(signer)
        validators = len(self.opening.validators.validators)
        if len(self._voters) > validators - quorum(validators):
            self.start(now_ms)
        else:
            waited = self.schedule.entered_ms + self.identity.settings.base_timeout_ms
            self.schedule.due_ms = min(self.schedule.due_ms, waited)

    def _enter(self, view: int, now_ms: int, *, notarized: bool) -> None:
        self._end_view(now_ms)
        # Rule 3: only a leader waits, and only where a finalization may be forming.
        grace = grace_ms(self.identity.settings, view) if notarized else 0
        # Where a finalization may be forming nobody is hurried, or the grace would take most of the view.
        idle = not notarized and self._presence.idle(self.opening.validators, self.opening.height, view)
        self.schedule.enter(view, now_ms, grace, idle=idle)
        self._begin_view(now_ms)

    def _begin_view(self, now_ms: int) -> None:
        if self._presence.dead(self._leader(self.view)):
            self.nullify(now_ms)  # rule 4: a leader known dead
        else:
            self.propose(now_ms)

    def _end_view(self, now_ms: int) -> None:
        since = self.schedule.entered_ms if self.view > VIEW_FIRST else self.schedule.started_ms
        self._presence.view_ended(self.opening.validators, now_ms - (now_ms if since is None else since))

    def nullify(self, now_ms: int) -> None:
        """Gives up the current view (rule 4). Having notarized in it is no obstacle; having finalized is."""
        vote = None if self._safety is None else self._safety.nullify(self.view)
        if vote is not None:
            self.schedule.progress_ms = now_ms  # what is sent now need not be sent again at once
            self._cast(vote, now_ms)

    def tick(self, now_ms: int) -> None:
        """Does what has become due."""
        if self.decision is not None:
            return
        if now_ms >= self.schedule.due_ms:
            self.start(now_ms)
        timeout_at = self.schedule.timeout_at_ms()
        if timeout_at is not None and now_ms >= timeout_at:
            self.schedule.timed_out = True
            self.nullify(now_ms)
        grace_ends = self.schedule.propose_at_ms
        if grace_ends is not None and now_ms >= grace_ends:
            self.schedule.propose_at_ms = None
            self.propose(now_ms)

    # ---- voting for a block -------------------------------------------------------------------------

    def notarize(self, proposal: Proposal, now_ms: int) -> None:
        """Votes for another's proposal of the current view if its block is judged (rule 2) or, proposed again, at
        hand; else does nothing."""
        block_hash = proposal.vote.block_hash
        body = self.bodies.get(block_hash)
        if self._safety is None or body is None or proposal.view != self.view:
            return
        if proposal.from_view == 0 and not self.bodies.judged(block_hash):
            return
        vote = self._safety.notarize(self.view, proposal.from_view, block_hash, self.held)
        if vote is None:
            return
        if not self.bodies.durable(block_hash):
            kept = self._kept(proposal.vote, proposal.from_view, body)
            self._keep(journal.of_proposal(kept))
            self.bodies.put(block_hash, body, durable=True)
        self._cast(vote, now_ms)

    def _kept(self, vote: Vote, from_view: int, body: bytes) -> Proposal:
        """What the journal needs of a proposal. The proof is there certificate by certificate, a body goes there once;
        else a height of many views would fill the disk."""
        kept = Proposal(height=vote.height, view=vote.view, from_view=from_view, vote=vote)
        if not self.bodies.durable(vote.block_hash):
            kept.block = body
        return kept

    # ---- proposing ------------------------------------------------------------------------------------

    def propose(self, now_ms: int) -> None:
        """Proposes if the view is ours: the block of the highest notarization held, else a new one (rule 1)."""
        if not self.may_propose() or self.schedule.propose_at_ms is not None:
            return
        notarization = self.held.highest_notarization()
        if notarization is None:
            self.ask_block()
            return
        body = self.bodies.get(notarization.block_hash)
        if body is not None:  # else it is being fetched
            self._send_proposal(notarization.view, notarization.block_hash, body, now_ms)

    def ask_block(self) -> None:
        """Asks for a new block, if the gaps are proven: a proposal without its proof is of no use."""
        if self.building != self.view and self.held.all_nullified(after=0, before=self.view):
            self.building = self.view
            self._out.ask(BuildBlock(self.opening.height, self.view))

    def built(self, view: int, block: bytes | None, wanted: bool, now_ms: int) -> None:
        """The application's block for a view of ours. An empty one goes out only once the clock runs (rule 8)."""
        if view != self.building:
            return
        self.building = None
        if block is None:
            self.start(now_ms)  # what could not be built now is asked for again, or the view times out
            return
        if view != self.view or not self.may_propose():
            return
        if not wanted and self.schedule.started_ms is None:
            return
        if self.held.highest_notarization() is not None:
            return  # it came while the block was built; its block goes first (rule 1), once it is at hand
        block_hash = bodies.identify(self.identity.chain_id, block).block_hash
        self.bodies.put(block_hash, block, judged=True)
        self.schedule.start(now_ms)
        self._send_proposal(0, block_hash, block, now_ms)

    def _send_proposal(self, from_view: int, block_hash: bytes, body: bytes, now_ms: int) -> None:
        if self._safety is None:
            return
        vote = self._safety.notarize(self.view, from_view, block_hash, self.held)
        if vote is None:
            return
        proposal = proposals.make(vote, from_view, body, self.held, self.opening.parent_finalization)
        self.own_proposal = proposal
        self._keep(journal.of_proposal(self._kept(vote, from_view, body)))
        self.bodies.put(block_hash, body, durable=True)
        self._cast(vote, now_ms, proposal)

    def _leader(self, view: int) -> bytes:
        return leader(self.opening.validators, self.opening.height, view)

    # ---- after a restart ------------------------------------------------------------------------------

    def restore(self, replay: journal.Replay) -> None:
        """Takes over what the journal holds of this height; sends nothing. `resume` follows, once."""
        self._begun = replay.begun
        for certificate in replay.certificates:
            self.held.add(certificate)
        cast = {vote.signature for vote in replay.votes}
        newest: Proposal | None = None
        for proposal in replay.proposals:
            if proposal.block:
                judged = proposal.from_view == 0
                self.bodies.put(proposal.vote.block_hash, proposal.block, judged=judged, durable=True)
            # One whose vote did not reach the journal was never sent.
            if proposal.vote.signature in cast:
                newest = proposal
        for vote in replay.votes:
            self._restore_vote(vote)
        body = None if newest is None else self.bodies.get(newest.vote.block_hash)
        if newest is not None and body is not None:
            parent = self.opening.parent_finalization
            self.own_proposal = proposals.make(newest.vote, newest.from_view, body, self.held, parent)

    def _restore_vote(self, vote: Vote) -> None:
        key = self.identity.own_key
        signed = signed_vote(self.identity.chain_id, vote)
        if self._safety is None or key is None or not self.identity.verify(key, signed, vote.signature):
            raise InvariantBroken(
                f"the journal holds a vote of height {vote.height} that is not by this node's key "
                f"{key.hex() if key else '(none)'}: a journal belongs to one key"
            )
        self._safety.restore(vote)
        if self.tally.standing(vote)[0] is Standing.NEW:
            self.own_votes.append(vote)
            self.tally.add(vote)

    def resume(self, now_ms: int) -> None:
        """Goes on where the journal ends: timers armed, own votes counted, what was cut short done again."""
        if not self._begun:
            return
        # 1. The view is the one after the highest certificate, entered anew.
        certificates = [*self.held.notarizations(), *self.held.nullifications(after=0)]
        self.schedule.start(now_ms)
        if certificates:
            self.schedule.enter(max(certificate.view for certificate in certificates) + 1, now_ms, 0)
        # 2. Own votes may be a quorum by themselves (one validator) or may have been cut off behind an N.
        for vote in list(self.own_votes):
            certificate = self.tally.quorum_for(vote)
            if certificate is not None:
                self.hold(certificate, now_ms)
        for notarization in self.held.notarizations():
            if self.decision is None:
                self._finalize(notarization, now_ms)
        # 3. A view that is ours and has no proposal of ours gets one.
        self.propose(now_ms)
