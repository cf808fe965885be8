import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import codec, limits, state
from ledger.errors import InvariantBroken, Malformed, Refused, StoreError
from ledger.limits import STATE_VALUE_BYTES_MAX, U64_MAX
from ledger.state import Kind, MappingReader, Overlay
from proto.chiptrace.v1.ledger_pb2 import GrantRecord, MemberRecord, Reason, ValidatorSet, ValidatorsRecord

KINDS = st.sampled_from(Kind)
COMPONENTS = st.lists(st.binary(max_size=40), max_size=4)
SMALL_KEYS = st.sampled_from([bytes([n]) for n in range(6)])
VALUES = st.sampled_from([b"", b"a", b"b"])


@given(KINDS, COMPONENTS)
def test_a_key_gives_back_its_components(kind, components):
    assert state.parse_state_key(state.state_key(kind, *components)) == (kind, tuple(components))


@given(st.binary(max_size=40))
def test_any_bytes_are_one_key_or_malformed(data):
    try:
        kind, components = state.parse_state_key(data)
    except Malformed:
        return
    assert state.state_key(kind, *components) == data


@given(st.integers(0, U64_MAX), st.integers(0, U64_MAX))
def test_keys_sort_by_their_numbers(first, second):
    keys = [state.client_header_key("c", number) for number in (first, second)]
    assert (keys[0] < keys[1]) == (first < second)


def test_text_is_utf8_and_neighbours_do_not_run_together():
    assert state.parse_state_key(state.part_key("ü"))[1] == ("ü".encode(),)
    assert state.balance_key("ab", "c", "") != state.balance_key("a", "bc", "")


@pytest.mark.parametrize(
    "component, reason",
    [
        (-1, Reason.MALFORMED),
        (U64_MAX + 1, Reason.MALFORMED),
        ("\ud800", Reason.MALFORMED),
        (bytes(limits.KEY_COMPONENT_BYTES_MAX + 1), Reason.OVERSIZE),
    ],
)
def test_components_that_fit_no_key_are_refused(component, reason):
    with pytest.raises(Refused) as refusal:
        state.state_key(Kind.PART, component)
    assert refusal.value.reason == reason


def test_a_whole_key_has_a_greatest_size():
    longest = bytes(limits.KEY_COMPONENT_BYTES_MAX)
    most, rest = divmod(state.KEY_BYTES_MAX - 1, 2 + len(longest))
    key = state.state_key(Kind.PART, *[longest] * most, bytes(rest - 2))
    assert len(key) == state.KEY_BYTES_MAX
    with pytest.raises(Refused) as refusal:
        state.state_key(Kind.PART, *[longest] * most, bytes(rest - 1))
    assert refusal.value.reason == Reason.OVERSIZE


# ---- overlays against a dictionary ------------------------------------------------------------------------

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), SMALL_KEYS, VALUES),
        st.tuples(st.just("delete"), SMALL_KEYS),
        st.tuples(st.just("get"), SMALL_KEYS),
        st.tuples(st.just("among"), st.lists(SMALL_KEYS, max_size=4)),
        st.tuples(st.just("first"), VALUES),
        st.tuples(st.just("child")),
        st.tuples(st.just("merge")),
        st.tuples(st.just("drop")),
    ),
    max_size=40,
)


@settings(max_examples=300)
@given(st.dictionaries(SMALL_KEYS, VALUES), STEPS)
def test_an_overlay_is_a_dictionary_with_undo(below, steps):
    overlays = [Overlay(MappingReader(below))]
    models = [dict(below)]
    made = 0
    for step in steps:
        overlay, model = overlays[-1], models[-1]
        match step:
            case ("put", key, value):
                overlay.put(key, value)
                model[key] = value
            case ("delete", key):
                overlay.delete(key)
                model.pop(key, None)
            case ("get", key):
                assert overlay.get(key) == model.get(key)
            case ("among", keys):
                assert list(overlay.among(keys)) == [(key, model[key]) for key in keys if key in model]
            case ("first", value):
                made += 1
                overlay.put_first(b"first %d" % made, value)
                model[b"first %d" % made] = value
            case ("child",):
                overlays.append(overlay.child())
                models.append(dict(model))
            case ("merge",) if len(overlays) > 1:
                overlays.pop().merge()
                models[-2:] = [models[-1]]
            case ("drop",) if len(overlays) > 1:
                overlays.pop()
                models.pop()
    base = below
    for overlay, model in zip(overlays, models, strict=True):
        wanted = {
            key: model.get(key) for key in base.keys() | model.keys() if base.get(key) != model.get(key)
        }
        assert overlay.changes == wanted  # exactly what differs from below, nothing else
        base = model


