import pytest

from consensus.bodies import Bodies, check_body, identify
from ledger.errors import Invalid, Malformed
from proto.chiptrace.v1.ledger_pb2 import Block, Transaction
from tests.consensus import chain

BLOCK = chain.block(3, chain.GENESIS, 1_000, [chain.transaction(1), chain.transaction(2)])
HASH = chain.hash_of(BLOCK)


def bent(how):
    block = Block.FromString(BLOCK)
    how(block)
    return block.SerializeToString(deterministic=True)


def other_signature(block):
    transaction = Transaction.FromString(block.transactions[0])
    transaction.signatures[0].signature = bytes(63) + b"\1"
    block.transactions[0] = transaction.SerializeToString(deterministic=True)


def test_a_block_is_its_header():
    identified = identify(chain.CHAIN_ID, BLOCK)
    assert identified.block_hash == HASH
    assert (identified.header.height, identified.header.parent_hash) == (3, chain.GENESIS)
    assert check_body(chain.CHAIN_ID, BLOCK, HASH).height == 3


@pytest.mark.parametrize(
    "how",
    [
        lambda block: block.transactions.pop(),
        lambda block: block.transactions.append(chain.transaction(3)),
        lambda block: block.transactions.reverse(),
        lambda block: block.transactions.append(b"\xff"),
        lambda block: block.transactions.append(bytes(300_000)),
        other_signature,
    ],
)
def test_a_body_with_other_transactions_is_not_the_block(how):
    data = bent(how)
    with pytest.raises((Malformed, Invalid)):
        check_body(chain.CHAIN_ID, data, HASH)


@pytest.mark.parametrize("data", [b"", b"\xff", BLOCK + b"\0", BLOCK[:-1]])
def test_what_is_no_block(data):
    with pytest.raises(Malformed):
        identify(chain.CHAIN_ID, data)
    with pytest.raises(Malformed):
        check_body(chain.CHAIN_ID, data, HASH)


def test_another_blocks_body():
    with pytest.raises(Invalid):
        check_body(chain.CHAIN_ID, BLOCK, bytes(32))


def test_bodies_remember_what_is_known_of_them():
    bodies = Bodies()
    assert bodies.get(HASH) is None
    bodies.put(HASH, BLOCK)
    assert (bodies.get(HASH), bodies.judged(HASH), bodies.durable(HASH)) == (BLOCK, False, False)
    bodies.put(HASH, b"other", judged=True)
    bodies.put(HASH, b"other", durable=True)
    assert (bodies.get(HASH), bodies.judged(HASH), bodies.durable(HASH)) == (BLOCK, True, True)
