"""What one validator alone can make another keep: whatever it says, of any height, view, hash and kind, the more it says
the engine holds no more. Everything it could sign itself is genuine; of certificates it has one good signature."""

import gc
import random
import sys

import pytest

from consensus.effects import BlockJudged, JudgeBlock, Received
from proto.chiptrace.v1.consensus_pb2 import (
    BlockReply,
    BlockRequest,
    BoundaryReply,
    PeerMessage,
    Proposal,
    SignedHeader,
    Tip,
)
from tests.consensus import chain
from tests.consensus.lone import FINALIZE, NOTARIZE, NULLIFY, Lone

SIZE = 4
KINDS = (NOTARIZE, NULLIFY, FINALIZE)
HEIGHTS = (1, 1, 1, 2, 2, 3, 100, 2**60)
VIEWS = (*range(1, 20), 0, 0, 0, 0, 0, 0)  # 0: any other one
MESSAGES = 3_000


class Flood:
    """Validator `index` of four, which has a word for everything."""

    def __init__(self, index):
        self.index, self.draw = index, random.Random(index)
        self.ways = (
            self.vote,
            self.vote,
            self.proposal,
            self.proposal,
            lambda: PeerMessage(certificate=self.certificate(self.draw.choice(HEIGHTS))),
            lambda: PeerMessage(
                tip=Tip(finalization=self.certificate(self.draw.randrange(1, 2**40), FINALIZE))
            ),
            lambda: PeerMessage(block_request=BlockRequest(block_hash=self.draw.randbytes(32))),
            self.block_reply,
            self.boundaries,
        )

    def message(self):
        return self.draw.choice(self.ways)()

    def view(self):
        return self.draw.choice(VIEWS) or self.draw.randrange(1, 2**64)

    def vote(self):
        kind, height, view = self.draw.choice(KINDS), self.draw.choice(HEIGHTS), self.view()
        named = b"" if kind == NULLIFY else self.draw.randbytes(32)
        return PeerMessage(vote=chain.vote(kind, self.index, height, view, named))

    def certificate(self, height, kind=0, view=0):
        kind, view = kind or self.draw.choice(KINDS), view or self.view()
        named = b"" if kind == NULLIFY else self.draw.randbytes(32)
        made = chain.certificate(kind, [0, self.index, 3], SIZE, height, view, named)
        made.signatures[0] = self.draw.randbytes(64)
        return made

    def block(self, height):
        parent = chain.GENESIS if self.draw.random() < 0.7 else self.draw.randbytes(32)
        return chain.block(height, parent, self.draw.randrange(10**6, 2 * 10**6))

    def proposal(self):
        height = self.draw.choice(HEIGHTS)
        view = (
            next(view for view in range(self.view(), 2**65) if (height + view) % SIZE == self.index) % 2**64
        )
        block = self.block(height)
        vote = chain.vote(NOTARIZE, self.index, height, view, chain.hash_of(block))
        proposal = Proposal(height=height, view=view, block=block, vote=vote)
        if self.draw.random() < 0.3:
            gaps = range(1, min(view, 6))
            proposal.nullifications.extend(self.certificate(height, NULLIFY, gap) for gap in gaps)
        if height > 1:
            proposal.parent_finalization.CopyFrom(self.certificate(height - 1, FINALIZE))
        return PeerMessage(proposal=proposal)

    def block_reply(self):
        if self.draw.random() < 0.5:
            return PeerMessage(
                block_reply=BlockReply(block_hash=self.draw.randbytes(32), blocks=[self.block(1)])
            )
        first = self.draw.randrange(5)
        told = self.certificate(max(1, first), FINALIZE)
        return PeerMessage(
            block_reply=BlockReply(from_height=first, blocks=[self.block(first)], finalization=told)
        )

    def boundaries(self):
        header = SignedHeader(header=self.draw.randbytes(200), certificate=self.certificate(5, FINALIZE))
        return PeerMessage(boundary_reply=BoundaryReply(headers=[header]))


def weight(root):
    """Bytes of all that can be reached from here, as Python and protobuf count them."""
    seen, left, total = set(), [root], 0
    while left:
        item = left.pop()
        if id(item) in seen or isinstance(item, type | type(sys)) or hasattr(item, "__code__"):
            continue
        seen.add(id(item))
        total += sys.getsizeof(item) + (item.ByteSize() if hasattr(item, "ByteSize") else 0)
        left.extend(gc.get_referents(item))
    return total


@pytest.mark.parametrize("decided", [False, True], ids=["open", "decided"])
@pytest.mark.parametrize("index", [1, 2], ids=["a later leader", "the leader"])
def test_who_says_more_makes_nobody_keep_more(index, decided):
    lone, flood = Lone(0, SIZE), Flood(index)
    engine = lone.engine
    if decided:  # and its body is missing
        lone.hear(3, lone.certificate(FINALIZE, 1, bytes(32)))
    weights = []
    for number in range(3 * MESSAGES):
        for effect in engine.step(Received(chain.key(index), flood.message()), lone.now + number // 50):
            if isinstance(effect, JudgeBlock):  # what it would be judged to be is drawn as well
                valid = flood.draw.random() < 0.5
                engine.step(BlockJudged(effect.height, effect.block_hash, valid), lone.now + number // 50)
        if number % MESSAGES == MESSAGES - 1:
            weights.append(weight(engine))
    assert engine.height == 1
    assert max(weights[1:]) <= 1.05 * weights[0] + 2_000
    assert weights[0] < 200_000
