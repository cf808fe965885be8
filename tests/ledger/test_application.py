import os
import subprocess
import sys
from pathlib import Path

import pytest

from ledger import block, codec, limits, state
from ledger.admission import Repeated
from ledger.application import AheadOfClock
from ledger.errors import Invalid, InvariantBroken
from ledger.hashes import ZERO
from proto.chiptrace.v1.ledger_pb2 import (
    Block,
    Change,
    Header,
    Operation,
    Parameters,
    Reason,
    ReturnOffer,
    SetParameters,
    SetValidators,
    Transaction,
    Validator,
)
from tests.ledger import toy_tables as toy
from tests.ledger.chain_fixture import HEARTBEAT_MS, START_MS, Chain, key_of, make_parameters

HOUR_MS = limits.TRANSACTION_VALIDITY_MS_MAX


def toy_chain(**options):
    return Chain(operations=toy.OPERATIONS, changes=toy.CHANGES, **options)


@pytest.fixture
def chain():
    chain = toy_chain()
    chain.submit("ada", toy.put("a"))
    return chain


def reason_of(call, *arguments):
    with pytest.raises(Invalid) as refusal:
        call(*arguments)
    return refusal.value.reason


# ---- where the chain stands -----------------------------------------------------------------------------


def test_the_first_header_carries_the_genesis_state():
    chain = toy_chain()
    info = chain.info
    assert (info.height, info.block_hash, info.time_ms, info.next_due_ms) == (0, ZERO, START_MS, 0)
    header = block.decode_header(block.decode_block(chain.propose()).header)
    assert (header.height, header.parent_hash, header.app_hash) == (1, ZERO, info.app_hash)
    assert header.time_ms > START_MS


def test_a_restarted_application_stands_where_it_stood(chain):
    for transactions in (
        [],
        [chain.transaction("bob", toy.put("b"))],
        [chain.transaction("bob", toy.special("refuse"))],
    ):
        chain.produce(transactions)
        before, proposal = chain.info, chain.propose()
        chain.restart()
        assert chain.info == before
        assert chain.propose() == proposal


def test_each_app_hash_stands_in_the_next_header(chain):
    for _ in range(3):
        wanted = chain.info.app_hash
        chain.produce()
        header = block.decode_header(block.decode_block(chain.app.store.block(chain.height)).header)
        assert header.app_hash == wanted


def test_a_block_is_due_at_once_after_one_with_transactions_and_else_at_the_heartbeat(chain):
    assert chain.info.next_due_ms == 0
    chain.produce()
    assert chain.info.next_due_ms == chain.info.time_ms + HEARTBEAT_MS
    chain.produce([chain.transaction("ada", toy.special("refuse"))])
    assert chain.info.next_due_ms == 0  # refusals are outcomes too
    chain.restart()
    assert chain.info.next_due_ms == 0


def put_set(chain, *members):
    validators = [Validator(key=key_of(member, "validator"), member=member) for member in members]
    return chain.submit("ada", chain.govern(Change(set_validators=SetValidators(validators=validators))))


def test_a_set_chosen_in_h_signs_from_h_plus_2_on(chain):
    names = {}

    def note():
        info = chain.info
        names[info.height + 1] = "".join(validator.member[0] for validator in info.validators.validators)
        header = block.decode_header(block.decode_block(chain.propose()).header)
        assert header.validators_hash == block.validators_hash(chain.chain_id, info.validators)
        assert header.next_validators_hash == block.validators_hash(chain.chain_id, info.next_validators)
        at = state.validators_at(chain.app.store, info.height + 1)
        assert at == info.validators
        assert state.validators_at(chain.app.store, info.height + 2) == info.next_validators

    note()
    put_set(chain, "ada", "bob", "cyd")  # in height 2: set(4)
    note()
    put_set(chain, "ada", "bob")  # in height 3: set(5)
    note()
    put_set(chain, "ada", "bob", "cyd", "dee")  # in height 4: set(6), the first set again
    for _ in range(3):
        note()
        chain.produce()
    assert names == {2: "abcd", 3: "abcd", 4: "abc", 5: "ab", 6: "abcd", 7: "abcd"}
    assert [boundary.height for boundary in chain.app.store.boundaries(0, 9)] == [3, 4, 5]
    # The same members in the same order, and yet another set: a client cannot skip what was between.
    first = state.validators_at(chain.app.store, 1)
    assert list(chain.info.validators.validators) == list(first.validators)
    assert block.validators_hash(chain.chain_id, first) != block.validators_hash(
        chain.chain_id, chain.info.validators
    )


