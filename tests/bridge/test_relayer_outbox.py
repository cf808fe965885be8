"""What a relayer remembers of sent packets: nothing is lost by what nodes keep back or make up, and nothing is read twice."""

import random

import pytest

from bridge import relayer_outbox
from bridge.relayer_outbox import RUN_GAP_MAX, SEQUENCE_MAX, Lane, Outbox
from ledger.errors import Invalid
from proto.chiptrace.v1.bridge_pb2 import Packet
from proto.chiptrace.v1.node_pb2 import PacketItem

PAGE = 4


def item(sequence, *, opened=True, acknowledgement=b"", source="b-1", destination="a-1"):
    packet = Packet(source_client=source, destination_client=destination, sequence=sequence)
    return PacketItem(packet=packet, height=sequence + 100, open=opened, acknowledgement=acknowledgement)


def box(low=1):
    return Outbox("b-1", "a-1", low)


def scan(outbox, items, voice="", page=PAGE):
    """One whole scan of what a node lists."""
    for _ in range(1_000):
        found = [one for one in items if one.packet.sequence >= outbox.scan_from(voice)][:page]
        if outbox.see_scanned(found, voice):
            return
    raise AssertionError("the scan finds no end")


def opened(outbox):
    return [found.sequence for found in outbox.open()]


def test_new_packets_are_live_and_scanned_ones_are_cleared():
    outbox = box()
    outbox.begin(3)
    outbox.see_new([item(3), item(4, opened=False), item(5)])
    scan(outbox, [item(n) for n in range(1, 6)])
    assert [(found.sequence, found.lane) for found in outbox.open()] == [
        (1, Lane.CLEARING),
        (2, Lane.CLEARING),
        (3, Lane.LIVE),
        (4, Lane.CLEARING),
        (5, Lane.LIVE),
    ]
    assert outbox.next == 6


def test_no_packet_is_numbered_beyond_what_any_chain_sends():
    last = SEQUENCE_MAX
    outbox = box()
    outbox.see_new([item(last)])
    assert opened(outbox) == [last]
    for see in (
        outbox.see_new,
        lambda items: outbox.see_scanned(items, ""),
        lambda items: outbox.see_answers(items, 1, last),
    ):
        with pytest.raises(Invalid):
            see([item(last + 1)])
    assert outbox.next == last + 1 < 2**63


def test_low_moves_only_as_far_as_two_nodes_say():
    outbox = box()
    truth = [item(n, opened=n in (5, 7)) for n in range(1, 9)]
    lie = [item(n, opened=False) for n in range(1, 9)]
    for _ in range(3):
        scan(outbox, lie, "liar")
        assert (outbox.low, opened(outbox)) == (1, [])
    scan(outbox, truth, "honest")
    assert (outbox.low, opened(outbox)) == (5, [5, 7])
    scan(outbox, lie, "liar")
    assert outbox.low == 5
    scan(outbox, truth, "honest")
    assert opened(outbox) == [5, 7]


def test_a_scan_without_an_end_holds_up_no_other_and_counts_for_nothing():
    outbox = box()
    for first in range(100, 200, 2):
        assert not outbox.see_scanned([item(first)], "liar")
    assert outbox.scan_from("honest") == 1
    scan(outbox, [item(1, opened=False), item(2)], "honest")
    assert opened(outbox) == [2]
    assert outbox.low == 1


def test_the_last_scan_counts_for_what_nothing_proves():
    """A height that will never be, of a packet or of an answer, holds up none for ever; nor do packets that are not there."""
    outbox = box()
    far = item(1)
    far.height = 2**62
    outbox.see_new([far, item(2), item(90)])
    outbox.see_answers([item(2, acknowledgement=b"1")], 1, 9)
    scan(outbox, [item(1), item(2)])
    assert [(found.sequence, found.sent.height) for found in outbox.open()] == [(1, 101), (2, 102)]
    assert list(outbox.unanswered()) == [(1, 2)]
    assert outbox.next == 3


@pytest.mark.parametrize(
    "items",
    [
        [item(2), item(1)],
        [item(1), item(1)],
        [item(1, source="c-1")],
        [item(1, destination="c-1")],
    ],
)
def test_what_no_honest_node_lists_is_refused(items):
    with pytest.raises(Invalid):
        box().see_new(items)
    with pytest.raises(Invalid):
        box().see_scanned(items, "")
    with pytest.raises(Invalid):
        box().see_answers(items, 1, 9)
    with pytest.raises(Invalid):
        box(5).see_new([item(4)])