def test_what_a_child_puts_back_is_no_change_of_its_parent():
    below = Overlay(MappingReader({b"a": b"1"}))
    below.put(b"a", b"2")
    below.put(b"b", b"2")
    child = below.child()
    child.put(b"a", b"1")
    child.delete(b"b")
    assert (child.get(b"a"), child.get(b"b")) == (b"1", None)
    child.merge()
    assert below.changes == {}


def test_touched_keys_are_counted_once_and_stay_counted_below():
    below = Overlay(MappingReader({b"a": b"1"}), keys_max=3)
    child = below.child(keys_max=2)
    child.get(b"a")
    child.put(b"a", b"2")
    child.put(b"b", b"2")
    with pytest.raises(Refused) as refusal:
        child.get(b"c")
    assert refusal.value.reason == Reason.TOO_MANY_KEYS
    other = below.child()  # the first child is dropped, and its work still counts
    other.get(b"c")
    with pytest.raises(Refused):
        other.put(b"d", b"")
    assert other.get(b"a") == b"1"
    assert below.keys_touched == 3
    assert below.changes == {}


def test_a_long_value_counts_as_many_keys_whether_it_is_read_or_written():
    size = limits.VALUE_BYTES_PER_KEY
    below = Overlay(MappingReader({b"a": b"x" * 3 * size, b"b": b"x" * (size - 1)}), keys_max=12)
    child = below.child(keys_max=6)
    child.get(b"b")  # one,
    child.get(b"a")  # and four
    child.put(b"a", b"y" * 3 * size)
    with pytest.raises(Refused, match="2048 bytes") as refusal:
        child.put(b"b", b"x" * 2 * size)
    assert refusal.value.reason == Reason.TOO_MANY_KEYS
    child.put(b"b", b"y" * size)
    child.put(b"b", b"y")
    with pytest.raises(Refused):
        child.get(b"c")
    # Six are counted below, whatever becomes of the child; a grandchild's are counted there, too.
    other = below.child(keys_max=12).child()
    other.put(b"c", b"z" * 4 * size)
    other.put(b"d", b"")
    with pytest.raises(Refused):
        other.put(b"e", b"")
    with pytest.raises(Refused):
        other.put(b"d", b"z" * size)
    assert below.changes == {}


class Asked(MappingReader):
    """Knows for which keys it was asked."""

    def __init__(self, values):
        super().__init__(values)
        self.keys = []

    def get(self, key):
        self.keys.append(key)
        return super().get(key)


def test_a_key_that_never_had_a_value_is_not_looked_for_and_counts():
    reader = Asked({b"a": b"1"})
    below = Overlay(reader, keys_max=3)
    child = below.child(keys_max=2)
    child.put_first(b"n", b"1")
    assert (child.get(b"n"), child.keys_touched, below.keys_touched, reader.keys) == (b"1", 1, 1, [])
    child.get(b"a")
    with pytest.raises(Refused) as refusal:
        child.put_first(b"m", b"")
    assert refusal.value.reason == Reason.TOO_MANY_KEYS
    child.merge()
    assert below.changes == {b"n": b"1"}
    # Where it was put before by another, that is what stands below.
    again = below.child()
    again.put_first(b"n", b"1")
    assert again.changes == {}
    again.put_first(b"m", b"2")
    with pytest.raises(Refused):
        again.put_first(b"o", b"")
    assert below.keys_touched == 3