def test_the_block_that_ends_a_set_makes_its_successor_due_at_once(chain):
    put_set(chain, "ada", "bob", "cyd")
    assert chain.produce() == []
    assert chain.app.store.boundary(chain.height) is not None
    assert chain.info.next_due_ms == 0
    chain.produce()
    assert chain.info.next_due_ms > 0


def test_headers_lead_from_any_height_to_the_tip(chain):
    for members in (("ada", "bob"), ("ada", "cyd"), ("bob", "cyd")):
        put_set(chain, *members)
    chain.produce()
    chain.produce()
    heights = [header.height for header in chain.app.headers_above(0)[0]]
    assert heights == [3, 4, 5, 6]
    assert [header.height for header in chain.app.headers_above(3)[0]] == [4, 5, 6]
    assert chain.app.headers_above(6) == ([], False)
    some, more = chain.app.headers_above(0, 2)
    assert ([header.height for header in some], more) == ([3, 4], True)
    some, more = chain.app.headers_above(4, 2)
    assert ([header.height for header in some], more) == ([5, 6], False)
    for header in chain.app.headers_above(0)[0]:
        assert bool(header.next_validators) == (header.height < 6)


def test_the_real_tables_govern_too():
    """The toy tables stand for these; what is said above of validators holds by the rules of governance."""
    chain = Chain(members=("ada", "bob", "cyd", "dee", "eve"), grants={"gs1:4012345": "ada"})
    assert put_set(chain, "ada", "bob", "cyd").reason == Reason.BAD_VALIDATORS
    assert put_set(chain, "ada", "bob", "cyd", "dee").ok
    assert len(chain.info.validators.validators) == 5
    chain.produce()
    chain.restart()
    assert [validator.member for validator in chain.info.validators.validators] == [
        "ada",
        "bob",
        "cyd",
        "dee",
    ]
    assert chain.info.validators.in_force_from == 4 == chain.height + 1
    assert chain.prove(state.PARAMETERS_KEY).keys[0].value == codec.encode(make_parameters())


# ---- admission ------------------------------------------------------------------------------------------


def test_a_good_transaction_is_admitted(chain):
    data = chain.transaction("ada", toy.put("b"))
    assert chain.app.check_transaction(data, chain.now_ms) == block.decode_transaction(chain.chain_id, data)


def bad_signature(chain):
    transaction = Transaction.FromString(chain.transaction("ada", toy.put("b")))
    transaction.signatures[0].signature = bytes(64)
    return codec.encode(transaction)


BAD_TRANSACTIONS = {
    "garbage": (lambda chain: b"\x01", Reason.MALFORMED),
    "too long": (lambda chain: bytes(limits.TRANSACTION_BYTES_MAX + 1), Reason.OVERSIZE),
    "other chain": (
        lambda chain: toy_chain(name="other").transaction("ada", toy.put("b")),
        Reason.WRONG_CHAIN,
    ),
    "expired": (
        lambda chain: chain.transaction("ada", toy.put("b"), valid_until_ms=chain.now_ms - 1),
        Reason.EXPIRED,
    ),
    "too far ahead": (
        lambda chain: chain.transaction("ada", toy.put("b"), valid_until_ms=chain.now_ms + HOUR_MS + 1),
        Reason.NOT_YET_VALID,
    ),
    "signature": (bad_signature, Reason.BAD_SIGNATURE),
}


@pytest.mark.parametrize("name", BAD_TRANSACTIONS)
def test_a_bad_transaction_is_neither_admitted_nor_proposed_nor_voted_for(chain, name):
    make, reason = BAD_TRANSACTIONS[name]
    data, root = make(chain), chain.state_root
    assert reason_of(chain.app.check_transaction, data, chain.now_ms) == reason
    proposal = chain.app.prepare_proposal([data, chain.transaction("bob", toy.put("c"))], chain.now_ms)
    assert len(block.decode_block(proposal).transactions) == 1
    if name != "too long":  # such a block is malformed for its length only where its parameters say so
        assert reason_of(chain.app.process_proposal, with_transactions(chain, [data]), chain.now_ms) == reason
    assert chain.state_root == root


