"""What the open height takes in: votes, certificates, proposals, bodies and the application's answers.

Here it is decided what may be believed and in which order it is looked at; what follows from it is `Voter`'s.
"""

from typing import Final

from consensus import bodies, proposals
from consensus import certificate as certificates
from consensus.effects import JudgeBlock, ReportFault
from consensus.messages import signed_vote
from consensus.outbox import Outbox
from consensus.quorum import leader
from consensus.tally import Standing
from consensus.voter import Voter
from ledger.errors import Invalid, Malformed
from proto.chiptrace.v1.consensus_pb2 import Certificate, Proposal, Vote, VoteKind

# Up to this view a refused block costs its view at once. Where whole quorums refuse (their clocks are wrong), views
# would else be left as fast as messages travel, for as long as that lasts, and every one costs disk and memory.
AT_ONCE_VIEWS_MAX: Final = 64


class OpenHeight:
    """The height after the last one executed."""

    def __init__(self, voter: Voter, out: Outbox) -> None:
        self.voter = voter
        self.height = voter.opening.height
        self._identity = voter.identity
        self._members = voter.opening.validators.validators
        self._out = out
        self._pending: Proposal | None = None  # proven; waits for a verdict or a body
        self._judging: dict[bytes, bytes] = {}  # asked about: body by block hash
        self._refused_view = 0  # the newest view whose new block was refused
        self._reported: set[tuple[int, int]] = set()  # (view, signer) of faults seen
        self._convicted: set[int] = set()  # signers of whom one was told

    @property
    def decision(self) -> Certificate | None:
        """The finalization, once the height is decided."""
        return self.voter.decision

    # ---- from validators --------------------------------------------------------------------------

    def receive_vote(self, sender: bytes, vote: Vote, now_ms: int) -> bool:
        """Takes a vote of this height; says whether it stands (counted now or before)."""
        # 1. Told by its signer: whoever may relay votes may fill their slots with bad signatures.
        if vote.signer >= len(self._members) or self._members[vote.signer].key != sender:
            return False
        # 2. Not so far ahead that keeping it would not be bounded. Certificates may be.
        if vote.view > self.voter.view + self._identity.settings.views_ahead_max:
            return False
        # 3. New in its slot, else there is no signature to check.
        standing, earlier = self.voter.tally.standing(vote)
        if standing is Standing.KNOWN:
            return True
        if standing is Standing.CONFLICTING and (vote.view, vote.signer) in self._reported:
            return False
        # 4. Signed by its signer.
        if not self._identity.verify(sender, signed_vote(self._identity.chain_id, vote), vote.signature):
            return False
        # 5. Rule 9: two votes that no honest validator signs together.
        if earlier is not None:
            self._convict(earlier, vote)
        if self.decision is not None:
            return False
        self.voter.heard(vote.signer, now_ms)
        self.voter.count(vote, now_ms)
        self._consider(now_ms)  # what the proposal lacked may be complete now
        return standing is Standing.NEW

    def _convict(self, earlier: Vote, vote: Vote) -> None:
        self._reported.add((vote.view, vote.signer))
        # One convicts it of this height; each more would be a transaction that it makes others pay for.
        if vote.signer not in self._convicted:
            self._convicted.add(vote.signer)
            self._out.result(ReportFault(self.height, self._members[vote.signer].key, earlier, vote))

    def receive_late_vote(self, sender: bytes, vote: Vote, now_ms: int) -> None:
        """Takes a vote of the height once it is decided: it counts no more, but may convict its signer."""
        standing, _ = self.voter.tally.standing(vote)
        if standing is Standing.CONFLICTING:
            self.receive_vote(sender, vote, now_ms)

    def receive_certificate(
        self, certificate: Certificate, now_ms: int, *, teller: bytes | None = None, pass_on: bool = True
    ) -> bool:
        """Takes a certificate of this height, of any view; says whether it is valid (or no news). Its `teller` is
        not told it again."""
        if self.decision is not None or self.voter.held.has(certificate):
            return True
        validators = self.voter.opening.validators
        try:
            certificates.verify_certificate(
                self._identity.chain_id, validators, certificate, self._identity.verify
            )
        except Invalid:
            return False
        self._witness(certificate)
        if certificate.kind != VoteKind.FINALIZE:
            self.voter.start(now_ms)
        self.voter.hold(certificate, now_ms, teller=teller, pass_on=pass_on)
        self._consider(now_ms)  # what the proposal lacked may be complete now
        return True

    def _witness(self, certificate: Certificate) -> None:
        """Rule 9: what a certificate is made of may be the other half of a fault, now or when its signer's vote to us
        comes. It is verified; our own votes are ours to count."""
        for vote in certificates.votes(certificate, len(self._members)):
            if self._members[vote.signer].key == self._identity.own_key:
                continue
            _, earlier = self.voter.tally.standing(vote)
            if earlier is not None:
                self._convict(earlier, vote)
            self.voter.tally.add(vote)  # a quorum stands already: nothing new comes of it

    def receive_proposal(self, sender: bytes, proposal: Proposal, now_ms: int) -> None:
        """Takes a proposal of this height (rule 1)."""
        # 1. Told by the leader of its view.
        if leader(self.voter.opening.validators, self.height, proposal.view) != sender:
            return
        # 2. What it carries is worth having for itself. Highest view first: no view is entered only to be left.
        for certificate in proposals.carried(proposal, self.voter.held):
            if not self.receive_certificate(certificate, now_ms, teller=sender):
                return
        # 3. It is its leader's notarize, and counts as such whatever becomes of the rest.
        if not self.receive_vote(sender, proposal.vote, now_ms):
            return
        self._take_certified_body(proposal, now_ms)
        # 4. It is for the current view, into which its own proof has brought us, and of use there.
        if self.decision is not None or proposal.view != self.voter.view:
            return
        if not self.voter.may_vote():
            return
        # 5. It stands on the block that we know to be final, and says so. Missing is not invalid: no vote at all.
        if not proposals.stands_on(proposal, self.voter.opening.parent_finalization):
            return
        self.voter.start(now_ms)
        # 6. The block. A new one goes to the application, once; one proposed again needs only to be at hand.
        self._pending = proposal
        if proposal.from_view == 0:
            self._take_new_block(proposal, now_ms)
        elif proposal.block:
            self.body_arrived(proposal.vote.block_hash, proposal.block, now_ms)
        self._consider(now_ms)

    def _take_certified_body(self, proposal: Proposal, now_ms: int) -> None:
        """A proposal that comes after its own notarization still brings the body, which would have to be fetched."""
        block_hash = proposal.vote.block_hash
        certificate = self.decision or self.voter.held.notarization(proposal.view)
        if proposal.block and certificate is not None and certificate.block_hash == block_hash:
            self.body_arrived(block_hash, proposal.block, now_ms)

    def _take_new_block(self, proposal: Proposal, now_ms: int) -> None:
        block_hash = proposal.vote.block_hash
        if self._refused_view == proposal.view:
            return  # sent again
        try:
            identified = bodies.identify(self._identity.chain_id, proposal.block)
            header = identified.header
            lawful = (
                identified.block_hash == block_hash
                and header.height == self.height
                and header.parent_hash == self.voter.opening.parent_hash
            )
        except Malformed:
            lawful = False
        if not lawful:
            self._refuse(block_hash, now_ms)
        elif not self.voter.bodies.judged(block_hash) and block_hash not in self._judging:
            self._judging[block_hash] = proposal.block
            self._out.ask(JudgeBlock(self.height, block_hash, proposal.block))

    def body_arrived(self, block_hash: bytes, body: bytes, now_ms: int) -> bool:
        """A body that a quorum has notarized or finalized; says whether it is the one of this hash."""
        if self.voter.bodies.get(block_hash) is not None:
            return True
        try:
            header = bodies.check_body(self._identity.chain_id, body, block_hash)
        except (Malformed, Invalid):
            return False
        if header.height != self.height:
            return False
        self.voter.bodies.put(block_hash, body)
        self._consider(now_ms)
        self.voter.propose(now_ms)
        return True

    # ---- from the application -----------------------------------------------------------------------

    def judged(self, block_hash: bytes, valid: bool, now_ms: int) -> None:
        """The verdict on a new block (rule 2). One that nobody asked for, or waits for any more, changes no vote."""
        body = self._judging.pop(block_hash, None)
        if body is None or self.decision is not None:
            return
        if valid:
            self.voter.bodies.put(block_hash, body, judged=True)
            self._consider(now_ms)
        else:
            self._refuse(block_hash, now_ms)

    def work_pending(self, now_ms: int) -> None:
        """Transactions wait here: the clock starts (rule 8). The leader first asks for a block, as what waits may
        turn out not to be worth one."""
        if self.voter.schedule.started_ms is None and self.voter.may_propose():
            self.voter.ask_block()
        else:
            self.voter.start(now_ms)

    # ---- what is wanted of others -------------------------------------------------------------------

    def decided_body(self, now_ms: int) -> bytes | None:
        """The body of the decided block, if at hand."""
        if self.decision is None:
            return None
        block_hash = self.decision.block_hash
        # A quorum's word goes before the application's: what still waits for a verdict is only checked to be it.
        unjudged = self._judging.pop(block_hash, None)
        if unjudged is not None:
            self.body_arrived(block_hash, unjudged, now_ms)
        return self.voter.bodies.get(block_hash)

    def missing_body(self) -> tuple[bytes, list[bytes]] | None:
        """Hash of a block whose body must be fetched to go on, and who is likely to have it."""
        certificate = self.decision
        waiting = self._waiting()
        if certificate is None and waiting is not None and waiting.from_view > 0:
            # The one we hold: what the proposal carries was not looked at if we held one before.
            held = self.voter.held.notarization(waiting.from_view)
            certificate = held if held is not None and held.block_hash == waiting.vote.block_hash else None
        if certificate is None and self.voter.may_propose():
            certificate = self.voter.held.highest_notarization()
        if certificate is None or self.voter.bodies.get(certificate.block_hash) is not None:
            return None
        # Who notarized has the body durably (rule 6); who finalized need not have it.
        indexes = certificates.signers(certificate, len(self._members))
        return certificate.block_hash, [self._members[index].key for index in indexes]

    # ---- within -------------------------------------------------------------------------------------

    def _waiting(self) -> Proposal | None:
        """The proposal of the current view, if one was taken."""
        pending = self._pending
        return pending if pending is not None and pending.view == self.voter.view else None

    def _consider(self, now_ms: int) -> None:
        waiting = self._waiting()
        if waiting is not None and self.decision is None:
            self.voter.notarize(waiting, now_ms)

    def _refuse(self, block_hash: bytes, now_ms: int) -> None:
        # Rule 4: a refused block costs the view at once, if it is still that view's, while the height is young.
        waiting = self._waiting()
        if waiting is not None and waiting.from_view == 0 and waiting.vote.block_hash == block_hash:
            self._refused_view = waiting.view
            if waiting.view <= AT_ONCE_VIEWS_MAX:
                self.voter.nullify(now_ms)
