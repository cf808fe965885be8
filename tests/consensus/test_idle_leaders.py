"""Leaders that vote and let their turns pass: when their views are a quarter as long, and when they are not (rule 7)."""

from consensus.presence import FULL_ROUND, TURNS_MIN
from consensus.schedule import IDLE_PART
from tests.consensus import chain
from tests.consensus.lone import FINALIZE, NOTARIZE, NULLIFY, SETTINGS, Lone

BASE_MS = SETTINGS.base_timeout_ms
IDLE = 1  # the leader of view 1 at height 40 of four, and of each fourth height from there on


def decide(node, view=None):
    """The open height is decided, in the first view that 2 or 3 leads if not in this one, and the next one opens."""
    view = view or next(view for view in (1, 2, 3) if node.leader(view) in (2, 3))
    block = node.block()
    block_hash = chain.hash_of(block)
    node.hear(2, node.certificate(FINALIZE, view, block_hash))
    node.hear(2, node.proposal(view, block))
    assert node.decided()
    node.parent, node.parent_finalization = block_hash, node.engine.finalization
    node.executed(block_hash)


def decide_up_to(node, height):
    while node.engine.height < height:
        decide(node)


def after_turns_passed(turns, index=0, n=4):
    """A node at height 40 that has seen the turns of its leader pass, so many in a row."""
    node = Lone(index, n, height=39)
    for view in range(1, n * (turns - 1) + 2):
        node.hear(2, node.certificate(NULLIFY, view))
    return node


def length_of_first_view(node):
    """How long it takes from the first word about the height on until we give the first view up."""
    begun = node.now
    node.vote(3, NULLIFY, 1)
    node.vote(2, NULLIFY, 1)
    while (NULLIFY, 1, b"") not in node.votes():
        node.now = max(node.now + 1, node.timer())
        node.wait(0)
    return node.now - begun


def test_after_some_turns_in_a_row_the_view_is_a_quarter_as_long():
    for turns in (1, TURNS_MIN - 1, TURNS_MIN, TURNS_MIN + 3):
        node = after_turns_passed(turns)
        decide(node, node.engine.view)
        decide_up_to(node, 44)
        assert node.leader(1) == IDLE
        part = IDLE_PART if turns >= TURNS_MIN else 1
        assert length_of_first_view(node) == BASE_MS // part


def test_others_are_waited_for_as_before():
    node = after_turns_passed(TURNS_MIN)
    decide(node, node.engine.view)
    assert node.leader(1) == 2
    assert length_of_first_view(node) == BASE_MS


def test_one_notarization_clears_it_whenever_it_comes():
    for view in (1, 5, 9):
        node = after_turns_passed(3)
        node.hear(2, node.certificate(NOTARIZE, view, bytes(32)))
        decide(node, node.engine.view)
        decide_up_to(node, 44)
        assert length_of_first_view(node) == BASE_MS


def test_a_view_that_was_notarized_before_it_was_given_up_is_no_turn_that_passed():
    node = Lone(0, height=39)
    for view in range(1, 6):  # of the two turns of its leader one has passed
        if view == 1:
            node.hear(2, node.certificate(NOTARIZE, view, bytes(32)))
        node.hear(2, node.certificate(NULLIFY, view))
    decide(node, node.engine.view)
    decide_up_to(node, 44)
    assert length_of_first_view(node) == BASE_MS


def test_a_decided_height_clears_its_leader():
    node = after_turns_passed(3)
    decide(node, node.engine.view)
    decide_up_to(node, 44)
    decide(node, 1)  # no notarization was seen here
    decide_up_to(node, 48)
    assert length_of_first_view(node) == BASE_MS


def test_each_eighth_round_is_full():
    for height in (44, 4 * 2 * FULL_ROUND, 4 * 2 * FULL_ROUND + 4):
        node = after_turns_passed(TURNS_MIN)
        decide(node, node.engine.view)
        decide_up_to(node, height)
        full = height // 4 % FULL_ROUND == 0
        assert length_of_first_view(node) == (BASE_MS if full else BASE_MS // IDLE_PART)


def test_never_oneself():
    node = after_turns_passed(TURNS_MIN, index=IDLE)
    decide(node, node.engine.view)
    decide_up_to(node, 44)
    assert length_of_first_view(node) == BASE_MS


def idle_views(n):
    """The views of a height of n validators that are shortened where nobody proposes any more."""
    node = Lone(0, n, height=n * (FULL_ROUND + 1) - 1)
    for view in range(1, n * TURNS_MIN + 1):
        node.hear(2, node.certificate(NULLIFY, view))
    presence, members = node.engine._presence, node.set
    return [view for view in range(1, 4 * n) if presence.idle(members, node.engine.height, view)]


def test_only_as_many_views_as_dishonest_ones_may_lead_in_a_row():
    """From there on all is as it was, whatever is believed of whom."""
    for n in (1, 2, 3, 4, 6, 7, 10, 31):
        third = n // 3
        own = (-n * (FULL_ROUND + 1)) % n  # the view that we lead is never among them
        assert idle_views(n) == [view for view in range(1, third + 1) if view != own]


def test_a_view_entered_by_a_notarization_is_never_shortened():
    """Its leader may be waiting for the finalization."""
    for kind, part in ((NOTARIZE, 1), (NULLIFY, IDLE_PART)):
        node = Lone(0, 7, height=7 * (FULL_ROUND + 1) - 1)
        for view in range(1, 7 * TURNS_MIN + 1):
            node.hear(3, node.certificate(NULLIFY, view))
        block_hash = chain.hash_of(node.block())
        node.hear(3, node.certificate(FINALIZE, 15, block_hash))
        node.hear(3, node.proposal(15, node.block()))
        node.parent, node.parent_finalization = block_hash, node.engine.finalization
        node.executed(block_hash)
        node.hear(3, node.certificate(kind, 1, bytes(32) if kind == NOTARIZE else b""))
        assert node.engine.view == 2
        begun = node.now
        while (NULLIFY, 2, b"") not in node.votes():
            node.now = max(node.now + 1, node.timer())
            node.wait(0)
        assert node.now - begun == BASE_MS * 3 // 2 // part


def test_a_restarted_node_knows_nobody_idle():
    """The hint is not durable: it waits longer than the others, who wait for it, and learns in two turns."""
    node = after_turns_passed(TURNS_MIN)
    again = Lone(0, height=43, journal=node.journal)
    assert length_of_first_view(again) == BASE_MS
