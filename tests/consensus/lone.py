"""One engine under test; its peers are played by the test, vote by vote."""

from __future__ import annotations

from consensus.effects import (
    BlockBuilt,
    BlockJudged,
    BuildBlock,
    Decide,
    EngineSettings,
    Executed,
    JudgeBlock,
    PeerConnected,
    Persist,
    Received,
    ReportFault,
    Send,
    SetTimer,
    TimerFired,
    WorkPending,
)
from consensus.engine import Engine
from proto.chiptrace.v1.consensus_pb2 import (
    BlockReply,
    BoundaryReply,
    Certificate,
    JournalRecord,
    PeerMessage,
    Proposal,
    Tip,
    Vote,
    VoteKind,
)
from tests.consensus import chain

NOTARIZE, NULLIFY, FINALIZE = VoteKind.NOTARIZE, VoteKind.NULLIFY, VoteKind.FINALIZE
SETTINGS = EngineSettings(
    base_timeout_ms=1_000,
    grace_ms=200,
    resend_ms=1_000,
    leader_dead_ms=3_000,
    block_request_ms=500,
)
START_MS = 1_000_000


class Lone:
    """Validator `index` of `n` at height 1 (or above `decided`), its effects kept by step."""

    def __init__(
        self,
        index: int = 0,
        n: int = 4,
        *,
        journal: list[JournalRecord] | None = None,
        due_ms: int = START_MS + 10_000,
        settings: EngineSettings = SETTINGS,
        now: int = START_MS,
        own: bool = True,
        height: int = 0,
        start: bool = True,
    ) -> None:
        self.index, self.n, self.now = index, n, now
        self.set = chain.validators(n)
        self.verified: list[tuple[bytes, bytes]] = []
        self.journal = list(journal or [])
        self.effects: tuple = ()
        self.all: list = []
        self.parent = chain.GENESIS
        self.parent_finalization = None
        if height:
            self.parent = chain.hash_of(chain.block(height, chain.GENESIS, START_MS - 5))
            self.parent_finalization = self.certificate(FINALIZE, 1, self.parent, height=height)
        self.engine = Engine(
            chain.CHAIN_ID,
            chain.key(index) if own else None,
            (lambda signed: chain.sign(index, signed)) if own else None,
            self.verify,
            settings,
            height,
            self.parent,
            self.parent_finalization,
            self.set,
            due_ms,
            self.journal,
            now,
        )
        if start:
            self.took(self.engine.start(now))

    def verify(self, key, signed, signature):
        self.verified.append((signed, signature))
        return chain.verify(key, signed, signature)

    # ---- doing --------------------------------------------------------------------------------------

    def took(self, effects):
        self.effects = effects
        self.all.extend(effects)
        for effect in effects:
            if isinstance(effect, Persist):
                self.journal.extend(effect.records)
        return effects

    def step(self, event):
        return self.took(self.engine.step(event, self.now))

    def wait(self, ms):
        """Let time pass and wake the engine."""
        self.now += ms
        return self.step(TimerFired())

    def hear(self, sender, message):
        if isinstance(message, Vote):
            message = PeerMessage(vote=message)
        elif isinstance(message, Certificate):
            message = PeerMessage(certificate=message)
        elif isinstance(message, Proposal):
            message = PeerMessage(proposal=message)
        elif isinstance(message, Tip):
            message = PeerMessage(tip=message)
        elif isinstance(message, BlockReply):
            message = PeerMessage(block_reply=message)
        elif isinstance(message, BoundaryReply):
            message = PeerMessage(boundary_reply=message)
        return self.step(Received(chain.key(sender), message))

    def vote(self, sender, kind, view, block_hash=b"", height=None):
        return self.hear(sender, chain.vote(kind, sender, height or self.engine.height, view, block_hash))

    def work(self):
        return self.step(WorkPending())

    def connected(self, peer):
        return self.step(PeerConnected(chain.key(peer)))

    def judge(self, block, valid=True, height=None):
        return self.step(BlockJudged(height or self.engine.height, chain.hash_of(block), valid))

    def built(self, block, wanted=True, view=None, height=None):
        return self.step(BlockBuilt(height or self.engine.height, view or self.engine.view, block, wanted))

    def executed(self, block_hash, due_ms=None, validators=None, height=None):
        height = height or self.engine.height
        due = self.now + 10_000 if due_ms is None else due_ms
        return self.step(Executed(height, block_hash, validators or self.set, due))

    # ---- making -------------------------------------------------------------------------------------

    def certificate(self, kind, view, block_hash=b"", height=None, signers=None):
        made_for = self.engine.height if height is None else height
        chosen = signers or range(2 * self.n // 3 + 1)
        return chain.certificate(kind, chosen, self.n, made_for, view, block_hash)

    def block(self, salt=0, transactions=None):
        return chain.block(self.engine.height, self.parent, START_MS + salt, transactions)

    def leader(self, view):
        return (self.engine.height + view) % self.n

    def proposal(self, view, block, from_view=0, nullified=(), body=True, leader=None):
        block_hash = chain.hash_of(block)
        height = self.engine.height
        return Proposal(
            height=height,
            view=view,
            from_view=from_view,
            block=block if body else b"",
            vote=chain.vote(
                NOTARIZE, self.leader(view) if leader is None else leader, height, view, block_hash
            ),
            notarization=self.certificate(NOTARIZE, from_view, block_hash) if from_view else None,
            nullifications=[self.certificate(NULLIFY, gap) for gap in nullified],
            parent_finalization=self.parent_finalization,
        )

    def propose(self, view, block, **more):
        """The view's leader proposes to us."""
        return self.hear(self.leader(view), self.proposal(view, block, **more))

    # ---- looking ------------------------------------------------------------------------------------

    def of(self, kind, effects=None):
        return [e for e in (self.effects if effects is None else effects) if isinstance(e, kind)]

    def sent(self, effects=None):
        return [effect.message for effect in self.of(Send, effects)]

    def votes(self, effects=None):
        """(kind, view, hash) of own votes in the last step, also those inside proposals."""
        messages = self.sent(effects)
        votes = [m.vote for m in messages if m.HasField("vote")]
        votes += [m.proposal.vote for m in messages if m.HasField("proposal")]
        return [(v.kind, v.view, v.block_hash) for v in votes]

    def all_votes(self):
        return self.votes(self.all)

    def certificates(self, effects=None):
        return [
            (m.certificate.kind, m.certificate.view) for m in self.sent(effects) if m.HasField("certificate")
        ]

    def proposals(self, effects=None):
        return [m.proposal for m in self.sent(effects) if m.HasField("proposal")]

    def requests(self, effects=None):
        return [
            (e.to, e.message.block_request)
            for e in self.of(Send, effects)
            if e.message.HasField("block_request")
        ]

    def walks(self, effects=None):
        """Whom we asked for boundary headers, and from which height."""
        return [
            (e.to, e.message.boundary_request.from_height)
            for e in self.of(Send, effects)
            if e.message.HasField("boundary_request")
        ]

    def tips(self, effects=None):
        return [(e.to, e.message.tip) for e in self.of(Send, effects) if e.message.HasField("tip")]

    def decided(self):
        return self.of(Decide)

    def faults(self):
        return self.of(ReportFault)

    def asked_to_judge(self):
        return self.of(JudgeBlock)

    def asked_to_build(self):
        return self.of(BuildBlock)

    def timer(self):
        """When the engine wants to be woken, as last said."""
        return [effect.at_ms for effect in self.all if isinstance(effect, SetTimer)][-1]
