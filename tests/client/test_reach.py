"""The reach of a recall: what was made of a thing, what holds it, who has it; and when the answer is not all."""

import pytest

from client.cli_recall import to_csv
from client.connection import NoAnswer
from client.reach import Reach
from client.reach_paths import Window
from ledger import decimals, state
from proto.chiptrace.v1.ledger_pb2 import Entry
from proto.chiptrace.v1.node_pb2 import HistoriesReply, HistoriesRequest, HistoryReply
from tests.bridge import crossing
from tests.bridge.crossing import carry, materialise, pack, update
from tests.bridge.test_rehoming import lost_world, rehome
from tests.bridge.two_chains import World
from tests.client.direct import DirectStub, verified
from tests.client.reach_world import Factory, things
from tests.ledger.rules_world import (
    add,
    box,
    destroying,
    lot,
    making,
    packing,
    part,
    quantity,
    receiving,
    seen,
    serials_of,
    shipping,
    unpacking,
)
from tests.ledger.test_corrections import wrong

WAFER, DIE, CHIP, BOARD, DEVICE, BOX, PALLET = part(1), part(2), part(3), part(4), part(5), box(1), box(2)
LOT, OTHER, PASTE = lot("W7"), lot("W8"), lot("paste")
RUN = "urn:test:run:1"


@pytest.fixture
def factory():
    return Factory()


def told(report):
    """What is reached, once nothing else is wrong with the answer."""
    assert report.problem == ""
    return {name: word for (_, name), word in things(report).items()}


def test_what_was_made_of_it_and_what_holds_that(factory):
    factory.event("ada", add([WAFER, BOARD, DEVICE]))
    factory.event("ada", making([WAFER], [DIE, part(20)]), making([DIE], [CHIP]))
    factory.event(
        "ada", packing(BOARD, [CHIP], kind="Association"), packing(DEVICE, [BOARD], kind="Association")
    )
    factory.event("ada", packing(BOX, [DEVICE]), packing(PALLET, [BOX]), shipping([PALLET], "abe"))
    factory.event("abe", receiving([PALLET]), shipping([PALLET], "amy"))
    report = factory.reach(WAFER)
    assert told(report) == {
        WAFER: "CONSUMED",
        DIE: "CONSUMED",
        part(20): "LIVE ada",
        CHIP: "OFFERED abe",
        BOARD: "OFFERED abe holds",
        DEVICE: "OFFERED abe holds",
        BOX: "OFFERED abe holds",
        PALLET: "OFFERED abe holds",
    }
    assert report.gaps == []
    assert report.exit_code == 0
    assert report.counts() == {"CONSUMED": 2, "LIVE": 1, "OFFERED": 1}
    rows = {row["member"]: (row["certain"], row["offered"], row["owned"]) for row in report.holders()}
    assert rows == {"ada": (1, 0, 1), "abe": (1, 0, 0), "amy": (0, 1, 0)}
    chip = next(thing for thing in report.reached if thing.id == CHIP)
    assert (chip.place, chip.offered_to) == (PALLET, "amy")


def test_what_was_taken_off_the_board_leaves_it_alone(factory):
    factory.event("ada", add([CHIP, BOARD, part(6)]), packing(BOARD, [CHIP, part(6)], kind="Association"))
    factory.event("ada", unpacking(BOARD, [CHIP], kind="Association"))
    assert told(factory.reach(CHIP)) == {CHIP: "LIVE ada"}
    # and the board's other chip is not concerned with it
    assert told(factory.reach(part(6))) == {part(6): "LIVE ada", BOARD: "LIVE ada holds"}