def test_what_cannot_be_executed_now_is_not_admitted_but_refused_in_a_block(chain):
    stranger = chain.transaction("eve", toy.put("b"))
    assert reason_of(chain.app.check_transaction, stranger, chain.now_ms) == Reason.UNKNOWN_KEY
    foreign = chain.transaction("ada", Operation(return_offer=ReturnOffer(part="p")))
    assert reason_of(chain.app.check_transaction, foreign, chain.now_ms) == Reason.MALFORMED
    assert [result.reason for result in chain.produce([stranger, foreign])] == [
        Reason.UNKNOWN_KEY,
        Reason.MALFORMED,
    ]


def test_a_repeated_submission_is_answered_with_the_first_outcome(chain):
    data = chain.transaction("ada", toy.put("b"), idempotency_key=b"k" * 16)
    other = chain.transaction("ada", toy.put("c"), idempotency_key=b"k" * 16)
    chain.produce([data])
    for again, same in ((data, True), (other, False)):
        with pytest.raises(Repeated) as refusal:
            chain.app.check_transaction(again, chain.now_ms)
        assert (refusal.value.same, refusal.value.first.height, refusal.value.first.index) == (same, 2, 0)
        assert (
            reason_of(chain.app.process_proposal, with_transactions(chain, [again]), chain.now_ms)
            == Reason.REPEATED
        )
    chain.restart()
    assert reason_of(chain.app.check_transaction, data, chain.now_ms) == Reason.REPEATED


def test_within_a_block_an_idempotency_key_stands_once(chain):
    one = chain.transaction("ada", toy.put("b"), idempotency_key=b"k" * 16)
    two = chain.transaction("ada", toy.put("c"), idempotency_key=b"k" * 16, role="device")
    for pair in ([one, one], [one, two]):
        assert list(block.decode_block(chain.app.prepare_proposal(pair, chain.now_ms)).transactions) == [one]
        assert (
            reason_of(chain.app.process_proposal, with_transactions(chain, pair), chain.now_ms)
            == Reason.REPEATED
        )


def test_an_idempotency_key_is_free_again_after_its_hour(chain):
    chain.produce([chain.transaction("ada", toy.put("b"), idempotency_key=b"k" * 16)])
    used_ms = chain.info.time_ms
    for after, free in ((HOUR_MS, False), (HOUR_MS + 1, True)):
        now = used_ms + after
        again = chain.transaction("ada", toy.put("b"), idempotency_key=b"k" * 16, valid_until_ms=now)
        taken = block.decode_block(chain.app.prepare_proposal([again], now)).transactions
        assert bool(taken) == free


def test_no_signature_is_verified_twice(chain, monkeypatch):
    calls = []
    honest = block.verify

    def counted(*arguments):
        calls.append(arguments)
        return honest(*arguments)

    monkeypatch.setattr(block, "verify", counted)
    data = [chain.transaction("ada", toy.put(str(number))) for number in range(3)]
    for item in data:
        chain.app.check_transaction(item, chain.now_ms)
    chain.produce(data)
    assert len(calls) == 3
    chain.produce([chain.transaction("ada", toy.put("late"))])
    assert len(calls) == 4


# ---- proposals ------------------------------------------------------------------------------------------


def with_header(chain, transactions=(), **changed):
    """A proposal of these transactions whose header is altered."""
    content = Block.FromString(chain.propose(transactions))
    header = Header.FromString(content.header)
    for name, value in changed.items():
        setattr(header, name, value)
    content.header = codec.encode(header)
    return codec.encode(content)


def with_transactions(chain, transactions):
    """A block that holds these transactions, whatever they are, under a header that commits to them."""

    def parsed(data):
        try:
            return block.parse_transaction(chain.chain_id, data)
        except Exception:
            return None

    found = [parsed(data) for data in transactions]
    root = block.transactions_root(chain.chain_id, found) if None not in found else ZERO
    content = Block.FromString(with_header(chain, transactions_root=root))
    content.transactions.extend(transactions)
    return codec.encode(content)


