"""Whatever is sent is carried out or refused, and what then stands holds together."""

from collections import Counter

import pytest

from ledger import decimals, grants, history, intervals, snapshot, state
from ledger.containers import normalise
from ledger.state import Kind, MappingReader
from proto.chiptrace.v1.ledger_pb2 import (
    BalanceRecord,
    ClosedBy,
    DelegationRecord,
    DelegationsBelowRecord,
    GenerationRecord,
    GrantRecord,
    GrantsBelowRecord,
    LotRecord,
    PartRecord,
    PartStatus,
    PoliciesRecord,
    PolicyRecord,
    TransformationRecord,
)
from tests.ledger import hostile
from tests.ledger.rules_world import World


def standing_values(world: World) -> dict[bytes, bytes]:
    values = {**world.first, **world.overlay.changes}
    return {key: value for key, value in values.items() if value is not None}


def of_kind(values: dict[bytes, bytes], kind: Kind, components: int, record: type):
    """Records of one kind, by the components of their keys."""
    for key, value in values.items():
        found, parts = state.parse_state_key(key)
        if found == kind and len(parts) == components:
            yield tuple(part.decode("utf-8", "replace") for part in parts), record.FromString(value)


def check_histories(world: World, values: dict[bytes, bytes]) -> None:
    assert world.entries.keys() <= values.keys()
    for key, value in values.items():
        found = snapshot.history_in(key, value)
        if found is not None:
            history.verify_history(world.chain_id, found, world.entries.get(key, []))


def check_containers(values: dict[bytes, bytes]) -> None:
    """What is inside is counted there, and in nothing that was closed; amounts of what is inside are above zero."""
    reader = MappingReader(values)
    parts = {name: record for (name,), record in of_kind(values, Kind.PART, 1, PartRecord)}
    fillings = {
        (one.container, one.generation): one
        for key, value in values.items()
        if key[0] == Kind.GENERATION
        for one in [GenerationRecord.FromString(value)]
    }
    inside: Counter[tuple[str, int]] = Counter()
    for record in parts.values():
        assert (record.status == PartStatus.OFFERED) == bool(record.offered_to)
        now = record if record.status == PartStatus.SPLIT else normalise(reader, record)
        if now.container and now.status != PartStatus.SPLIT:
            inside[now.container, now.generation] += 1
    for place, filling in fillings.items():
        if not filling.closed_by:
            assert parts[filling.container].open
            assert filling.count == inside[place]
    rows = {
        (row.lot, row.place, row.unit)
        for filling in fillings.values()
        if filling.closed_by in (ClosedBy.CLOSED_BY_UNSPECIFIED, ClosedBy.DESTROY)
        for row in filling.manifest
        if not row.count
    }
    held = {place: one.amount for place, one in of_kind(values, Kind.BALANCE, 3, BalanceRecord)}
    assert all(decimals.sign(amount) > 0 for amount in held.values())
    assert {place for place in held if place[1] in parts} == {
        place for place in rows if place[1] in parts and place in held
    }
    open_rows = {place for place in rows if parts[place[1]].open}
    assert open_rows <= held.keys()


def check_serials(values: dict[bytes, bytes]) -> None:
    """Every serial of a lot is held by one record."""
    for _, lot in of_kind(values, Kind.LOT, 1, LotRecord):
        if lot.serials.count:
            found = intervals.pieces(MappingReader(values), lot, 0, lot.serials.count, 10_000)
            assert [0, *(piece.end for piece in found)] == [
                *(piece.start for piece in found),
                lot.serials.count,
            ]


def check_runs(values: dict[bytes, bytes]) -> None:
    for _, run in of_kind(values, Kind.TRANSFORMATION, 1, TransformationRecord):
        assert run.history.n >= 2 * run.undone
        for item in run.balances:
            said = (item.made, item.scrap, item.samples, item.declared)
            assert all(decimals.sign(amount) >= 0 for amount in said)
            used = decimals.add(decimals.add(item.made, item.scrap), item.samples)
            assert decimals.compare(used, item.declared) <= 0


def check_rights(values: dict[bytes, bytes]) -> None:
    """What is counted below a prefix lies there; what is listed of a prefix is in force."""
    below: Counter[tuple[str, ...]] = Counter()
    for _, grant in of_kind(values, Kind.GRANT, 1, GrantRecord):
        below.update((outer, "below") for outer in grants.outer_prefixes(grant.prefix) if not grant.revoked)
    counted = {key: one.grants for key, one in of_kind(values, Kind.GRANT, 2, GrantsBelowRecord)}
    assert counted == below
    below.clear()
    for _, made in of_kind(values, Kind.DELEGATION, 2, DelegationRecord):
        assert made.serials_left <= made.serials
        covering = grants.outer_prefixes(made.prefix)
        below.update((made.member, outer, "below") for outer in covering if not made.revoked)
    counted = {
        key: one.delegations for key, one in of_kind(values, Kind.DELEGATION, 3, DelegationsBelowRecord)
    }
    assert counted == below
    policies = [one for _, one in of_kind(values, Kind.POLICY, 1, PolicyRecord)]
    for (prefix, _), listed in of_kind(values, Kind.POLICY, 2, PoliciesRecord):
        there = [one for one in policies if one.policy.prefix == prefix]
        assert list(listed.in_force) == sorted(one.policy.id for one in there if not one.revoked_at)
        assert sorted(listed.ended) == sorted(one.policy.id for one in there if one.revoked_at)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_sent_is_carried_out_or_refused(seed):
    walk = hostile.Walk(seed)
    for _ in range(4):
        for _ in range(100):
            walk.step()
        values = standing_values(walk.world)
        check_histories(walk.world, values)
        check_containers(values)
        check_serials(values)
        check_runs(values)
        check_rights(values)
    assert walk.outcomes["ok"] > 30
    assert len(walk.outcomes) > 20