def test_a_box_is_recalled_with_what_is_in_it(factory):
    factory.event("ada", add([CHIP, BOARD], [quantity(LOT, 50)]), packing(BOARD, [CHIP], kind="Association"))
    factory.event("ada", packing(BOX, [BOARD], [quantity(LOT, 20)]), packing(PALLET, [BOX]))
    report = factory.reach(BOX)
    assert told(report) == {
        BOX: "LIVE ada",
        BOARD: "LIVE ada",
        CHIP: "LIVE ada",
        PALLET: "LIVE ada holds",
    }
    (amount,) = next(thing for thing in report.reached if thing.id == BOX).amounts
    assert (amount.lot, decimals.to_text(amount.amount), amount.holder) == (LOT, "20", "ada")
    # Unpacked all at once, and gone its own ways, the box has nothing any more: the time at which it had it is asked for.
    then = factory.now_ms
    factory.event("ada", unpacking(PALLET), unpacking(BOX), shipping([BOARD], "abe"))
    assert told(factory.reach(BOX)) == {BOX: "LIVE ada"}
    assert told(factory.reach(BOX, window=Window(then, then))) == {
        BOX: "LIVE ada",
        BOARD: "OFFERED ada",
        CHIP: "OFFERED ada",
        LOT: "LOT CANDIDATE",
    }


def test_a_destroyed_box_still_says_what_was_in_it(factory):
    factory.event("ada", add([CHIP]), packing(BOX, [CHIP]), destroying([BOX]))
    report = factory.reach(BOX)
    assert told(report) == {BOX: "DESTROYED", CHIP: "DESTROYED"}
    assert report.holders() == []


def test_a_window_is_about_what_was_asked_for(factory):
    factory.event(
        "ada", add([], [quantity(PASTE, 10)]), making(used=[quantity(PASTE, 1)], outputs=[part(10)])
    )
    between = factory.now_ms
    factory.event(
        "ada", making(used=[quantity(PASTE, 1)], outputs=[part(11)]), making([part(11)], [part(12)])
    )
    factory.event("ada", making([part(10)], [part(13)]))
    assert told(factory.reach(PASTE)) == {PASTE: "LOT"} | dict.fromkeys(
        [part(10), part(11)], "CONSUMED"
    ) | dict.fromkeys([part(12), part(13)], "LIVE ada")
    assert told(factory.reach(PASTE, window=Window(until_ms=between))) == {
        PASTE: "LOT",
        part(10): "CONSUMED",
        part(13): "LIVE ada",
    }
    later = told(factory.reach(PASTE, window=Window(between + 1)))
    assert later == {PASTE: "LOT", part(11): "CONSUMED", part(12): "LIVE ada"}


# ---- amounts ---------------------------------------------------------------------------------------------------


def test_all_places_of_a_lot(factory):
    factory.event("ada", add([], [quantity(LOT, 100)]), packing(BOX, [], [quantity(LOT, 30)]))
    factory.event("ada", shipping(to="abe", amounts=[quantity(LOT, 20)]))
    factory.event("abe", receiving(amounts=[quantity(LOT, 15)], sender="ada"))
    factory.event("abe", making(used=[quantity(LOT, 5)]), destroying([], [quantity(LOT, 1)]))
    factory.event("ada", shipping([BOX], "amy"))
    factory.event("amy", receiving([BOX]))
    report = factory.reach(LOT)
    assert told(report) == {LOT: "LOT", BOX: "LIVE amy holds"}
    (lot_, _) = report.reached
    assert {(a.place, decimals.to_text(a.amount), a.holder, a.offered_to) for a in lot_.amounts} == {
        ("ada", "50", "ada", ""),
        ("ada>abe", "5", "ada", "abe"),
        ("abe", "9", "abe", ""),
        (BOX, "30", "amy", ""),
    }
    assert report.gaps == []
    assert {row["member"] for row in report.holders()} == {"ada", "abe", "amy"}
    assert f"{LOT},amount,CERTAIN,,LIVE,amy" in to_csv(report)


def test_a_place_that_no_history_names_is_a_gap(factory, monkeypatch):
    """What is missing in the sum is said: here a place is overlooked."""
    factory.event("ada", add([], [quantity(LOT, 100)]), shipping(to="abe", amounts=[quantity(LOT, 20)]))
    monkeypatch.setattr("client.reach_amounts.offer_place", lambda sender, receiver: "elsewhere")
    report = factory.reach(LOT)
    assert report.gaps == [f"chain a: of lot {LOT}, 20 pieces are at no place that its history names"]
    assert report.exit_code == 1