def test_keys_are_touched_as_they_are_come_to():
    reader = Asked({b"b": b"1", b"d": b"2"})
    overlay = Overlay(reader, keys_max=3)
    found = overlay.among((b"a", b"b", b"c", b"d"))
    assert (next(found), reader.keys) == ((b"b", b"1"), [b"a", b"b"])
    with pytest.raises(Refused):
        next(found)
    assert reader.keys == [b"a", b"b", b"c"]


def test_records_are_looked_at_among_keys_whoever_reads():
    keys = [state.member_key(name) for name in ("ada", "bob", "cyd")]
    values = {keys[0]: b"\x0a\x03ada", keys[2]: b"\x0a\x03cyd"}
    for reader in (MappingReader(values), Overlay(MappingReader(values))):
        found = [state.looked_at(*pair, MemberRecord).id for pair in state.among(reader, keys)]
        assert found == ["ada", "cyd"]
    with pytest.raises(StoreError):
        state.looked_at(keys[0], b"\x0a", MemberRecord)


def test_a_value_has_a_greatest_size():
    overlay = Overlay(MappingReader({}))
    overlay.put(b"k", bytes(STATE_VALUE_BYTES_MAX))
    with pytest.raises(Refused) as refusal:
        overlay.put(b"k", bytes(STATE_VALUE_BYTES_MAX + 1))
    assert refusal.value.reason == Reason.OVERSIZE
    assert overlay.get(b"k") == bytes(STATE_VALUE_BYTES_MAX)


def test_only_a_child_merges():
    with pytest.raises(InvariantBroken):
        Overlay(MappingReader({})).merge()


def test_records_are_loaded_as_they_were_saved():
    overlay = Overlay(MappingReader({}))
    assert state.load(overlay, b"k", MemberRecord) is None
    state.save(overlay, b"k", MemberRecord(id="ada"))
    assert state.load(overlay, b"k", MemberRecord) == MemberRecord(id="ada")
    with pytest.raises(StoreError):
        state.load(MappingReader({b"k": b"\xff"}), b"k", MemberRecord)


def test_the_set_of_a_height_is_the_newest_that_began():
    overlay = Overlay(MappingReader({}))
    assert state.validators_at(overlay, 5) is None
    for start in (1, 7, 9):
        state.save(overlay, state.validator_set_key(start), ValidatorSet(in_force_from=start))
    state.save(overlay, state.VALIDATORS_KEY, ValidatorsRecord(starts=[1, 7, 9]))
    found = [state.validators_at(overlay, height) for height in (0, 1, 6, 7, 8, 9, 100)]
    assert [validators and validators.in_force_from for validators in found] == [None, 1, 1, 7, 7, 9, 9]


@given(st.lists(st.tuples(SMALL_KEYS, st.none() | st.integers(0, 3)), max_size=20))
def test_what_is_looked_at_is_what_is_loaded(steps):
    overlay = Overlay(MappingReader({b"a": codec.encode(GrantRecord(prefix="gs1:4012"))}))
    for key, number in steps:
        if number is None:
            overlay.delete(key)
        else:
            # One of few, and one that is too long to be kept.
            state.save(overlay, key, GrantRecord(prefix="gs1:4012", holder="h" * (number or 2_000)))
        for one in (b"a", key):
            assert state.look(overlay, one, GrantRecord) == state.load(overlay, one, GrantRecord)


def test_one_value_is_decoded_once_and_a_long_one_each_time():
    overlay = Overlay(MappingReader({}))
    for key, holder in ((b"a", "ada"), (b"b", "ada"), (b"c", "bob"), (b"d", "h" * 2_000)):
        state.save(overlay, key, GrantRecord(holder=holder))
    a, b, c, d = (state.look(overlay, key, GrantRecord) for key in (b"a", b"b", b"c", b"d"))
    assert a is b
    assert a is not c
    assert c.holder == "bob"
    assert d is not state.look(overlay, b"d", GrantRecord)
    assert state.look(overlay, b"e", GrantRecord) is None


def test_what_is_looked_at_and_is_no_record_stops_the_node():
    overlay = Overlay(MappingReader({b"a": b"\xff"}))
    for _ in range(2):
        with pytest.raises(StoreError):
            state.look(overlay, b"a", GrantRecord)
