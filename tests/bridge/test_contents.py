"""What a packet may say of the inside of a container: bounded, in one order, and never more than it can hold."""

import pytest

from bridge.contents import COUNT_MAX, check_amounts, check_contents, take_from
from ledger import decimals
from ledger.errors import Malformed, Refused
from ledger.limits import CONTAINER_DEPTH_MAX, HOP_MAX, MANIFEST_ROWS_MAX
from proto.chiptrace.v1.bridge_pb2 import ArrivalRecord, ContainedAmount, Contents
from proto.chiptrace.v1.ledger_pb2 import Decimal, ManifestRow, PartRecord, Reason
from tests.bridge.crossing import carry, tote
from tests.bridge.test_custody_transfer import Corrupt
from tests.bridge.two_chains import serial

BOX = serial(1)
CLASS = "https://id.gs1.org/01/04012345111118"
LOT = f"{CLASS}/10/L"
PARTS = ManifestRow(item_class=CLASS, count=3)
AMOUNT = ManifestRow(lot=LOT, place=BOX)


def contents(*rows, **changed):
    values = {"generation": 1, "count": 3, "levels": [3], "manifest": rows or [PARTS]}
    return Contents(**(values | changed))


def test_what_can_be():
    check_contents(contents(), BOX)
    check_contents(contents(AMOUNT, PARTS), BOX)
    check_contents(contents(AMOUNT, count=0, levels=[]), BOX)
    check_contents(contents(PARTS, count=2, levels=[1, 1]), BOX)


@pytest.mark.parametrize(
    "said",
    [
        contents(generation=0),
        contents(generation=HOP_MAX + 1),
        contents(manifest=[]),
        contents(*[ManifestRow(item_class=CLASS, lot=f"{LOT}{n:05}", count=1) for n in range(1_025)]),
        contents(PARTS, PARTS),
        contents(PARTS, AMOUNT),
        contents(ManifestRow(item_class=CLASS)),
        contents(ManifestRow(item_class=CLASS, count=COUNT_MAX + 1)),
        contents(ManifestRow(item_class=CLASS, count=3, unit="KGM")),
        contents(ManifestRow(lot=LOT, count=3)),
        contents(ManifestRow(item_class="urn:epc:idpat:sgtin:4012345.011111.*", count=3)),
        contents(ManifestRow(place=BOX), count=0, levels=[]),
        contents(ManifestRow(lot=LOT, place=BOX, count=1)),
        contents(ManifestRow(item_class=CLASS, lot=LOT, place=BOX)),
        contents(ManifestRow(lot=LOT, place="ada"), count=0, levels=[]),
        contents(ManifestRow(lot=LOT, place="ada>abe"), count=0, levels=[]),
        contents(ManifestRow(lot=LOT, place=f"@{BOX}"), count=0, levels=[]),
        contents(ManifestRow(lot=LOT, place=BOX, unit="KILO"), count=0, levels=[]),
        contents(levels=[]),
        contents(levels=[2]),
        contents(levels=[3, 0]),
        contents(levels=[0] * CONTAINER_DEPTH_MAX + [3]),
        contents(count=4, levels=[4]),
        contents(count=2**63, levels=[2**63]),
    ],
    ids=range(24),
)
def test_what_cannot_be(said):
    assert MANIFEST_ROWS_MAX < 1_025
    with pytest.raises(Refused) as caught:
        check_contents(said, BOX)
    assert caught.value.reason in (Reason.CONTENTS_INVALID, Reason.IDENTIFIER_INVALID)


def item(amount="1", **changed):
    values = {
        "amount": decimals.parse(amount),
        "origin_chain": bytes(32),
        "history_root": bytes(32),
        "commissioner": "ada",
    }
    return ContainedAmount(**(values | changed))


@pytest.mark.parametrize(
    "items",
    [
        [],
        [item(), item()],
        [item("0")],
        [item("-1")],
        [item("1.5")],
        [item(origin_chain=b"")],
        [item(history_root=b"")],
        [
            ContainedAmount(
                amount=Decimal(coefficient=b"\x00"), origin_chain=bytes(32), history_root=bytes(32)
            )
        ],
    ],
    ids=range(8),
)
def test_amounts_that_cannot_be(items):
    with pytest.raises((Refused, Malformed)):
        check_amounts(contents(AMOUNT, count=0, levels=[], amounts=items), BOX)


def test_amounts_that_can_be():
    check_amounts(contents(AMOUNT, count=0, levels=[], amounts=[item()]), BOX)


def test_an_arrival_gives_out_what_it_holds_and_no_more():
    arrival = ArrivalRecord(container=BOX, left_count=3, left_levels=[2, 1], left=[PARTS])
    take_from(arrival, PartRecord(id=serial(2)), None)
    assert (arrival.left_count, list(arrival.left_levels), arrival.left[0].count) == (2, [1, 1], 2)
    inner = contents(ManifestRow(item_class=CLASS, count=1), count=1, levels=[1])
    for child, inside in (
        (PartRecord(id="https://id.gs1.org/01/04012345222227/21/1"), None),
        (PartRecord(id=serial(3), lot=LOT), None),
        (PartRecord(id=serial(3), lot=LOT, start=0, end=5), None),
        (PartRecord(id=serial(3)), contents(PARTS)),
        (PartRecord(id=serial(3)), contents(AMOUNT, ManifestRow(item_class=CLASS, count=1))),
    ):
        copy = ArrivalRecord()
        copy.CopyFrom(arrival)
        with pytest.raises(Refused) as caught:
            take_from(copy, child, inside)
        assert caught.value.reason == Reason.MANIFEST_EXCEEDED
    take_from(arrival, PartRecord(id=serial(3)), inner)
    assert (arrival.left_count, list(arrival.left_levels), list(arrival.left)) == (1, [1, 0], [])
    with pytest.raises(Refused):
        take_from(arrival, PartRecord(id=serial(4)), None)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"contents": contents(generation=0)}, Reason.CONTENTS_INVALID),
        ({"contents": contents(AMOUNT, amounts=[item()])}, Reason.CONTENTS_INVALID),
        (
            {"contents": contents(AMOUNT, count=0, levels=[], amounts=[item(commissioner="A D A")])},
            Reason.MALFORMED,
        ),
        (
            {"contents": contents(AMOUNT, count=0, levels=[], amounts=[item(origin_chain=b"x" * 32)])},
            Reason.NOT_FROM_HOME,
        ),
    ],
    ids=range(4),
)
def test_a_container_that_says_so_does_not_arrive(changed, reason):
    corrupt = Corrupt()
    box, _ = tote(corrupt.world)
    carry(corrupt.world, "a", box, "bob")
    corrupt.nothing_comes_of(corrupt.packet(box, **changed), reason)


def test_a_filling_arrives_once():
    corrupt = Corrupt()
    world = corrupt.world
    box, _ = tote(world)
    carry(world, "a", box, "bob")
    carry(world, "b", box, "ada")
    carry(world, "a", box, "bob")
    corrupt.nothing_comes_of(corrupt.packet(box, contents=contents(generation=2)), Reason.CONTENTS_INVALID)