def test_an_amount_that_was_mixed_into_another_lot_is_a_candidate(factory):
    factory.event("ada", add([], [quantity(LOT, 10), quantity(OTHER, 10)]))
    factory.event("ada", making(used=[quantity(LOT, 1)], made=[quantity(PASTE, 5)]))
    assert told(factory.reach(LOT)) == {LOT: "LOT", PASTE: "LOT"}
    factory.event("ada", making(used=[quantity(OTHER, 1)], made=[quantity(PASTE, 5)]))
    factory.event("ada", making(used=[quantity(PASTE, 1)], outputs=[CHIP]))
    assert told(factory.reach(LOT)) == {LOT: "LOT", PASTE: "LOT CANDIDATE", CHIP: "LIVE ada CANDIDATE"}


def test_one_of_several_reels_nobody_knows_which(factory):
    """Candidates are found from each of the lots, and none of them is said to be in it."""
    reels = [LOT, OTHER, PASTE]
    factory.event("ada", add([], [quantity(reel, 10) for reel in reels]))
    perhaps = {"ilmd": {"urn:chiptrace:epcis:candidates": [LOT, OTHER]}}
    used = [quantity(LOT, 3), quantity(PASTE, 1)]
    factory.event("ada", making(used=used, outputs=[BOARD], **perhaps))
    for reel in (LOT, OTHER):
        assert told(factory.reach(reel)) == {reel: "LOT", BOARD: "LIVE ada CANDIDATE"}
    assert told(factory.reach(PASTE)) == {PASTE: "LOT", BOARD: "LIVE ada"}
    # Who has nothing of a lot cannot name it.
    factory.event("ada", shipping(to="abe", amounts=[quantity(OTHER, 10)]))
    later = making(used=[quantity(LOT, 1)], outputs=[part(9)], **perhaps)
    assert factory.refuses("ada", later) == "NOT_IN_CUSTODY"


# ---- runs ------------------------------------------------------------------------------------------------------


def test_a_run_of_several_inputs_says_not_which_became_which(factory):
    factory.event("ada", add([WAFER, part(9)]), making([WAFER], run=RUN), making(outputs=[DIE], run=RUN))
    assert told(factory.reach(WAFER)) == {WAFER: "CONSUMED", DIE: "LIVE ada"}
    factory.event("ada", making([part(9)], [CHIP], run=RUN))
    assert told(factory.reach(WAFER)) == {
        WAFER: "CONSUMED",
        DIE: "LIVE ada CANDIDATE",
        CHIP: "LIVE ada CANDIDATE",
    }
    assert told(factory.reach(part(9)))[CHIP] == "LIVE ada"
    assert told(factory.reach(RUN)) == {RUN: "RUN", DIE: "LIVE ada", CHIP: "LIVE ada"}


def test_what_was_declared_wrong_and_taken_back_leads_nowhere(factory):
    factory.event("ada", add([DIE]))
    made = factory.event("ada", making([DIE], [CHIP]))
    factory.act("ada", wrong(made, "2023-11-14T22:13:22Z"))
    assert told(factory.reach(DIE)) == {DIE: "LIVE ada"}
    factory.event("ada", making([DIE], run=RUN))
    made = factory.event("ada", making(outputs=[BOARD], run=RUN))
    assert told(factory.reach(DIE)) == {DIE: "CONSUMED", BOARD: "LIVE ada"}
    factory.act("ada", wrong(made, "2023-11-14T22:13:22Z"))
    assert told(factory.reach(DIE)) == {DIE: "CONSUMED"}


# ---- serials of lots -------------------------------------------------------------------------------------------


def test_a_lot_of_serials_in_pieces(factory):
    dies = lot("dies")
    factory.event("ada", serials_of(dies, "D000", "D999", 1000))
    piece = f"{dies}?interval=100-200"
    factory.event("ada", shipping(amounts=[quantity(piece, 100)], to="abe"))
    factory.event("abe", receiving(amounts=[quantity(piece, 100)]))
    one = f"{dies}?interval=150-151"
    factory.event("abe", making(used=[quantity(one, 1)]))
    report = factory.reach(dies)
    assert report.problem == ""
    assert report.counts() == {"CONSUMED": 1, "LIVE": 999}
    assert {row["member"]: row["certain"] for row in report.holders()} == {"ada": 900, "abe": 99}
    inside = factory.reach(f"{dies}?interval=90-160")
    assert inside.problem == ""
    assert inside.counts() == {"CONSUMED": 1, "LIVE": 69}
    # Serials that nobody touched are told by the interval that they lie in.
    untouched = factory.reach(f"{dies}?interval=10-20")
    assert untouched.counts() == {"LIVE": 10}


