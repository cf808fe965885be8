"""Transactions are taken in one form, for one chain, with every signature right; hashes bind what they should."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import block, codec, hashes, limits, merkle
from ledger.errors import Invalid, Malformed
from ledger.hashes import Purpose
from proto.chiptrace.v1.ledger_pb2 import (
    AppHashOpening,
    Block,
    Capture,
    Header,
    Operation,
    Reason,
    Signature,
    Transaction,
    TransactionBody,
    Validator,
    ValidatorSet,
)

CHAIN = hashlib.sha256(b"chain").digest()
OTHER_CHAIN = hashlib.sha256(b"other chain").digest()
SEEDS = [hashlib.sha256(b"seed %d" % number).digest() for number in range(10)]
KEYS = [hashes.public_key(seed) for seed in SEEDS]
CAPTURE = Operation(capture=Capture(event=b"event"))


def body(**fields):
    given_fields = {
        "chain_id": CHAIN,
        "signer": KEYS[0],
        "valid_until_ms": 1_000,
        "idempotency_key": b"i" * 16,
        "operations": [CAPTURE],
    }
    return TransactionBody(**{**given_fields, **fields})


def signed(body_bytes, seeds=(SEEDS[0],), chain=CHAIN, purpose=Purpose.TRANSACTION):
    signatures = [
        Signature(key=hashes.public_key(seed), signature=hashes.sign(seed, purpose, chain, body_bytes))
        for seed in seeds
    ]
    return codec.encode(Transaction(body=body_bytes, signatures=signatures))


def transaction(seeds=(SEEDS[0],), **fields):
    return signed(codec.encode(body(**fields)), seeds)


GOOD = transaction()


def test_a_signed_transaction_is_decoded_as_it_was_made():
    data = block.sign_transaction(CHAIN, SEEDS[0], [CAPTURE], 1_000, b"i" * 16)
    assert data == GOOD
    checked = block.decode_transaction(CHAIN, data)
    assert checked.data == data
    assert checked.body == body()
    assert [signature.key for signature in checked.signatures] == [KEYS[0]]
    assert checked.id == hashes.tagged_hash(Purpose.TRANSACTION, CHAIN, codec.encode(body()))


def test_up_to_eight_keys_sign_and_the_id_is_that_of_the_body():
    many = transaction(SEEDS[:8])
    assert len(block.decode_transaction(CHAIN, many).signatures) == 8
    assert block.decode_transaction(CHAIN, many).id == block.decode_transaction(CHAIN, GOOD).id


def malformed(data, match, reason=Reason.MALFORMED):
    with pytest.raises(Malformed, match=match) as raised:
        block.decode_transaction(CHAIN, data)
    assert raised.value.reason == reason


def invalid(data, reason, chain=CHAIN):
    with pytest.raises(Invalid) as raised:
        block.decode_transaction(chain, data)
    assert raised.value.reason == reason


def test_size():
    large = [Operation(capture=Capture(event=bytes(limits.TRANSACTION_BYTES_MAX)))]
    malformed(transaction(operations=large), "at most", Reason.OVERSIZE)


def test_envelope_and_body_are_canonical():
    malformed(GOOD + b"\0", "Transaction")
    malformed(GOOD + b"\xf8\x07\x01", "Transaction is not")
    malformed(signed(codec.encode(body()) + b"\xf8\x07\x01"), "TransactionBody is not")
    malformed(signed(codec.encode(body()) + codec.encode(body())), "TransactionBody is not")
    malformed(signed(b"\xff"), "TransactionBody cannot be parsed")


@pytest.mark.parametrize("chain_id", [b"", OTHER_CHAIN, CHAIN[:31], CHAIN + b"\0"])
def test_another_chain(chain_id):
    invalid(transaction(chain_id=chain_id), Reason.WRONG_CHAIN)


@pytest.mark.parametrize("count", [0, limits.OPERATIONS_PER_TRANSACTION_MAX + 1])
def test_number_of_operations(count):
    malformed(transaction(operations=[CAPTURE] * count), f"{count} operations")


def test_the_greatest_number_of_operations_is_allowed():
    many = transaction(operations=[CAPTURE] * limits.OPERATIONS_PER_TRANSACTION_MAX)
    assert len(block.decode_transaction(CHAIN, many).body.operations) == limits.OPERATIONS_PER_TRANSACTION_MAX


def test_an_operation_says_something():
    malformed(transaction(operations=[CAPTURE, Operation()]), "operation 1 is empty")


@pytest.mark.parametrize("signer", [b"", KEYS[0][:31], KEYS[0] + b"\0"])
def test_length_of_the_signers_key(signer):
    malformed(transaction(signer=signer), "signer's key")


@pytest.mark.parametrize("length", [0, 15, 17, 32])
def test_length_of_the_idempotency_key(length):
    malformed(transaction(idempotency_key=bytes(length)), "idempotency key")


@pytest.mark.parametrize("count", [0, 9])
def test_number_of_signatures(count):
    malformed(transaction(SEEDS[:count]), f"{count} signatures")


def resigned(change):
    changed = Transaction.FromString(transaction(SEEDS[:2]))
    change(changed.signatures)
    return codec.encode(changed)


def test_shape_of_signatures():
    def shorten_key(signatures):
        signatures[1].key = signatures[1].key[:31]

    def lengthen_signature(signatures):
        signatures[1].signature += b"\0"

    def shorten_signature(signatures):
        signatures[0].signature = signatures[0].signature[:63]

    for change in (shorten_key, lengthen_signature, shorten_signature):
        malformed(resigned(change), "wrong length")


def test_the_signer_signs_first():
    malformed(transaction([SEEDS[1], SEEDS[0]]), "first signature")
    malformed(transaction([SEEDS[1]]), "first signature")


def test_no_key_signs_twice():
    malformed(transaction([SEEDS[0], SEEDS[1], SEEDS[1]]), "twice")
    malformed(transaction([SEEDS[0], SEEDS[0]]), "twice")


def test_every_signature_is_verified():
    body_bytes = codec.encode(body())
    for number in range(3):
        changed = Transaction.FromString(transaction(SEEDS[:3]))
        wrong = hashes.sign(SEEDS[9], Purpose.TRANSACTION, CHAIN, body_bytes)
        changed.signatures[number].signature = wrong
        invalid(codec.encode(changed), Reason.BAD_SIGNATURE)


@pytest.mark.parametrize("purpose", [Purpose.PROPOSAL, Purpose.NOTARIZE, Purpose.NULLIFY, Purpose.FINALIZE])
def test_a_signature_for_another_purpose_is_none(purpose):
    invalid(signed(codec.encode(body()), purpose=purpose), Reason.BAD_SIGNATURE)


def test_a_signature_for_another_chain_is_none():
    invalid(signed(codec.encode(body()), chain=OTHER_CHAIN), Reason.BAD_SIGNATURE)
    invalid(GOOD, Reason.WRONG_CHAIN, OTHER_CHAIN)


def test_shape_comes_before_signatures_and_has_its_own_type():
    changed = Transaction.FromString(GOOD)
    changed.signatures[0].signature = bytes(64)
    parsed = block.parse_transaction(CHAIN, codec.encode(changed))
    assert not isinstance(parsed, block.CheckedTransaction)
    with pytest.raises(Invalid):
        block.verify_transaction(CHAIN, parsed)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 8 * len(GOOD) - 1))
def test_every_bit_of_a_transaction_counts(bit):
    changed = bytearray(GOOD)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises((Malformed, Invalid)):
        block.decode_transaction(CHAIN, bytes(changed))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200))
def test_bytes_of_strangers_raise_nothing_else(data):
    for call in (
        lambda: block.decode_transaction(CHAIN, data),
        lambda: block.decode_block(data),
        lambda: block.decode_header(data),
    ):
        with pytest.raises((Malformed, Invalid)):
            call()


# ---- headers, blocks, log leaves --------------------------------------------------------------------------------


def header(**fields):
    names = (
        "chain_id",
        "parent_hash",
        "transactions_root",
        "app_hash",
        "validators_hash",
        "next_validators_hash",
    )
    values = {name: hashlib.sha256(name.encode()).digest() for name in names}
    return Header(**{**values, "state_version": 1, "height": 7, "time_ms": 9, **fields})


def test_a_header_is_decoded():
    assert block.decode_header(codec.encode(header())) == header()


@pytest.mark.parametrize(
    "name",
    ["chain_id", "parent_hash", "transactions_root", "app_hash", "validators_hash", "next_validators_hash"],
)
@pytest.mark.parametrize("length", [0, 31, 33])
def test_the_hashes_of_a_header_have_32_bytes(name, length):
    with pytest.raises(Malformed, match=name):
        block.decode_header(codec.encode(header(**{name: bytes(length)})))


def test_heights_begin_with_one():
    with pytest.raises(Malformed, match="height"):
        block.decode_header(codec.encode(header(height=0)))


def test_blocks():
    data = codec.encode(Block(header=codec.encode(header()), transactions=[GOOD, GOOD]))
    assert list(block.decode_block(data).transactions) == [GOOD, GOOD]
    with pytest.raises(Malformed, match="no header"):
        block.decode_block(codec.encode(Block(transactions=[GOOD])))
    with pytest.raises(Malformed, match="canonical"):
        block.decode_block(data + b"\xf8\x07\x01")
    for too_many, reason in [
        ([b"x"] * (limits.TRANSACTIONS_PER_BLOCK_MAX + 1), Reason.OVERSIZE),
        ([bytes(limits.BLOCK_BYTES_MAX)], Reason.OVERSIZE),
    ]:
        with pytest.raises(Malformed) as raised:
            block.decode_block(codec.encode(Block(header=b"h", transactions=too_many)))
        assert raised.value.reason == reason


hashes32 = st.binary(min_size=32, max_size=32)
u64 = st.integers(0, 2**64 - 1)


@given(u64, u64, hashes32, hashes32, hashes32)
def test_log_leaves_have_112_bytes_and_read_back(height, time_ms, block_hash, results_root, state_root):
    data = block.log_leaf(height, time_ms, block_hash, results_root, state_root)
    assert len(data) == block.LOG_LEAF_BYTES
    assert block.parse_log_leaf(data) == block.LogLeaf(height, time_ms, block_hash, results_root, state_root)


@pytest.mark.parametrize("length", [0, 111, 113])
def test_log_leaves_of_another_length(length):
    with pytest.raises(Malformed):
        block.parse_log_leaf(bytes(length))


@given(hashes32, u64, hashes32, st.sampled_from(["state_root", "log_size", "log_root"]))
def test_app_hash_binds_each_of_its_parts(state_root, log_size, log_root, part):
    opening = AppHashOpening(state_root=state_root, log_size=log_size, log_root=log_root)
    found = block.app_hash(CHAIN, opening)
    assert found != block.app_hash(OTHER_CHAIN, opening)
    changed = {
        "state_root": hashes.sha256(state_root),
        "log_size": log_size ^ 1,
        "log_root": hashes.sha256(log_root),
    }
    setattr(opening, part, changed[part])
    assert block.app_hash(CHAIN, opening) != found


@pytest.mark.parametrize("lengths", [(31, 33), (33, 31), (0, 64), (32, 0), (64, 0)])
def test_the_parts_of_an_app_hash_do_not_shift(lengths):
    opening = AppHashOpening(state_root=bytes(lengths[0]), log_size=0, log_root=bytes(lengths[1]))
    with pytest.raises(Invalid):
        block.app_hash(CHAIN, opening)


def test_the_transactions_root_binds_order_ids_and_signatures():
    one = block.decode_transaction(CHAIN, GOOD)
    countersigned = block.decode_transaction(CHAIN, transaction(SEEDS[:2]))
    other = block.decode_transaction(CHAIN, transaction(valid_until_ms=2))
    roots = {
        block.transactions_root(CHAIN, chosen)
        for chosen in ([], [one], [countersigned], [one, other], [other, one], [one, other, other])
    }
    assert len(roots) == 6
    assert block.transactions_root(CHAIN, []) == merkle.EMPTY_ROOT
    assert block.transactions_root(OTHER_CHAIN, [one]) != block.transactions_root(CHAIN, [one])
    assert block.transactions_root(CHAIN, [one]) == block.transaction_leaf(CHAIN, one)
    assert block.transactions_root(CHAIN, [block.parse_transaction(CHAIN, GOOD)]) == block.transactions_root(
        CHAIN, [one]
    )


def test_the_results_root_binds_bytes_and_order():
    roots = {
        block.results_root(CHAIN, results) for results in ([], [b"a"], [b"b"], [b"a", b"b"], [b"b", b"a"])
    }
    assert len(roots) == 5


def test_the_validators_hash_binds_set_order_and_height():
    validators = [Validator(key=key, member="m") for key in KEYS[:4]]
    sets = [
        ValidatorSet(in_force_from=1, validators=validators),
        ValidatorSet(in_force_from=2, validators=validators),
        ValidatorSet(in_force_from=1, validators=validators[::-1]),
        ValidatorSet(in_force_from=1, validators=validators[:3]),
    ]
    assert len({block.validators_hash(CHAIN, chosen) for chosen in sets}) == 4


def test_one_body_has_one_hash_for_each_use():
    data = codec.encode(header())
    uses = [
        block.block_hash(CHAIN, data),
        block.block_hash(OTHER_CHAIN, data),
        block.transaction_id(CHAIN, data),
        block.result_leaf(CHAIN, data),
        block.log_leaf_hash(CHAIN, data),
        hashes.sha256(data),
    ]
    assert len(set(uses)) == len(uses)
