"""The code around the rules, over the same states: `Voter` with its order of holding, finalizing, entering and
proposing, and a journal that a crash may have cut.

A validator with some votes of a reachable state is brought up from its journal and is given, in some order, what it
may be given there: certificates that can be formed, proposals whose proof it may hold, blocks it has asked for,
timeouts. Whatever it signs must be a vote that the model allows in that state, and must be durable with what it
rests on before it is sent. Then its journal is cut at any record since the last step, and it is brought up again.
"""

from __future__ import annotations

import random
from collections import Counter

from consensus import bodies, journal
from consensus.effects import EngineSettings, Persist, Send
from consensus.outbox import Outbox
from consensus.presence import Presence
from consensus.quorum import leader
from consensus.voter import Identity, Opening, Voter
from ledger.block import transactions_root
from proto.chiptrace.v1.consensus_pb2 import Certificate, Proposal, Vote, VoteKind
from proto.chiptrace.v1.ledger_pb2 import Block, Header, Validator, ValidatorSet
from tests.model.exploration import layers
from tests.model.rules import Rules, State

CHAIN_ID = bytes(32)
PARENT = bytes([9]) * 32
HEIGHT = 7
SIZE = 4
SETTINGS = EngineSettings(grace_ms=0)
KEYS = [bytes([index + 1]) * 32 for index in range(SIZE)]
MEMBERS = ValidatorSet(validators=[Validator(key=key, member=f"m{key[0]}") for key in KEYS])
LATER = 10**9


def body_of(block: int) -> bytes:
    header = Header(chain_id=CHAIN_ID, height=HEIGHT, time_ms=block + 1, parent_hash=PARENT)
    header.transactions_root = transactions_root(CHAIN_ID, [])
    header.app_hash = header.validators_hash = header.next_validators_hash = bytes(32)
    return Block(header=header.SerializeToString(deterministic=True)).SerializeToString(deterministic=True)


BODIES = [body_of(block) for block in range(2)]
HASHES = [bodies.identify(CHAIN_ID, body).block_hash for body in BODIES]


class Absent(Presence):
    """Holds every leader but oneself dead."""

    def dead(self, key: bytes) -> bool:
        return key != self._own_key


class Ended(Exception):
    """The views of the model are used up."""


class Broken(Exception):
    """The voter did what the model does not allow."""


def made(kind: int, view: int, block: int) -> Certificate:
    """A certificate as the voter holds it; `view` counts from 0, as in the model."""
    block_hash = b"" if kind == VoteKind.NULLIFY else HASHES[block]
    return Certificate(kind=kind, height=HEIGHT, view=view + 1, block_hash=block_hash)


def signed(kind: int, view: int, block: int, signer: int) -> Vote:
    block_hash = b"" if kind == VoteKind.NULLIFY else HASHES[block]
    return Vote(
        kind=kind, height=HEIGHT, view=view + 1, block_hash=block_hash, signer=signer, signature=bytes(64)
    )


def formed(rules: Rules, state: State) -> list[Certificate]:
    """Every certificate that can be formed from the votes of a state."""
    found = []
    for view in range(rules.views):
        blocks = range(rules.blocks)
        found += [made(VoteKind.NOTARIZE, view, b) for b in blocks if rules.notarization(state, view, b)]
        if rules.nullification(state, view):
            found.append(made(VoteKind.NULLIFY, view, 0))
    return found


def votes_of(rules: Rules, votes: int, signer: int) -> list[Vote]:
    found = []
    for bit in range(rules.bits * rules.views):
        if votes >> bit & 1:
            view, place = divmod(bit, rules.bits)
            if place == rules.blocks:
                found.append(signed(VoteKind.NULLIFY, view, 0, signer))
            elif place < rules.blocks:
                found.append(signed(VoteKind.NOTARIZE, view, place, signer))
            else:
                found.append(signed(VoteKind.FINALIZE, view, place - rules.blocks - 1, signer))
    return found


def bit_of(rules: Rules, vote: Vote) -> int:
    base = (vote.view - 1) * rules.bits
    if vote.kind == VoteKind.NULLIFY:
        return base + rules.blocks
    return base + HASHES.index(vote.block_hash) + (0 if vote.kind == VoteKind.NOTARIZE else rules.blocks + 1)


