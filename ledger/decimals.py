"""Exact decimal amounts: the arithmetic of the proto `Decimal`, with no floating point anywhere.

An amount is (-1)^negative * coefficient * 10^exponent with a coefficient below 2^128 and an exponent from
-18 to 18. Every amount has exactly one normal form, so equal amounts are equal bytes:

1. zero is the empty coefficient, not negative, exponent 0;
2. the coefficient carries no leading zero byte;
3. it is not divisible by ten, unless the exponent is 18.

Digits are counted before anything is converted: a number of a million digits, or an exponent of a billion, is
refused by its length and costs nothing.
"""

import decimal
import re
from typing import Final

from ledger.errors import Malformed, Refused
from ledger.limits import DECIMAL_COEFFICIENT_BYTES_MAX, DECIMAL_EXPONENT_MAX
from proto.chiptrace.v1.ledger_pb2 import Decimal, Reason

# No acceptable number is longer: 39 digits of coefficient, 18 zeros on either side, sign, point, exponent.
TEXT_LENGTH_MAX: Final = 128
_COEFFICIENT_LIMIT: Final = 1 << (8 * DECIMAL_COEFFICIENT_BYTES_MAX)
_JSON_NUMBER: Final = re.compile(r"(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]{1,9}))?\Z", re.ASCII)


def _refused(message: str) -> Refused:
    return Refused(message, Reason.QUANTITY_INVALID)


def _normal(signed: int, exponent: int) -> Decimal:
    """The normal form of signed * 10^exponent; digits that came from outside were counted by the caller."""
    if signed == 0:
        return Decimal()
    coefficient = abs(signed)
    while exponent < DECIMAL_EXPONENT_MAX and coefficient % 10 == 0:
        coefficient //= 10
        exponent += 1
    if exponent > DECIMAL_EXPONENT_MAX:
        coefficient *= 10 ** (exponent - DECIMAL_EXPONENT_MAX)
        exponent = DECIMAL_EXPONENT_MAX
    if exponent < -DECIMAL_EXPONENT_MAX:
        raise _refused(f"the number needs more than {DECIMAL_EXPONENT_MAX} decimal places; round it first")
    if coefficient >= _COEFFICIENT_LIMIT:
        raise _refused(f"the number needs more than {DECIMAL_COEFFICIENT_BYTES_MAX * 8} bits of coefficient")
    size = (coefficient.bit_length() + 7) // 8
    return Decimal(negative=signed < 0, coefficient=coefficient.to_bytes(size, "big"), exponent=exponent)


def from_int(value: int) -> Decimal:
    """The amount of a Python integer. Raises Refused(QUANTITY_INVALID) when it is out of range."""
    return _normal(value, 0)


def parse(text: str) -> Decimal:
    """The amount written as a JSON number. Raises Refused(QUANTITY_INVALID): no number, or out of range."""
    if len(text) > TEXT_LENGTH_MAX:
        raise _refused(f"a number of {len(text)} characters is longer than the {TEXT_LENGTH_MAX} allowed")
    match = _JSON_NUMBER.match(text)
    if match is None:
        raise _refused(f"{text!r} is not a number")
    sign, whole, fraction, exponent_text = match.groups(default="")
    digits = (whole + fraction).lstrip("0")
    exponent = int(exponent_text or "0") - len(fraction)
    stripped = digits.rstrip("0")
    if not stripped:
        return Decimal()
    exponent += len(digits) - len(stripped)
    if not -DECIMAL_EXPONENT_MAX <= exponent <= TEXT_LENGTH_MAX:
        raise _refused(f"the number {text} is out of range: 10^{exponent} cannot be kept exactly")
    return _normal(int(sign + stripped), exponent)