HEADERS = {
    "chain": ({"chain_id": bytes(32)}, Reason.WRONG_CHAIN),
    "version": ({"state_version": 2}, Reason.WRONG_VERSION),
    "height": ({"height": 3}, Reason.BAD_PARENT),
    "same height": ({"height": 1}, Reason.BAD_PARENT),
    "parent": ({"parent_hash": b"p" * 32}, Reason.BAD_PARENT),
    "time of the parent": ({"time_ms": START_MS + 100}, Reason.BAD_TIME),
    "no time": ({"time_ms": 0}, Reason.BAD_TIME),
    "app hash": ({"app_hash": b"a" * 32}, Reason.BAD_ROOT),
    "validators": ({"validators_hash": b"v" * 32}, Reason.BAD_VALIDATORS),
    "next validators": ({"next_validators_hash": b"v" * 32}, Reason.BAD_VALIDATORS),
    "transactions": ({"transactions_root": b"t" * 32}, Reason.BAD_ROOT),
    "short hash": ({"app_hash": b"a" * 31}, Reason.MALFORMED),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_does_not_continue_the_chain_is_refused(chain, name):
    changed, reason = HEADERS[name]
    before = (chain.info, chain.state_root)
    data = with_header(chain, [chain.transaction("ada", toy.put("b"))], **changed)
    assert reason_of(chain.app.process_proposal, data, chain.now_ms) == reason
    with pytest.raises(InvariantBroken):
        chain.app.finalize_block(data)
    assert (chain.info, chain.state_root) == before


def test_a_time_just_after_the_parent_is_enough_and_a_late_clock_no_reason(chain):
    early = with_header(chain, time_ms=chain.info.time_ms + 1)
    chain.app.process_proposal(early, chain.info.time_ms + 10**9)
    chain.app.process_proposal(early, 0 + chain.info.time_ms - limits.TIME_PRECISION_MS + 1)


def test_a_time_ahead_of_our_clock_may_be_valid_later(chain):
    data = with_header(chain)
    time_ms = Header.FromString(Block.FromString(data).header).time_ms
    with pytest.raises(AheadOfClock) as refusal:
        chain.app.process_proposal(data, time_ms - limits.TIME_PRECISION_MS - 7)
    assert (refusal.value.reason, refusal.value.ahead_ms) == (Reason.BAD_TIME, 7)
    chain.app.process_proposal(data, time_ms - limits.TIME_PRECISION_MS)


@pytest.mark.parametrize("data", [b"", b"\x0a\x00", b"\xff" * 40])
def test_bytes_that_are_no_block_are_malformed(chain, data):
    assert reason_of(chain.app.process_proposal, data, chain.now_ms) == Reason.MALFORMED


def test_other_bytes_for_a_block_are_malformed(chain):
    data = chain.propose()
    assert reason_of(chain.app.process_proposal, data + b"\x18\x01", chain.now_ms) == Reason.MALFORMED
    chain.app.process_proposal(data, chain.now_ms)


def test_transactions_may_not_be_left_out_added_or_moved(chain):
    one, two = (chain.transaction("ada", toy.put(name)) for name in "bc")
    content = Block.FromString(chain.propose([one, two]))
    for wrong in ([one], [two, one], [one, two, chain.transaction("ada", toy.put("d"))], [one, one]):
        altered = Block(header=content.header, transactions=wrong)
        assert reason_of(chain.app.process_proposal, codec.encode(altered), chain.now_ms) == Reason.BAD_ROOT


def test_a_signature_that_was_swapped_is_another_block(chain):
    data = chain.propose([chain.transaction("ada", toy.put("b"))])
    content = Block.FromString(data)
    transaction = Transaction.FromString(content.transactions[0])
    transaction.signatures[0].signature = bytes(64)
    content.transactions[0] = codec.encode(transaction)
    assert reason_of(chain.app.process_proposal, codec.encode(content), chain.now_ms) == Reason.BAD_ROOT


def test_judging_changes_nothing_and_forgets_nothing(chain):
    data = chain.propose([chain.transaction("ada", toy.put("b"))])
    rows = list(chain.kv.iterate(b"", None))
    for _ in range(2):
        chain.app.process_proposal(data, chain.now_ms)
        assert (
            reason_of(chain.app.process_proposal, with_header(chain, height=9), chain.now_ms)
            == Reason.BAD_PARENT
        )
        chain.app.finalize_block(data)
    assert list(chain.kv.iterate(b"", None)) == rows
    chain.decide(data)
    # What was judged good on the old tip is not good on the new one.
    assert reason_of(chain.app.process_proposal, data, chain.now_ms) == Reason.BAD_PARENT


# ---- how much fits -----------------------------------------------------------------------------------------


def test_a_proposal_fills_the_block_and_never_more():
    chain = toy_chain(parameters=make_parameters(block_bytes=300_000))
    big = [chain.transaction("ada", toy.put(str(number), "x" * 70_000)) for number in range(6)]
    data = chain.app.prepare_proposal(big, chain.now_ms)
    assert list(block.decode_block(data).transactions) == big[:4]
    assert len(data) <= 300_000
    chain.app.process_proposal(data, chain.now_ms)
    assert (
        reason_of(chain.app.process_proposal, with_transactions(chain, big), chain.now_ms) == Reason.OVERSIZE
    )


def test_the_greatest_transaction_fits_the_smallest_block():
    chain = toy_chain(parameters=make_parameters(block_bytes=limits.TRANSACTION_BYTES_MAX + 4_096))
    room = limits.TRANSACTION_BYTES_MAX - len(chain.transaction("ada", toy.put("big", "x" * 100_000)))
    data = chain.transaction("ada", toy.put("big", "x" * (100_000 + room)))
    assert len(data) == limits.TRANSACTION_BYTES_MAX
    (result,) = chain.produce([data])
    assert result.reason == Reason.OVERSIZE  # as a value of the state, not as a transaction


def test_a_proposal_stops_at_the_number_of_transactions_and_keys(chain, monkeypatch):
    many = [chain.transaction("ada", toy.put(str(number))) for number in range(6)]
    monkeypatch.setattr(limits, "TRANSACTIONS_PER_BLOCK_MAX", 4)
    assert len(block.decode_block(chain.app.prepare_proposal(many, chain.now_ms)).transactions) == 4
    monkeypatch.setattr(limits, "KEYS_PER_BLOCK_MAX", 7)
    assert len(block.decode_block(chain.app.prepare_proposal(many, chain.now_ms)).transactions) == 3


def test_a_smaller_block_is_asked_for_from_the_next_height_on(chain):
    smaller = Change(
        set_parameters=SetParameters(parameters=make_parameters(block_bytes=270_000, heartbeat_ms=500))
    )
    chain.submit("ada", chain.govern(smaller))
    assert chain.info.parameters == Parameters(
        **{f.name: v for f, v in smaller.set_parameters.parameters.ListFields()}
    )
    chain.produce()
    assert chain.info.next_due_ms == chain.info.time_ms + 500


def test_a_clock_behind_the_tip_still_makes_a_valid_time(chain):
    data = chain.app.prepare_proposal([], chain.info.time_ms - 1_000)
    assert block.decode_header(block.decode_block(data).header).time_ms == chain.info.time_ms + 1


# ---- determinism ----------------------------------------------------------------------------------------

SCRIPT = """
from tests.ledger import test_application
print(test_application.scripted_app_hashes())
"""


def scripted_app_hashes():
    chain = toy_chain(grants={"gs1:4012345": "ada"})
    found = [chain.info.app_hash.hex()]
    for height in range(5):
        operations = [toy.put(f"{height}/{number}", "v" * number) for number in range(7)]
        transactions = [chain.transaction(member, *operations) for member in chain.members]
        chain.produce([*transactions, chain.transaction("bob", toy.special("refuse"))])
        if height == 2:
            put_set(chain, "ada", "dee")
        found.append(chain.info.app_hash.hex())
    return found


def test_the_same_chain_comes_out_of_every_process():
    root = Path(__file__).resolve().parents[2]
    outputs = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            cwd=root,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1] == f"{scripted_app_hashes()}\n"
