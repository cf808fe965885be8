"""A validator that lies: a real node with real keys whose words are twisted on their way out.

    python -m tests.perturb.byzantine_node CONFIG ACT,ACT,...

conflict     signs a second vote beside its own: another block, or nullify beside finalize; everyone hears both
equivocate   as leader proposes two blocks, each to half of the others, and shows its two votes to all
withhold     as leader shows its block to one validator only, votes for it, and gives no block to who asks
sync         answers who catches up with wrong, empty and unasked blocks, and claims heights it cannot prove
mute         says nothing for seconds at a time

Only what leaves the node is false, so that it keeps up with the chain and its lies are about the height at hand.
"""

import logging
import os
import random
import sys
import time
from pathlib import Path

from client import keys
from consensus.messages import signed_vote
from ledger import codec, hashes
from ledger.block import block_hash, decode_block, decode_header
from node import config, server, signer
from node.config import NodeConfig
from node.peers import Peers
from proto.chiptrace.v1.consensus_pb2 import PeerMessage, Vote, VoteKind

ACTS = ("conflict", "equivocate", "withhold", "sync", "mute")
PROVABLE = {"conflict", "equivocate"}  # what evidence can be made of
MUTE_SECONDS = (0.5, 4.0)
ONE_IN = 3  # of the occasions to lie
_LOG = logging.getLogger("chiptrace.byzantine")


class LyingPeers(Peers):
    """The lines of a liar. `acts` and `seed` are set by `main`."""

    acts: frozenset[str] = frozenset()
    seed = b""

    def __init__(self, peers, tls, port, hello, receive, reached):
        super().__init__(peers, tls, port, hello, receive, reached)
        self._chain_id = bytes.fromhex(dict(hello)["chiptrace-chain"])
        self._draw = random.Random()
        self._mute_until = 0.0

    def send(self, to, message, besides=None):
        kind = message.WhichOneof("kind")
        if "mute" in self.acts:
            now = time.monotonic()
            if now > self._mute_until and self._draw.randrange(200) == 0:
                self._mute_until = now + self._draw.uniform(*MUTE_SECONDS)
            if now < self._mute_until:
                return
        if kind == "proposal" and not message.proposal.from_view and self._draw.randrange(ONE_IN) == 0:
            if "equivocate" in self.acts and self._equivocate(message):
                return
            if "withhold" in self.acts:
                super().send(self._draw.choice(list(self._lines)), message)
                super().send(None, PeerMessage(vote=message.proposal.vote))
                return
        if kind == "block_reply" and self._lie_about_blocks(to, message):
            return
        super().send(to, message, besides)
        if kind == "vote" and "conflict" in self.acts and self._draw.randrange(ONE_IN) == 0:
            super().send(None, PeerMessage(vote=self._conflicting(message.vote)))
        if kind == "tip" and "sync" in self.acts and message.tip.HasField("finalization"):
            lie = PeerMessage()
            lie.CopyFrom(message)
            lie.tip.finalization.height += self._draw.choice([1, 2, 50, 2**40])
            super().send(to, lie)

    def _signed(self, vote: Vote) -> Vote:
        vote.signature = hashes.sign_raw(self.seed, signed_vote(self._chain_id, vote))
        return vote

    def _conflicting(self, vote: Vote) -> Vote:
        other = Vote()
        other.CopyFrom(vote)
        if vote.kind == VoteKind.NULLIFY:
            other.kind, other.block_hash = VoteKind.FINALIZE, os.urandom(32)
        elif vote.kind == VoteKind.FINALIZE and self._draw.randrange(2):
            other.kind, other.block_hash = VoteKind.NULLIFY, b""
        else:
            other.block_hash = os.urandom(32)
        return self._signed(other)

    def _equivocate(self, message) -> bool:
        """Two blocks for one view. They differ in their time, and both are good."""
        block = decode_block(message.proposal.block)
        header = decode_header(block.header)
        header.time_ms += 1
        block.header = codec.encode(header)
        other = PeerMessage()
        other.CopyFrom(message)
        other.proposal.block = codec.encode(block)
        other.proposal.vote.block_hash = block_hash(self._chain_id, block.header)
        self._signed(other.proposal.vote)
        lines = list(self._lines)
        self._draw.shuffle(lines)
        for index, key in enumerate(lines):
            super().send(key, message if index % 2 else other)
        for said in (message, other):
            super().send(None, PeerMessage(vote=said.proposal.vote))
        return True

    def _lie_about_blocks(self, to, message) -> bool:
        if "withhold" in self.acts:
            return True
        if "sync" not in self.acts:
            return False
        reply = PeerMessage()
        reply.CopyFrom(message)
        lie = self._draw.randrange(5)
        if lie == 0:
            del reply.block_reply.blocks[:]
        elif lie == 1 and reply.block_reply.blocks:
            data = bytearray(reply.block_reply.blocks[0])
            data[self._draw.randrange(len(data))] ^= 1
            reply.block_reply.blocks[0] = bytes(data)
        elif lie == 2:
            reply.block_reply.from_height += 1
        elif lie == 3:
            reply.block_reply.ClearField("finalization")
        else:
            return False
        super().send(to, reply)
        return True


def main(file: str, acts: str) -> int:
    path = Path(file)
    LyingPeers.acts = frozenset(acts.split(","))
    if not LyingPeers.acts <= set(ACTS):
        raise SystemExit(f"acts are {', '.join(ACTS)}")
    key_dir = config.read(path, NodeConfig).key_dir
    LyingPeers.seed = keys.read_seed(key_dir / signer.KEY_FILE)
    server.Peers = LyingPeers
    return server.run(path)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