class Play:
    """One validator of one state, from its journal on."""

    def __init__(self, rules: Rules, state: State, place: int, own: int, choose: random.Random) -> None:
        self.rules, self.state, self.place, self.own, self.choose = rules, list(state), place, own, choose
        self.certificates = formed(rules, state)
        votes = votes_of(rules, state[place], own)
        needed = {(vote.view, vote.block_hash) for vote in votes if vote.kind == VoteKind.FINALIZE}
        rest = [each for each in self.certificates if (each.view, each.block_hash) not in needed]
        self.rest = choose.sample(rest, choose.randint(0, len(rest)))  # these it hears of only now
        before = [each for each in self.certificates if each not in self.rest]
        self.records = [
            journal.of_height(HEIGHT),
            *(journal.of_certificate(each) for each in before),
            *(journal.of_vote(vote) for vote in votes),
        ]
        self.signed: Counter[str] = Counter()

    def begin(self) -> None:
        """Start from the journal, as the engine does."""
        self.out = Outbox()
        identity = Identity(CHAIN_ID, KEYS[self.own], lambda _: bytes(64), lambda *_: True, SETTINGS)
        presence = (Absent if self.choose.random() < 0.3 else Presence)(KEYS[self.own], 1)
        opening = Opening(HEIGHT, PARENT, None, MEMBERS, LATER)
        self.voter = Voter(identity, opening, presence, self.out, 0)
        for block in range(2):
            if self.choose.random() < 0.8:
                self.voter.bodies.put(HASHES[block], BODIES[block], judged=True)
        self.voter.restore(journal.replay(self.records, HEIGHT))
        self.seen = len(self.voter.own_votes)
        self.now = 0
        self.voter.resume(0)
        self.look()

    def step(self) -> None:
        """Something happens to it."""
        self.now += 10
        kind = self.choose.randrange(4)
        view = self.voter.view
        if kind == 0 and self.rest:
            self.hold(self.rest.pop())
        elif kind == 1:
            origin = self.choose.randrange(view)
            block = self.choose.randrange(2)
            vote = signed(VoteKind.NOTARIZE, view - 1, block, (HEIGHT + view) % SIZE)
            if leader(MEMBERS, HEIGHT, view) != KEYS[self.own]:
                self.voter.notarize(Proposal(height=HEIGHT, view=view, from_view=origin, vote=vote), self.now)
        elif kind == 2:
            self.voter.built(view, BODIES[self.choose.randrange(2)], True, self.now)
        else:
            self.voter.start(self.now)
            self.voter.tick(self.now + LATER // 2)
        self.look()

    def hold(self, certificate: Certificate) -> None:
        view, known = certificate.view, len(self.voter.own_votes)
        before = self.state[self.place] >> (view - 1) * self.rules.bits & (1 << self.rules.bits) - 1
        self.voter.hold(certificate, self.now)
        if self.voter.view <= view:
            raise Broken(f"it stays in view {self.voter.view} with {certificate}")
        block = HASHES.index(certificate.block_hash) if certificate.block_hash else 0
        due = certificate.kind == VoteKind.NOTARIZE and self.rules.may_finalize(before, block)
        cast = [vote for vote in self.voter.own_votes[known:] if vote.kind == VoteKind.FINALIZE]
        if due != bool(cast):
            raise Broken(f"{len(cast)} finalize votes on {certificate} after {before:05b}")

    def look(self) -> None:
        """What was signed is allowed, and durable with its ground before it leaves."""
        self.before = len(self.records)
        for effect in self.out.take():
            if isinstance(effect, Persist):
                self.records += effect.records
            elif isinstance(effect, Send):
                self.sent(effect)
        for vote in self.voter.own_votes[self.seen :]:
            self.allow(vote)
        self.seen = len(self.voter.own_votes)
        if self.rules.views < self.voter.view:
            raise Ended

    def sent(self, effect: Send) -> None:
        message = effect.message
        vote = message.vote if message.HasField("vote") else message.proposal.vote
        if not message.HasField("vote") and not message.HasField("proposal"):
            return
        if journal.of_vote(vote) not in self.records:
            raise Broken(f"sent before it is durable: {vote}")
        ground = Certificate(
            kind=VoteKind.NOTARIZE, height=HEIGHT, view=vote.view, block_hash=vote.block_hash
        )
        if vote.kind == VoteKind.FINALIZE and journal.of_certificate(ground) not in self.records:
            raise Broken(f"sent before its notarization is durable: {vote}")

    def allow(self, vote: Vote) -> None:
        if vote.view > self.rules.views:
            return
        votes, bit = self.state[self.place], bit_of(self.rules, vote)
        if (votes, bit) not in self.rules.moves(tuple(self.state)):
            raise Broken(f"{vote} after {votes:b} in {self.state}")
        self.state[self.place] = votes | 1 << bit
        self.signed[VoteKind.Name(vote.kind)] += 1

    def crash(self) -> None:
        """The last write is torn; what it held was not sent."""
        kept = self.choose.randint(self.before, len(self.records))
        lost = [record.vote for record in self.records[kept:] if record.HasField("vote")]
        for vote in lost:
            if vote.view <= self.rules.views:
                self.state[self.place] &= ~(1 << bit_of(self.rules, vote))
        del self.records[kept:]
        self.begin()


def play(rules: Rules, state: State, place: int, choose: random.Random, steps: int = 5) -> Counter[str]:
    """What one validator of this state may meet with, two crashes included; says which votes it signed."""
    one = Play(rules, state, place, choose.randrange(SIZE), choose)
    try:
        one.begin()
        for _ in range(2):
            for _ in range(choose.randint(1, steps)):
                one.step()
            one.crash()
    except Ended:
        pass
    return one.signed


def places(rules: Rules) -> list[tuple[State, int]]:
    """For all that a validator may have signed while all that can be formed is what it is: one such state."""
    found: dict[tuple[object, ...], tuple[State, int]] = {}
    for layer, _ in layers(rules):
        for state in sorted(layer):
            around = tuple((each.kind, each.view, each.block_hash) for each in formed(rules, state))
            for place, votes in enumerate(state):
                found.setdefault((votes, around), (state, place))
    return list(found.values())


def play_all(rules: Rules, each: int, seed: int = 0) -> Counter[str]:
    """Every such place, so many times; says how many votes of each kind were signed."""
    choose, signed_votes = random.Random(seed), Counter[str]()
    for state, place in places(rules):
        for _ in range(each):
            signed_votes["plays"] += 1
            signed_votes += play(rules, state, place, choose)
    return signed_votes
