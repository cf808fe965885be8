"""Where a light client of a chain may begin: its newest header, followed to from the genesis, past every recovery that
the trust file accepts. A client anchored at the genesis of a recovered chain could never leave it."""

from bridge.light_client import from_anchor
from client.verified import NotVerifiable, VerifiedChain
from ledger.block import block_hash
from ledger.errors import Invalid
from proto.chiptrace.v1.consensus_pb2 import SignedHeader
from proto.chiptrace.v1.ledger_pb2 import Reason, ValidatorSet
from proto.chiptrace.v1.node_pb2 import ProveRequest

_ATTEMPTS = 5


def newest_anchor(chain: VerifiedChain) -> tuple[SignedHeader, ValidatorSet]:
    """The newest header of a chain and the set that certifies it and the next one. Raises NotVerifiable, NoAnswer."""
    for _ in range(_ATTEMPTS):
        head = chain.connection.call(lambda stub: stub.Prove, ProveRequest()).head
        trusted = chain.advance()
        if not head.header or block_hash(trusted.chain_id, head.header) != trusted.latest_block_hash:
            continue  # it went on between the two answers
        try:
            from_anchor(trusted.chain_id, trusted.validators, head)
        except Invalid:
            continue  # the set changes right above it
        return head, trusted.validators
    raise NotVerifiable(
        f"chain {chain.trust.name}: node {chain.connection.endpoint} showed no header at which a client can begin; ask again",
        Reason.NOT_SYNCED,
    )