# ---- over the bridge --------------------------------------------------------------------------------------------


@pytest.fixture
def two():
    return Factory("a", "b")


def test_over_the_bridge_to_the_member_that_has_it(two):
    two.event("ada", add([WAFER]), making([WAFER], [CHIP, DIE]))
    two.export(CHIP, "bob")
    report = two.reach(WAFER)
    assert {key: word for key, word in things(report).items() if key[1] == CHIP} == {
        ("a", CHIP): "DEPARTED",
        ("b", CHIP): "LIVE bob",
    }
    assert report.gaps == []
    assert {(row["chain"], row["member"], row["certain"]) for row in report.holders()} == {
        ("a", "ada", 1),
        ("b", "bob", 1),
    }


def test_what_was_made_before_it_came_is_found_from_where_it_is(two):
    """It went on living on both sides of a transformation, crossed, and is asked for on the other chain."""
    two.event("ada", add([CHIP]), making([CHIP], [CHIP, DIE]))
    two.export(CHIP, "bob")
    assert things(two.reach(CHIP, on="b"))["a", DIE] == "LIVE ada"


def test_a_chain_that_is_not_asked_is_a_gap(two):
    two.event("ada", add([CHIP]))
    two.export(CHIP, "bob")
    (gap,) = two.reach(CHIP, only="a").gaps
    assert two.world["b"].chain_id.hex() in gap
    (gap,) = two.reach(CHIP, on="b", only="b").gaps
    assert two.world["a"].chain_id.hex() in gap


def test_a_chain_that_does_not_answer_is_a_gap(two):
    two.event("ada", add([CHIP]))
    two.export(CHIP, "bob")

    class Silent(DirectStub):
        def GetStatus(self, request):
            raise NoAnswer("nobody at home")

    (gap,) = two.reach(CHIP, stubs={"b": Silent(two.world["b"])}).gaps
    assert "gave no answer: nobody at home" in gap


def test_what_is_on_its_way_is_with_both(two):
    two.event("ada", add([CHIP]))
    two.export(CHIP, "bob", accept=False)
    report = two.reach(CHIP)
    assert things(report)["b", CHIP] == "OFFERED"
    assert {(row["member"], row["offered"]) for row in report.holders() if row["member"]} >= {("bob", 1)}


# ---- lies ------------------------------------------------------------------------------------------------------


class Hiding(DirectStub):
    """Leaves the last entry out of every history."""

    def GetHistories(self, request):
        reply = super().GetHistories(request)
        for history in reply.histories:
            del history.items[-1:]
        return reply

    def GetHistory(self, request):
        reply = super().GetHistory(request)
        del reply.items[:]
        return reply


class Moved(DirectStub):
    """Answers with another subject's history."""

    def GetHistories(self, request):
        reply = super().GetHistories(request)
        return HistoriesReply(histories=[reply.histories[-1]] * len(request.subjects))


class Few(DirectStub):
    """Answers less than it was asked."""

    def GetHistories(self, request):
        return HistoriesReply()


class OtherTransaction(DirectStub):
    """Answers with a transaction that is not the one asked for, and with none beside a history."""

    def GetHistories(self, request):
        return super().GetHistories(HistoriesRequest(subjects=request.subjects))

    def GetTransaction(self, request):
        reply = super().GetTransaction(request)
        reply.transaction = other_transaction(self.chain)
        return reply


class OtherBeside(DirectStub):
    """Brings another transaction along with a history."""

    def GetHistories(self, request):
        reply = super().GetHistories(request)
        for history in reply.histories:
            for item in history.items:
                item.transaction = other_transaction(self.chain)
        return reply


def other_transaction(chain):
    data = chain.app.store.entries(state.part_key(DIE), 0, 1)[0]
    return chain.app.store.transaction(Entry.FromString(data).transaction).data


