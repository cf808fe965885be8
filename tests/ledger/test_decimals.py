"""Exact decimals against Python's own decimal arithmetic, and the attacks on their size."""

import decimal
import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import codec, decimals
from ledger.errors import Malformed, Refused
from proto.chiptrace.v1.ledger_pb2 import Decimal, Reason

EXACT = decimal.Context(prec=200, traps=[decimal.InvalidOperation, decimal.Inexact])

# Amounts whose sums fit: 26 digits, five decimal places either way.
amounts = st.builds(
    lambda coefficient, exponent: decimals.parse(f"{coefficient}e{exponent}"),
    st.integers(-(10**25), 10**25),
    st.integers(-5, 5),
)


def python(amount: Decimal) -> Fraction:
    return Fraction(decimals.to_text(amount))


@given(st.integers(-(2**127), 2**127), st.integers(-18, 18))
def test_what_is_parsed_is_in_normal_form_and_written_back_exactly(coefficient, exponent):
    amount = decimals.parse(f"{coefficient}e{exponent}")
    decimals.check(amount)
    assert Fraction(decimals.to_text(amount)) == Fraction(coefficient) * Fraction(10) ** exponent
    assert decimals.parse(decimals.to_text(amount)) == amount


@given(st.decimals(min_value=-(10**20), max_value=10**20, places=9))
def test_equal_numbers_are_equal_bytes_however_they_are_written(value):
    plain = decimals.from_decimal(value)
    padded = decimals.from_decimal(value.quantize(decimal.Decimal("1e-12"), context=EXACT))
    scientific = decimals.parse(f"{EXACT.multiply(value, decimal.Decimal(1000)):f}e-3")
    assert codec.encode(plain) == codec.encode(padded) == codec.encode(scientific)


@given(amounts, amounts)
def test_sums_differences_and_order_are_those_of_rational_numbers(first, second):
    assert python(decimals.add(first, second)) == python(first) + python(second)
    assert python(decimals.subtract(first, second)) == python(first) - python(second)
    order = (python(first) > python(second)) - (python(first) < python(second))
    assert decimals.compare(first, second) == order
    for result in (decimals.add(first, second), decimals.subtract(first, second)):
        decimals.check(result)


@given(st.integers(-(10**38), 10**38))
def test_integers_come_through(value):
    amount = decimals.from_int(value)
    assert decimals.to_text(amount) == str(value)
    assert decimals.is_whole(amount)
    assert decimals.sign(amount) == (value > 0) - (value < 0)


@pytest.mark.parametrize(
    ("text", "coefficient", "exponent"),
    [
        ("0", 0, 0),
        ("-0", 0, 0),
        ("0e999999999", 0, 0),
        ("0.000", 0, 0),
        ("1", 1, 0),
        ("100", 1, 2),
        ("1.50", 15, -1),
        ("1e20", 100, 18),
        ("1e-18", 1, -18),
        ("12300e-20", 123, -18),
    ],
)
def test_the_normal_form_by_example(text, coefficient, exponent):
    amount = decimals.parse(text)
    assert (int.from_bytes(amount.coefficient, "big"), amount.exponent) == (coefficient, exponent)


def test_the_largest_amounts_fit_and_the_next_do_not():
    largest = 2**128 - 1
    assert decimals.parse(str(largest)).coefficient == b"\xff" * 16
    assert decimals.to_text(decimals.parse(f"{largest}e18")) == str(largest) + "0" * 18
    # 2^128 ends in 6: no power of ten can be taken out of it.
    with pytest.raises(Refused):
        decimals.from_int(largest + 1)
    for beyond in (str(largest + 1), f"{largest}e19", "1e-19", f"{largest + 1}e-5"):
        with pytest.raises(Refused) as caught:
            decimals.parse(beyond)
        assert caught.value.reason == Reason.QUANTITY_INVALID
    with pytest.raises(Refused):
        decimals.add(decimals.parse(str(largest)), decimals.parse("1"))
    with pytest.raises(Refused):
        # Neither is out of range; the sum would need 36 places at 128 bits.
        decimals.add(decimals.parse(f"{largest}e18"), decimals.parse("1e-18"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "+1",
        "01",
        "1.",
        ".5",
        "1e",
        "0x10",
        "1_000",
        " 1",
        "1 ",
        "NaN",
        "Infinity",
        "-",
        "١",
        "1\n",
        "1e1.5",
    ],
)
def test_only_json_numbers_are_numbers(text):
    with pytest.raises(Refused) as caught:
        decimals.parse(text)
    assert caught.value.reason == Reason.QUANTITY_INVALID


@pytest.mark.parametrize("special", ["NaN", "sNaN", "Infinity", "-Infinity"])
def test_special_decimals_are_no_amounts(special):
    with pytest.raises(Refused):
        decimals.from_decimal(decimal.Decimal(special))


def test_huge_numbers_are_refused_by_their_length_and_cost_nothing():
    begun = time.process_time()
    attacks = ["9" * 5_000_000, "1e999999999", "1e-999999999", "1" + "0" * 200, "1e" + "9" * 1_000]
    for text in attacks:
        with pytest.raises(Refused):
            decimals.parse(text)
    with pytest.raises(Refused):
        decimals.from_decimal(decimal.Decimal("1e999999"))
    with pytest.raises(Refused):
        decimals.from_decimal(decimal.Decimal((0, (9,) * 100_000, 0)))
    assert time.process_time() - begun < 1


@pytest.mark.parametrize(
    "broken",
    [
        Decimal(negative=True),
        Decimal(exponent=3),
        Decimal(coefficient=b"\x00"),
        Decimal(coefficient=b"\x00\x01"),
        Decimal(coefficient=b"\x01" * 17),
        Decimal(coefficient=b"\x01", exponent=19),
        Decimal(coefficient=b"\x01", exponent=-19),
        Decimal(coefficient=b"\x0a"),
        Decimal(coefficient=b"\x64", exponent=17),
    ],
)
def test_other_forms_of_a_number_are_malformed(broken):
    for use in (decimals.check, decimals.to_text, lambda amount: decimals.add(amount, decimals.parse("1"))):
        with pytest.raises(Malformed) as caught:
            use(broken)
        assert caught.value.reason == Reason.QUANTITY_INVALID


def test_a_coefficient_divisible_by_ten_is_normal_only_at_the_largest_exponent():
    decimals.check(Decimal(coefficient=b"\x64", exponent=18))


def test_pieces_are_whole():
    assert decimals.is_whole(decimals.parse("20"))
    assert not decimals.is_whole(decimals.parse("0.5"))
