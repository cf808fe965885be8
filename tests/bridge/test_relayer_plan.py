"""The planner alone, on views made by hand, and its loop over real chains."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.packet import ERROR, SUCCESS
from bridge.relayer_plan import (
    Acknowledge,
    ChainView,
    ClientView,
    Receive,
    ReceivedPacket,
    SentPacket,
    TimeOut,
    Update,
    groups,
    headers_together,
    plan,
    update_operation,
)
from ledger import hashes, state
from ledger.block import sign_transaction
from ledger.limits import HEADERS_PER_UPDATE_MAX, TRANSACTION_BYTES_MAX, VALIDATORS_MAX
from proto.chiptrace.v1.bridge_pb2 import Packet
from proto.chiptrace.v1.consensus_pb2 import SignedHeader
from proto.chiptrace.v1.ledger_pb2 import (
    DEPARTED,
    LIVE,
    OFFERED,
    VALIDATOR,
    Change,
    PutKey,
    Reason,
    SetValidators,
    Validator,
    ValidatorSet,
)
from tests.bridge.two_chains import MEMBERS, TRUSTING_MS, World
from tests.ledger.chain_fixture import key_of, seed_of

PERIOD = 1_000_000


def client(name="b-1", latest=10, time_ms=1_000, frozen=False):
    return ClientView(name, latest, time_ms, PERIOD, frozen)


def packet(sequence, source="a-1", destination="b-1", timeout_ms=50_000):
    return Packet(
        source_client=source, destination_client=destination, sequence=sequence, timeout_ms=timeout_ms
    )


def view(name, head=20, head_ms=2_000, *, sent=(), received=(), proven_from=1, **changes):
    other = "b" if name == "a" else "a"
    return ChainView(
        head_height=head,
        head_time_ms=head_ms,
        proven_time_ms=changes.pop("proven_ms", head_ms - 10),
        proven_from=proven_from,
        client=client(f"{other}-1", **changes),
        open_packets=tuple(
            SentPacket(packet(n, f"{other}-1", f"{name}-1", timeout), height) for n, height, timeout in sent
        ),
        received=tuple(ReceivedPacket(n, height, answer) for n, height, answer in received),
    )


def test_nothing_to_do():
    done = plan(view("a"), view("b"))
    assert (done.on_a, done.on_b, done.stuck) == ((), (), ())


def test_a_packet_is_received_under_the_newest_header_after_an_update():
    done = plan(view("a", head=20, sent=[(1, 15, 50_000)]), view("b", latest=10))
    key = state.commitment_key("b-1", 1)
    assert done.on_b == (Update("a-1", 10, 20), Receive(packet(1, "b-1", "a-1"), 20, key))
    assert done.on_a == ()


def test_a_header_that_is_there_serves_without_an_update():
    done = plan(view("a", head=20, sent=[(1, 15, 50_000)]), view("b", latest=16))
    assert done.on_b == (Receive(packet(1, "b-1", "a-1"), 16, state.commitment_key("b-1", 1)),)


@pytest.mark.parametrize(("latest", "proven_from"), [(15, 1), (16, 16), (16, 17)])
def test_a_header_too_old_to_prove_under_does_not_serve(latest, proven_from):
    done = plan(view("a", head=20, sent=[(1, 15, 50_000)], proven_from=proven_from), view("b", latest=latest))
    assert done.on_b[0] == Update("a-1", latest, 20)
    assert done.on_b[1].header_height == 20


def test_what_the_head_does_not_certify_yet_waits():
    assert plan(view("a", head=20, sent=[(1, 20, 50_000)]), view("b")).on_b == ()


def test_what_was_received_is_not_brought_again():
    done = plan(view("a", sent=[(1, 15, 50_000), (2, 16, 50_000)]), view("b", received=[(1, 19, SUCCESS)]))
    assert [action.packet.sequence for action in done.on_b if isinstance(action, Receive)] == [2]


@pytest.mark.parametrize("answer", [SUCCESS, ERROR])
def test_an_answer_is_brought_back(answer):
    done = plan(view("a", sent=[(1, 15, 50_000)], latest=3), view("b", head=30, received=[(1, 29, answer)]))
    key = state.acknowledgement_key("a-1", 1)
    assert done.on_a == (Update("b-1", 3, 30), Acknowledge(packet(1, "b-1", "a-1"), answer, 30, key))


def test_an_answer_that_is_not_certified_yet_waits_and_does_not_time_out():
    a = view("a", sent=[(1, 15, 1_000)])
    assert plan(a, view("b", head=30, received=[(1, 30, SUCCESS)])).on_a == ()


def test_a_late_packet_times_out_when_a_late_state_is_certified():
    a = view("a", sent=[(1, 15, 1_500)], latest=3)
    early = plan(a, view("b", head=30, head_ms=1_500, proven_ms=1_499))
    assert (early.on_a, early.on_b) == ((), ())
    done = plan(a, view("b", head=30, head_ms=1_501, proven_ms=1_500))
    key = state.receipt_key("a-1", 1)
    assert done.on_a == (Update("b-1", 3, 30), TimeOut(packet(1, "b-1", "a-1", 1_500), 30, key))
    assert done.on_b == ()


def test_ends_come_before_beginnings():
    a = view("a", sent=[(1, 15, 50_000), (2, 15, 1_500)])
    b = view("b", head=30, received=[(1, 19, SUCCESS)], sent=[(1, 18, 50_000)])
    kinds = [type(action) for action in plan(a, b).on_a]
    assert kinds == [Update, Acknowledge, TimeOut, Receive]


def test_terminal_states_are_terminal():
    a = view("a", sent=[(1, 15, 50_000)])
    frozen = plan(a, view("b", frozen=True))
    assert frozen.on_b == ()
    assert "frozen" in frozen.stuck[0]
    expired = plan(a, view("b", head_ms=1_000 + PERIOD + 1))
    assert expired.on_b == ()
    assert "expired" in expired.stuck[0]


def test_10_a_client_that_grows_old_is_refreshed_without_packets():
    young = plan(view("a"), view("b", head_ms=1_000 + PERIOD // 3 - 1))
    assert young.on_b == ()
    old = plan(view("a", head_ms=1_000 + PERIOD // 3), view("b", head_ms=1_000 + PERIOD // 3 + 1))
    assert old.on_b == (Update("a-1", 10, 20),)


def test_a_node_behind_the_client_is_not_believed():
    assert plan(view("a", head=9, sent=[(1, 5, 50_000)]), view("b", latest=10)).on_b == ()


def test_what_was_refused_is_left_out_of_its_chain_only():
    a, b = view("a", sent=[(1, 15, 50_000)]), view("b", sent=[(1, 15, 50_000)])
    key = state.commitment_key("b-1", 1)
    done = plan(a, b, skip_on_b=[key])
    assert done.on_b == ()
    assert done.on_a != ()
    assert plan(a, b, skip_on_a=[key]).on_b != ()


def test_a_plan_is_bounded_and_takes_the_oldest_first():
    a = view("a", sent=[(n, 15, 50_000) for n in range(1, 50)])
    done = plan(a, view("b"), packets_max=5)
    assert [action.packet.sequence for action in done.on_b[1:]] == [1, 2, 3, 4, 5]


def test_a_backlog_has_its_own_share_and_what_is_new_has_another():
    a = view("a", sent=[(n, 15, 50_000) for n in range(1, 50)])
    old = [state.commitment_key("b-1", n) for n in range(1, 41)]
    done = plan(a, view("b"), packets_max=5, clearing_on_b=old)
    assert [action.packet.sequence for action in done.on_b[1:]] == [1, 2, 3, 4, 5, 41, 42, 43, 44, 45]
    assert plan(a, view("b"), packets_max=5, clearing_on_a=old) == plan(a, view("b"), packets_max=5)


def test_a_thousand_packets_go_under_one_update():
    a = view("a", sent=[(n, 15, 50_000) for n in range(1, 1_001)])
    kinds = [type(action) for action in plan(a, view("b")).on_b]
    assert kinds == [Update] + [Receive] * 1_000


@given(st.lists(st.integers(1, 100_000), max_size=60))
def test_groups_keep_order_and_fit_a_transaction(sizes):
    actions = [Update(str(index), index, size) for index, size in enumerate(sizes)]
    cut = groups(actions, lambda action: action.to_height)
    assert [action for group in cut for action in group] == actions
    for group in cut:
        assert group
        assert sum(action.to_height for action in group) <= TRANSACTION_BYTES_MAX - 1_000
    # No group could take the first of the next one.
    for group, following in pairwise(cut):
        together = sum(action.to_height + 16 for action in (*group, following[0]))
        assert together > TRANSACTION_BYTES_MAX - 1_024


def test_groups_have_no_more_actions_than_said():
    actions = [Update(str(number), number, 10) for number in range(7)]
    assert [len(group) for group in groups(actions, lambda _: 10, 3)] == [3, 3, 1]


views = st.builds(
    view,
    st.just("a"),
    head=st.integers(1, 30),
    head_ms=st.integers(1_000, 60_000),
    sent=st.lists(
        st.tuples(st.integers(1, 9), st.integers(1, 30), st.integers(1, 60_000)),
        max_size=6,
        unique_by=lambda x: x[0],
    ),
    latest=st.integers(0, 30),
    frozen=st.booleans(),
)


@settings(max_examples=100, deadline=None)
@given(views, views)
def test_whatever_is_seen_plans_are_sound(a, b):
    done = plan(a, b)
    assert done == plan(a, b)
    for actions, source, host in ((done.on_a, b, a), (done.on_b, a, b)):
        height = host.client.latest_height
        for action in actions:
            if isinstance(action, Update):
                assert action.from_height == height < action.to_height <= source.head_height
                height = action.to_height
            else:
                assert action.header_height == height
        if host.client.frozen:
            assert actions == ()


# ---- over real chains ---------------------------------------------------------------------------------------


def test_a_hundred_packets_both_ways_under_few_updates():
    world = World()
    parts = [world.commission("a", "ada") for _ in range(60)]
    for part in parts:
        assert world.send("a", part, "bob").ok
    world.relay()
    assert all(world.part("b", part).status == OFFERED for part in parts)
    assert all(world.part("a", part).status == DEPARTED for part in parts)
    log = world.relayers["a", "b"].log
    assert all(result.ok for _, _, result in log)
    assert len(world["b"].client("a-1").stored_heights) <= 2
    assert len(log) <= 6


def test_two_relayers_at_once_only_share_the_work():
    world = World()
    parts = [world.commission("a", "ada") for _ in range(3)]
    for part in parts:
        assert world.send("a", part, "bob").ok
    relayer = world.relayers["a", "b"]
    world.settle()
    for _ in range(3):
        first = relayer.plan()
        for host, source, actions in (
            (relayer.a, relayer.b, first.on_a),
            (relayer.b, relayer.a, first.on_b),
        ):
            relayer.bring(host, source, actions)
            relayer.bring(host, source, actions)
        world.settle()
    assert all(result.ok for _, _, result in relayer.log)
    assert {result.reason for _, _, result in relayer.log} == {0, Reason.REDUNDANT}
    assert all(world.part("a", part).status == DEPARTED for part in parts)


def test_a_relayer_that_was_down_for_long_catches_up():
    world = World()
    part, late = world.commission("a", "ada"), world.commission("a", "ada")
    assert world.send("a", part, "bob", timeout_ms=3_600_000).ok
    assert world.send("a", late, "bob", timeout_ms=1_000).ok
    for _ in range(100):
        world["a"].produce()
        world["b"].produce()
    # What was provable then is not any more; all is proven under new headers.
    assert world["a"].app.views.served()[0] > 20
    world.relay()
    assert world.part("b", part).status == OFFERED
    assert world.part("a", late).status == LIVE


def test_the_relayer_follows_changes_of_validators():
    world = World()
    part = world.commission("a", "ada")
    for number in (7, 8):
        seed = bytes([number]) * 32
        key = hashes.public_key(seed)
        world["a"].seeds[key] = seed
        members = [Validator(key=key_of(member, "validator"), member=member) for member in MEMBERS["a"][:3]]
        assert world.govern(
            "a",
            Change(put_key=PutKey(key=key, member="ann", role=VALIDATOR)),
            Change(set_validators=SetValidators(validators=[*members, Validator(key=key, member="ann")])),
            joiners=[seed],
        ).ok
    assert world.send("a", part, "bob").ok
    world.relay()
    assert world.part("b", part).status == OFFERED
    assert world["b"].client("a-1").validators.in_force_from > 3
    assert seed_of("ann", "validator") in world["a"].seeds.values()


def test_clients_are_kept_fresh_for_a_long_time_without_packets():
    world = World()
    for _ in range(8):
        world.pass_time(TRUSTING_MS // 3 + 1_000)
        world.relay()
    part = world.commission("a", "ada")
    assert world.send("a", part, "bob").ok
    world.relay()
    assert world.part("b", part).status == OFFERED


def test_the_headers_of_one_update_fit_into_one_transaction():
    """31 validators, all of whom signed, with names of 32 letters; the set changed at each height."""
    members = ValidatorSet(validators=[Validator(key=bytes(32), member="m" * 32)] * VALIDATORS_MAX)
    signed = SignedHeader(header=bytes(240), next_validators=members.SerializeToString())
    signed.certificate.signatures.extend([bytes(64)] * VALIDATORS_MAX)
    headers = [signed] * HEADERS_PER_UPDATE_MAX
    kept = headers_together(headers)
    update = update_operation(Update("client", 1, 99), kept)
    data = sign_transaction(bytes(32), bytes(32), [update], 2**60, bytes(16))
    assert HEADERS_PER_UPDATE_MAX * signed.ByteSize() > TRANSACTION_BYTES_MAX >= len(data)
    assert len(data) + signed.ByteSize() > TRANSACTION_BYTES_MAX - 2_048
    small = [SignedHeader(header=bytes(240))] * HEADERS_PER_UPDATE_MAX
    assert headers_together(small) == small
    assert headers_together([]) == []