class Early(DirectStub):
    """Doubles the last entry of every history."""

    def GetHistories(self, request):
        reply = super().GetHistories(request)
        for history in reply.histories:
            history.items.append(history.items[-1])
        return reply


@pytest.mark.parametrize("lie", [Hiding, Moved, Few, OtherTransaction, OtherBeside, Early])
def test_lies_are_not_verifiable(factory, lie):
    factory.event("ada", add([WAFER]), making([WAFER], [DIE, CHIP]), seen([CHIP]))
    report = factory.reach(WAFER, stubs={"a": lie(factory.world["a"])})
    assert (report.problem_code, report.exit_code) == ("BAD_PROOF", 2)


def test_a_node_that_has_room_for_little_is_asked_again(factory):
    """What a full reply left out is asked for together; and one by one only where it has room for nothing."""
    factory.event("ada", add([WAFER]), making([WAFER], [DIE, CHIP]), seen([CHIP]))
    honest = factory.reach(WAFER)
    for room in (0, 1, 2):
        asked = []

        class Small(DirectStub):
            def GetHistories(self, request, room=room, asked=asked):
                asked.append(len(request.subjects))
                reply = super().GetHistories(request)
                left_out = [HistoryReply(more=True)] * max(0, len(request.subjects) - room)
                return HistoriesReply(histories=[*reply.histories[:room], *left_out])

        report = factory.reach(WAFER, stubs={"a": Small(factory.world["a"])})
        assert (report.problem, report.counts()) == ("", honest.counts())
        assert asked == {0: [1, 2], 1: [1, 2, 1], 2: [1, 2]}[room]


def test_what_nobody_knows(factory):
    factory.event("ada", add([CHIP]))
    report = factory.reach(part(99))
    assert report.problem_code == "UNKNOWN_PART"


def test_an_old_head_may_hide_more(factory):
    factory.event("ada", add([CHIP]))
    for late_ms, told in ((30_001, " 1 s older"), (600_000, " 570 s older")):
        report = factory.reach(CHIP, late_ms=late_ms)
        assert len(report.gaps) == 1
        assert f"{told} than three heartbeats" in report.gaps[0]
    assert factory.reach(CHIP, late_ms=30_000).gaps == []


def test_so_many_and_no_more(factory, monkeypatch):
    factory.event("ada", add([WAFER]), making([WAFER], [DIE, CHIP]), making([CHIP], [part(8)]))
    monkeypatch.setattr("client.reach_walk.REACHED_MAX", 3)
    assert len(factory.reach(WAFER).reached) == 3
    assert factory.reach(WAFER).exit_code == 1
    monkeypatch.undo()
    monkeypatch.setattr("client.reach.DEPTH_MAX", 2)
    assert "more than 2 steps" in factory.reach(WAFER).gaps[0]


def test_what_crossed_inside_a_box_is_with_who_has_the_box(two):
    """Nobody touched it over there, so no record of it is there: where it is follows from the box."""
    two.event("ada", add([WAFER, BOX]), making([WAFER], [CHIP, DIE]))
    two.event("ada", packing(BOX, [CHIP]), packing(PALLET, [BOX]))
    two.export(PALLET, "bob")
    report = two.reach(WAFER)
    found = things(report)
    assert (found["a", CHIP], found["b", CHIP], found["b", PALLET]) == (
        "DEPARTED",
        "LIVE bob",
        "LIVE bob holds",
    )
    assert report.gaps == []
    assert {row["member"]: row["certain"] for row in report.holders()} == {"ada": 1, "bob": 1}
    # Both are unpacked; that frees what has no record, too.
    assert crossing.materialise(two.world, "b", BOX).ok
    two.event("bob", unpacking(PALLET, [BOX]), on="b")
    two.event("bob", unpacking(BOX), on="b")
    two.event("bob", shipping([BOX], "ben"), on="b")
    two.event("ben", receiving([BOX]), on="b")
    assert things(two.reach(WAFER))["b", CHIP] == "LIVE bob"
    # Once somebody touched it, it speaks for itself; and it is found from there as well.
    assert crossing.materialise(two.world, "b", CHIP).ok
    two.event("bob", shipping([CHIP], "bea"), on="b")
    two.event("bea", receiving([CHIP]), on="b")
    report = two.reach(WAFER)
    assert report.problem == ""
    assert things(report)["b", CHIP] == "LIVE bea"
    assert things(two.reach(CHIP, on="b"))["a", CHIP] == "DEPARTED"