def test_answers_are_for_packets_in_the_range_that_was_asked():
    outbox = box()
    outbox.see_new([item(n) for n in (1, 2, 3)])
    outbox.see_answers([item(1, acknowledgement=b"1"), item(3, acknowledgement=b"3"), item(9)], 1, 2)
    assert [found.answer is not None for found in outbox.open()] == [True, False, False]
    assert list(outbox.unanswered()) == [(2, 3)]
    outbox.set_back(1)
    assert list(outbox.unanswered()) == [(1, 3)]
    assert next((found.sent.packet.sequence, found.lane) for found in outbox.open()) == (1, Lane.CLEARING)


def test_ranges_of_unanswered_packets_leave_out_long_gaps():
    outbox = box()
    far = 2 + RUN_GAP_MAX + 1
    outbox.see_new([item(1), item(2), item(far), item(far + RUN_GAP_MAX)])
    assert list(outbox.unanswered()) == [(1, 2), (far, far + RUN_GAP_MAX)]


def test_memory_is_bounded_and_the_oldest_are_taken_first(monkeypatch):
    monkeypatch.setattr(relayer_outbox, "OPEN_MAX", 3)
    outbox = box()
    scan(outbox, [item(n) for n in range(1, 9)])
    assert outbox.full
    assert opened(outbox) == [1, 2, 3]
    assert outbox.low == 1
    for sequence in (1, 2, 3):
        outbox.close(sequence)
    closed = [item(n, opened=n > 3) for n in range(1, 9)]
    scan(outbox, closed)
    scan(outbox, closed)
    assert opened(outbox) == [4, 5, 6]


def test_what_was_made_up_further_on_gives_way_to_the_beginning(monkeypatch):
    monkeypatch.setattr(relayer_outbox, "OPEN_MAX", 4)
    outbox = box()
    outbox.see_new([item(n) for n in range(100, 200)])
    assert outbox.full
    scan(outbox, [item(n) for n in (1, 2, 3)])
    assert opened(outbox) == [1, 2, 3, 100]
    scan(outbox, [item(n, opened=False) for n in (1, 2, 3)])
    assert (opened(outbox), outbox.next) == ([], 4)


def test_bodies_have_their_bound_of_bytes_too(monkeypatch):
    monkeypatch.setattr(relayer_outbox, "OPEN_BYTES_MAX", 3_000)
    large = [item(n) for n in range(1, 9)]
    for one in large:
        one.packet.value = bytes(1_000)
    outbox = box()
    outbox.see_new(large)
    assert opened(outbox) == [1, 2, 3]
    scan(outbox, large)
    assert outbox.full
    outbox.close(1)
    outbox.check(2, holds=False)
    assert not outbox.full
    scan(outbox, [item(1, opened=False), *large[1:]])
    assert opened(outbox) == [2, 3, 4]


@pytest.mark.parametrize("seed", range(200))
def test_with_one_honest_node_among_those_asked_in_turn_nothing_is_lost(seed):
    toss = random.Random(seed)
    voices = toss.randrange(2, 5)
    outbox, sent, closed, turn = Outbox("b-1", "a-1", 1, voices), 0, set(), 0

    def listed(first, *, honest):
        found = []
        for n in range(first, sent + 1):
            is_open = n not in closed
            if not honest and toss.random() < 0.4:
                if toss.random() < 0.5:
                    continue
                is_open = not is_open
            found.append(item(n, opened=is_open))
        return found[: toss.randrange(1, 6)]

    for _ in range(80):
        match toss.randrange(5):
            case 0:
                sent += toss.randrange(4)
            case 1:
                closed |= set(toss.sample(range(1, sent + 1), min(sent, 2)))
            case 2:
                outbox.see_new(listed(outbox.next, honest=False))
            case 3:
                turn, voice = turn + 1, turn % voices
                told = listed(outbox.scan_from(f"node-{voice}"), honest=voice == 0)
                outbox.see_scanned(told, f"node-{voice}")
            case 4 if outbox.open():
                outbox.close(toss.choice(outbox.open()).sequence)  # by what a lying node said
        first_open = min(set(range(1, sent + 1)) - closed, default=sent + 1)
        assert outbox.low <= first_open
    for voice in [f"node-{number}" for number in range(voices)] * 2:  # the first of each was under way
        while not outbox.see_scanned(listed(outbox.scan_from(voice), honest=True), voice):
            pass
    wanted = sorted(set(range(1, sent + 1)) - closed)
    assert opened(outbox) == wanted
    assert outbox.low == (wanted[0] if wanted else sent + 1)
