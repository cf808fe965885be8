"""The list behind a root: what its leaves are, what proves a place in it, and what proves none."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import roots
from ledger.errors import Refused
from ledger.event_values import GivenSerials
from ledger.identifiers import canonical
from proto.chiptrace.v1.ledger_pb2 import LotRecord, Membership, Reason
from tests.ledger.rules_world import refused

CHAIN = b"\x07" * 32
LOT = canonical("urn:epc:class:lgtin:4012345.012345.W1")
SERIALS = st.lists(st.from_regex(r"[A-Za-z0-9!/]{1,8}", fullmatch=True), min_size=1, max_size=40, unique=True)


def name(serial: str) -> str:
    return roots.serial_of(LOT.class_text, serial).text


def lot_of(kept: roots.SerialList, count: int = 0) -> LotRecord:
    serials = roots.read_serials(LOT, kept.given, count or len(kept))
    return LotRecord(id=LOT.text, origin_chain=CHAIN, serials=serials)


def plain_root(serials: list[str]) -> bytes:
    """RFC 9162, written down from its text, over the leaves of docs/format.md."""
    if len(serials) == 1:
        tag = b"chiptrace/v1/lot-serial\0" + CHAIN
        return hashlib.sha256(b"\0" + tag + name(serials[0]).encode()).digest()
    half = 1
    while half * 2 < len(serials):
        half *= 2
    return hashlib.sha256(b"\1" + plain_root(serials[:half]) + plain_root(serials[half:])).digest()


@settings(max_examples=60, deadline=None)
@given(SERIALS, st.data())
def test_any_serial_is_proven_at_its_place_and_at_no_other(serials, data):
    kept = roots.SerialList(CHAIN, LOT, serials)
    assert kept.given.root == plain_root(serials)
    lot = lot_of(kept)
    for place, serial in enumerate(serials):
        shown = kept.membership(name(serial))
        assert shown.place == place
        roots.check_membership(lot, canonical(name(serial)), shown)
    # Any change of a proof proves nothing.
    place = data.draw(st.integers(0, len(serials) - 1))
    shown = kept.membership(name(serials[place]))
    other = data.draw(st.integers(0, len(serials) + 3).filter(lambda found: found != place))
    with refused(Reason.MEMBERSHIP_INVALID):
        roots.check_membership(lot, canonical(shown.serial), Membership(place=other, path=shown.path))
    with refused(Reason.MEMBERSHIP_INVALID):
        longer = Membership(place=place, path=[*shown.path, bytes(32)])
        roots.check_membership(lot, canonical(shown.serial), longer)
    wrong = data.draw(SERIALS)[0]
    if wrong != serials[place]:
        with refused(Reason.MEMBERSHIP_INVALID):
            roots.check_membership(lot, canonical(name(wrong)), shown)
    for depth in range(len(shown.path)):
        path = [hashlib.sha256(node).digest() if i == depth else node for i, node in enumerate(shown.path)]
        with refused(Reason.MEMBERSHIP_INVALID):
            roots.check_membership(lot, canonical(shown.serial), Membership(place=place, path=path))


def test_a_proof_is_of_one_lot_one_chain_and_one_class():
    kept = roots.SerialList(CHAIN, LOT, ["1", "2", "3"])
    serial, shown = canonical(name("3")), kept.membership(name("3"))
    good = lot_of(kept)
    roots.check_membership(good, serial, shown)
    for change, why in (
        ({"origin_chain": bytes(32)}, "another root"),
        ({"serials": roots.read_serials(LOT, kept.given, 4)}, "path"),
        ({"serials": roots.read_serials(LOT, kept.given, 2)}, "has 2 serials"),
        ({"serials": roots.read_serials(LOT, GivenSerials(kept.given.root, "", (), kept.given.root, "4", "9"), 3)},
         "from 4 to 9"),
        ({"serials": roots.read_serials(LOT, GivenSerials(first="1", last="3"), 3)}, "no root"),
    ):  # fmt: skip
        lot = LotRecord(id=LOT.text, origin_chain=CHAIN, serials=good.serials)
        for field, value in change.items():
            if field == "serials":
                lot.serials.CopyFrom(value)
            else:
                setattr(lot, field, value)
        with refused(Reason.MEMBERSHIP_INVALID, why):
            roots.check_membership(lot, serial, shown)
    for other in ("urn:epc:id:sgtin:4012345.012346.2", "urn:epc:id:sscc:4012345.0000000001", "urn:part:2"):
        with refused(Reason.MEMBERSHIP_INVALID, "no root of serials of this class"):
            roots.check_membership(good, canonical(other), shown)


@pytest.mark.parametrize(
    ("lowest", "highest", "count", "reason"),
    [
        ("9", "8", 2, Reason.SERIALS_INVALID),
        ("10", "9", 2, Reason.SERIALS_INVALID),
        ("9", "9", 2, Reason.SERIALS_INVALID),
        ("8", "9", 1, Reason.SERIALS_INVALID),
        ("8", "x" * 21, 2, Reason.IDENTIFIER_INVALID),
        ("8", "9", 2**40 + 1, Reason.SERIALS_INVALID),
    ],
)
def test_what_is_no_root(lowest, highest, count, reason):
    said = GivenSerials(root=bytes(32), lowest=lowest, highest=highest)
    with refused(reason):
        roots.read_serials(LOT, said, count)
    with refused(Reason.SERIALS_INVALID):
        roots.read_serials(canonical(LOT.class_text), said, count)


def test_what_is_no_list():
    with refused(Reason.SERIALS_INVALID, "listed twice"):
        roots.SerialList(CHAIN, LOT, ["1", "2", "1"])
    with refused(Reason.SERIALS_INVALID, "empty"):
        roots.SerialList(CHAIN, LOT, [])
    with refused(Reason.IDENTIFIER_INVALID):
        roots.SerialList(CHAIN, LOT, ["1", "x" * 21])
    kept = roots.SerialList(CHAIN, LOT, ["1", "2"])
    assert name("1") in kept
    assert name("3") not in kept
    with pytest.raises(Refused, match="not in the list"):
        kept.membership(name("3"))


def test_the_lowest_serial_is_the_shortest_not_the_first():
    kept = roots.SerialList(CHAIN, LOT, ["B2", "100", "A9", "7"])
    assert (kept.given.lowest, kept.given.highest) == ("7", "100")