def from_decimal(value: decimal.Decimal) -> Decimal:
    """The amount of a Python decimal, as `json.loads(parse_float=decimal.Decimal)` makes them.

    Raises Refused(QUANTITY_INVALID) when it is not finite or out of range.
    """
    if not value.is_finite():
        raise _refused(f"{value} is not a number")
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int) or len(digits) > TEXT_LENGTH_MAX:
        raise _refused("the number is out of range")
    return parse(f"{'-' if sign else ''}{int(''.join(map(str, digits)) or '0')}e{exponent}")


def check(amount: Decimal) -> None:
    """Demand the normal form. Raises Malformed(QUANTITY_INVALID) naming the rule that is broken."""
    coefficient = amount.coefficient
    if not coefficient:
        if amount.negative or amount.exponent:
            raise Malformed("zero has a sign or an exponent", Reason.QUANTITY_INVALID)
        return
    if len(coefficient) > DECIMAL_COEFFICIENT_BYTES_MAX:
        raise Malformed("the coefficient of a number is too long", Reason.QUANTITY_INVALID)
    if coefficient[0] == 0:
        raise Malformed("the coefficient of a number begins with a zero byte", Reason.QUANTITY_INVALID)
    if not -DECIMAL_EXPONENT_MAX <= amount.exponent <= DECIMAL_EXPONENT_MAX:
        raise Malformed("the exponent of a number is out of range", Reason.QUANTITY_INVALID)
    if amount.exponent < DECIMAL_EXPONENT_MAX and int.from_bytes(coefficient, "big") % 10 == 0:
        raise Malformed("the coefficient of a number is divisible by ten", Reason.QUANTITY_INVALID)


def _signed(amount: Decimal) -> int:
    coefficient = int.from_bytes(amount.coefficient, "big")
    return -coefficient if amount.negative else coefficient


def _aligned(first: Decimal, second: Decimal) -> tuple[int, int, int]:
    """Both amounts as integers of one exponent: (first, second, exponent)."""
    check(first)
    check(second)
    exponent = min(first.exponent, second.exponent)
    return (
        _signed(first) * 10 ** (first.exponent - exponent),
        _signed(second) * 10 ** (second.exponent - exponent),
        exponent,
    )


def add(first: Decimal, second: Decimal) -> Decimal:
    """The sum, exactly. Raises Refused(QUANTITY_INVALID) when the sum cannot be kept exactly."""
    left, right, exponent = _aligned(first, second)
    return _normal(left + right, exponent)


def subtract(first: Decimal, second: Decimal) -> Decimal:
    """The difference first - second, exactly; may be negative. Raises Refused(QUANTITY_INVALID) as `add` does."""
    left, right, exponent = _aligned(first, second)
    return _normal(left - right, exponent)


def compare(first: Decimal, second: Decimal) -> int:
    """-1, 0 or 1 as first is less than, equal to or greater than second."""
    left, right, _ = _aligned(first, second)
    return (left > right) - (left < right)


def sign(amount: Decimal) -> int:
    """-1, 0 or 1: whether the amount is below, at or above zero."""
    if not amount.coefficient:
        return 0
    return -1 if amount.negative else 1


def is_whole(amount: Decimal) -> bool:
    """Whether the amount is an integer (a count of pieces)."""
    check(amount)
    return amount.exponent >= 0


def to_int(amount: Decimal) -> int:
    """The integer that an amount is. Raises Refused(QUANTITY_INVALID) where it is none."""
    if not is_whole(amount):
        raise _refused(f"{to_text(amount)} is no integer")
    power: int = 10**amount.exponent
    return _signed(amount) * power


def to_text(amount: Decimal) -> str:
    """The amount as a JSON number in plain notation, e.g. `-12.5`, `1000`; `parse` gives it back."""
    check(amount)
    digits = str(int.from_bytes(amount.coefficient, "big"))
    if amount.exponent >= 0:
        text = digits + "0" * amount.exponent if amount.coefficient else "0"
    else:
        padded = digits.rjust(1 - amount.exponent, "0")
        text = f"{padded[: amount.exponent]}.{padded[amount.exponent :]}"
    return "-" + text if amount.negative else text
