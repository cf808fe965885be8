"""Manifests: a dictionary in ascending order, however it is changed."""

from hypothesis import given
from hypothesis import strategies as st

from ledger import manifest
from ledger.limits import MANIFEST_ROWS_MAX
from ledger.manifest import Manifest, row_of
from proto.chiptrace.v1.ledger_pb2 import GenerationRecord, ManifestRow

TEXTS = st.sampled_from(["", "a", "b", "ab"])
ROWS = st.tuples(TEXTS, TEXTS, TEXTS, TEXTS)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), ROWS, st.none() | st.integers(0, 3)),
        st.tuples(st.just("prepare"), st.sampled_from([0, 1, 100])),
        st.tuples(st.just("write back")),
    ),
    max_size=40,
)


def record_of(rows: dict) -> GenerationRecord:
    record = GenerationRecord(container="box")
    for (item_class, lot, unit, place), count in sorted(rows.items()):
        record.manifest.add(item_class=item_class, lot=lot, unit=unit, place=place, count=count)
    return record


@given(st.dictionaries(ROWS, st.integers(0, 3)), STEPS)
def test_a_manifest_is_a_dictionary_in_order(rows, steps):
    record, model = record_of(rows), dict(rows)
    found = Manifest(record)
    for step in steps:
        match step:
            case ("put", row, count):
                assert found.count(row) == model.get(row)
                found.put(row, count)
                if count is None:
                    model.pop(row, None)
                else:
                    model[row] = count
                assert found.count(row) == model.get(row)
            case ("prepare", more):
                found.prepare(more)
            case ("write back",):
                found.write_back()
                assert record == record_of(model)
        assert len(found) == len(model)
        assert sorted(found.rows()) == sorted(model)
        assert bool(found) == bool(model)
    found.write_back()
    assert record == record_of(model)


def looked_at(monkeypatch, rows: int, changes: int) -> int:
    """How many rows are looked at to change so many of a manifest."""
    record = record_of({(f"class {n:04}", "", "", ""): 1 for n in range(rows)})
    looked: list[ManifestRow] = []
    monkeypatch.setattr(manifest, "row_of", lambda row: looked.append(row) or row_of(row))
    found = Manifest(record)
    for n in range(changes):
        found.prepare(1)
        row = (f"class {n * 7 % rows:04}", "", "", "")
        found.put(row, (found.count(row) or 0) + 1)
    found.write_back()
    return len(looked)


def test_one_thing_more_costs_the_same_however_much_is_inside(monkeypatch):
    assert looked_at(monkeypatch, MANIFEST_ROWS_MAX, 1) <= 24
    # And many at once no more than all that is inside, and what was changed before that was clear.
    assert looked_at(monkeypatch, MANIFEST_ROWS_MAX, 1_000) <= MANIFEST_ROWS_MAX * 9