def test_a_lot_on_two_chains(two):
    two.event("ada", add([], [quantity(LOT, 100)]))
    assert crossing.send_amount(two.world, "a", LOT, 30, "bob", member="ada").ok
    on_its_way = two.reach(LOT)
    assert (on_its_way.problem, on_its_way.gaps) == ("", [])
    (lot_,) = (thing for thing in on_its_way.reached if thing.chain == "a")
    assert {(a.status, decimals.to_text(a.amount)) for a in lot_.amounts} == {
        ("LIVE", "70"),
        ("IN_TRANSIT", "30"),
    }
    two.world.relay()
    waits = two.reach(LOT)
    assert (waits.problem, waits.gaps) == ("", [])
    assert {row["member"] for row in waits.holders()} >= {"ada", "bob"}
    two.event("bob", receiving(amounts=[quantity(LOT, 30)]), on="b")
    two.event(
        "bob", shipping(to="ben", amounts=[quantity(LOT, 10)]), destroying([], [quantity(LOT, 1)]), on="b"
    )
    for start in ("a", "b"):
        report = two.reach(LOT, on=start)
        assert (report.problem, report.gaps) == ("", [])
        there = next(thing for thing in report.reached if thing.chain == "b")
        places = {(a.place, decimals.to_text(a.amount)) for a in there.amounts}
        assert places == {("bob", "19"), ("bob>ben", "10")}


def test_what_a_chain_does_not_account_for_is_a_gap(two, monkeypatch):
    two.event("ada", add([], [quantity(LOT, 100)]))
    assert crossing.send_amount(two.world, "a", LOT, 30, "bob", member="ada").ok
    two.world.relay()
    monkeypatch.setattr("client.reach_amounts.inbound_place", lambda *_: "elsewhere")
    (gap,) = two.reach(LOT).gaps
    assert gap.startswith(f"30 pieces of {LOT} went from chain a to chain b, and 0 are accounted for there")


def test_an_amount_that_crossed_inside_a_box(two):
    two.event("ada", add([BOX, PALLET], [quantity(LOT, 100)]), packing(BOX, [], [quantity(LOT, 30)]))
    two.event("ada", packing(PALLET, [BOX]))
    two.export(PALLET, "bob")
    report = two.reach(LOT)
    assert (report.problem, report.gaps) == ("", [])
    there = next(thing for thing in report.reached if (thing.chain, thing.id) == ("b", LOT))
    assert [decimals.to_text(amount.amount) for amount in there.amounts] == ["30"]
    assert things(report)["b", PALLET] == "LIVE bob holds"


def test_what_was_taken_over_from_a_lost_chain_may_have_led_on_there():
    world, name = lost_world()
    assert rehome(world, name).ok
    world["a"].settle()
    report = Reach({world["a"].chain_id: verified(world["a"])}).run(name, world["a"].chain_id, lambda: 0)
    assert report.problem == ""
    assert [thing.status for thing in report.reached] == ["LIVE"]
    (gap,) = report.gaps
    assert "taken over from a chain that is lost" in gap


def test_a_box_that_was_emptied_abroad_and_filled_anew_at_home():
    """What left in it may be in it still, for all that is known here; it is asked for where it went."""
    world = World()
    gone, new, box = (world.commission("a", "ada") for _ in range(3))
    pack(world, "a", box, gone)
    carry(world, "a", box, "bob")
    update(world, "b", "a")
    assert materialise(world, "b", gone).ok
    pack(world, "b", box, gone, action="DELETE")
    carry(world, "b", box, "ada")
    pack(world, "a", box, new)
    world.settle()
    chains = {chain.chain_id: verified(chain) for chain in world.chains.values()}
    report = Reach(chains).run(box, world["a"].chain_id, lambda: 0)
    assert not report.problem
    reached = {(one.chain, one.id): one.status for one in report.reached}
    assert reached["a", new] == "LIVE"
    assert reached["b", gone] == "LIVE"
