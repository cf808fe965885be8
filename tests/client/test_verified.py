"""One chain seen by someone who believes only its id: pinned heights, times, budgets; lies stand in the audit's tests."""

from dataclasses import replace

import pytest

from client.audit import Audit
from client.audit_report import Verdict
from client.connection import NodeRefused
from client.records import proven_leaf
from client.verified import Budget, NotVerifiable
from ledger import codec, state
from ledger.block import app_hash, decode_header
from ledger.limits import PROVE_KEYS_MAX
from proto.chiptrace.v1.consensus_pb2 import SignedHeader
from proto.chiptrace.v1.ledger_pb2 import AppHashOpening, Change, PartRecord, Reason, SetValidators
from proto.chiptrace.v1.node_pb2 import HeadersReply, ProveRequest
from tests.bridge.two_chains import PREFIX, BridgedChain, Clock, World, object_event, serial
from tests.client.direct import DirectStub, verified


@pytest.fixture
def world():
    return World("a", "b")


def test_values_and_absences_at_one_pinned_height(world):
    parts = [world.commission("a", "ada") for _ in range(3)]
    world.settle()
    view = verified(world["a"])
    keys = [state.part_key(name) for name in (*parts, serial(999))] * 2
    found = view.values(keys)
    assert [value is not None for value in found.values()] == [True, True, True, False]
    height = view.snapshot().height
    world.commission("a", "ada")
    world.settle()
    assert view.record(state.part_key(serial(4)), PartRecord) is None
    assert view.snapshot().height == height
    view.repin()
    assert view.record(state.part_key(serial(4)), PartRecord).holder == "ada"


def test_more_keys_than_fit_one_question(world):
    world.commission("a", "ada")
    world.settle()
    view = verified(world["a"])
    assert (
        len(view.values(state.part_key(serial(n)) for n in range(PROVE_KEYS_MAX + 5))) == PROVE_KEYS_MAX + 5
    )


def test_headers_are_followed_through_changes_of_the_set(world):
    chain = world["a"]
    validators = list(chain.info.validators.validators)
    for turn in (1, 2, 3):
        rotated = validators[turn:] + validators[:turn]
        assert world.govern("a", Change(set_validators=SetValidators(validators=rotated))).ok
        chain.produce()
    chain.settle()
    view = verified(chain)
    assert view.snapshot().height == chain.height - 1
    assert view.tally.certificates > 3


def test_times_are_those_of_the_headers(world):
    part = world.commission("a", "ada")
    world.settle()
    view = verified(world["a"])
    record = view.record(state.part_key(part), PartRecord)
    (only,) = view.history(state.part_key(part), record.history)
    height = only.entry.height
    assert view.times([height]) == {height: world["a"].app.store.log_leaf(height).time_ms}
    for wrong in (0, view.snapshot().height + 1):
        with pytest.raises(NotVerifiable, match="not decided"):
            view.times([wrong])


def test_a_history_is_fetched_once(world):
    part = world.commission("a", "ada")
    world.settle()
    view = verified(world["a"])
    record = view.record(state.part_key(part), PartRecord)
    first = view.history(state.part_key(part), record.history)
    before = view.connection.bytes_received
    assert view.history(state.part_key(part), record.history) is first
    assert view.connection.bytes_received == before


class Forgetful(DirectStub):
    """Serves a pinned height no more after some answers, so many times."""

    def __init__(self, chain, after, times):
        super().__init__(chain)
        self.left, self.times, self.after = after, times, after

    def Prove(self, request):
        if request.height:
            self.left -= 1
            if self.left < 0 and self.times:
                self.times, self.left = self.times - 1, self.after
                raise NodeRefused("too old", Reason.HEIGHT_NOT_SERVED)
        return super().Prove(request)


@pytest.mark.parametrize(
    ("times", "verdict"), [(1, Verdict.VERIFIED), (2, Verdict.VERIFIED), (9, Verdict.NOT_VERIFIABLE)]
)
def test_a_height_that_is_served_no_more_is_pinned_anew_so_many_times(world, times, verdict):
    part = world.commission("a", "ada")
    world.settle()
    stub = Forgetful(world["a"], 1, times)
    views = {world["a"].chain_id: verified(world["a"], stub)}
    report = Audit(views).run(part, world["a"].chain_id, lambda: 0)
    assert report.verdict is verdict
    assert report.problem_code == ("HEIGHT_NOT_SERVED" if times == 9 else "")


def test_time_is_part_of_the_budget(world):
    world.settle()
    view = verified(world["a"])
    view.budget = Budget(view.now_ms() - 1, 1_000, 1_000_000)
    with pytest.raises(NotVerifiable, match="more time"):
        view.snapshot()


def test_a_chain_without_a_provable_block_says_so():
    chain = BridgedChain("a", Clock())
    chain.produce()
    with pytest.raises(NotVerifiable) as raised:
        verified(chain).snapshot()
    assert raised.value.code in ("NOT_SYNCED", "HEIGHT_NOT_SERVED")


def test_time_increases_over_all_heights_that_were_asked_for(world, monkeypatch):
    """A log whose quorum is corrupt can prove any times; also those that were asked for one by one are held together."""
    world.commission("a", "ada")
    world.settle()

    def told(*arguments):
        leaf = proven_leaf(*arguments)
        return replace(leaf, time_ms=7) if leaf.height <= 2 else leaf

    together = verified(world["a"])
    monkeypatch.setattr("client.verified.proven_leaf", told)
    with pytest.raises(NotVerifiable, match="time does not increase") as raised:
        together.times([1, 2])
    assert raised.value.code == "BAD_TIME"
    one_by_one = verified(world["a"])
    assert one_by_one.times([2]) == {2: 7}
    with pytest.raises(NotVerifiable, match="time does not increase"):
        one_by_one.times([1])


def test_entries_and_transactions_come_together(world):
    part = world.commission("a", "ada")
    assert world["a"].operate("ada", object_event("OBSERVE", "inspecting", part, number=3)).ok
    world.settle()

    class Swapping(DirectStub):
        def GetHistory(self, request):
            reply = super().GetHistory(request)
            first, second = reply.items[0].transaction, reply.items[1].transaction
            reply.items[0].transaction, reply.items[1].transaction = second, first
            return reply

    view = verified(world["a"], Swapping(world["a"]))
    record = view.record(state.part_key(part), PartRecord)
    with pytest.raises(NotVerifiable, match="not the one the entry names"):
        view.history(state.part_key(part), record.history)


# ---- lies that are true of something else ---------------------------------------------------------------------------


def forks():
    """Two pasts of one chain: in one the part was destroyed, in the other not."""
    made = []
    for ends in (True, False):
        chain = BridgedChain("a", Clock(), grants={PREFIX: "ada"})
        for operation in (
            object_event("ADD", "commissioning", serial(1)),
            object_event("DELETE" if ends else "OBSERVE", "destroying" if ends else "inspecting", serial(1)),
        ):
            assert chain.operate("ada", operation).ok
        chain.settle()
        made.append(chain)
    assert made[0].chain_id == made[1].chain_id
    return made


def audited(chain, stub):
    return Audit({chain.chain_id: verified(chain, stub)}).run(serial(1), chain.chain_id, lambda: 0)


def test_a_state_that_the_certified_header_does_not_commit_to():
    """Every proof holds, under the root of another state."""
    true, false = forks()

    class Other(DirectStub):
        def GetHeaders(self, request):
            return DirectStub(true).GetHeaders(request)

        def Prove(self, request):
            reply = super().Prove(request)
            reply.head.CopyFrom(DirectStub(true).Prove(request).head)
            return reply

    assert audited(true, DirectStub(true)).subject.status == "DESTROYED"
    assert audited(false, DirectStub(false)).subject.status == "LIVE"
    report = audited(true, Other(false))
    assert (report.verdict, report.problem_code) == (Verdict.NOT_VERIFIABLE, "BAD_PROOF")
    assert "does not commit" in report.problem


def test_a_log_without_one_leaf_per_height_is_of_no_honest_chain():
    """A corrupt quorum certifies a header over another log."""
    chain = forks()[0]

    class Shorter(DirectStub):
        def GetHeaders(self, request):
            return HeadersReply(headers=[self.head(super().Prove(ProveRequest()))])

        def head(self, reply):
            header = decode_header(reply.head.header)
            opening = AppHashOpening()
            opening.CopyFrom(reply.opening)
            opening.log_size -= 1
            header.app_hash = app_hash(chain.chain_id, opening)
            data = codec.encode(header)
            return SignedHeader(header=data, certificate=chain.certify(data))

        def Prove(self, request):
            reply = super().Prove(request)
            reply.head.CopyFrom(self.head(reply))
            reply.opening.log_size -= 1
            return reply

    report = audited(chain, Shorter(chain))
    assert report.verdict is Verdict.NOT_VERIFIABLE
    assert "one leaf per height" in report.problem


@pytest.mark.parametrize("claimed", [False, True])
def test_the_log_leaf_of_another_height(claimed):
    chain = forks()[0]

    class Shifted(DirectStub):
        def GetLogLeaves(self, request):
            heights = list(request.heights)
            request.heights[:] = [max(1, height - 1) for height in heights]
            reply = super().GetLogLeaves(request)
            if claimed:
                for leaf, height in zip(reply.leaves, heights, strict=True):
                    leaf.inclusion.index = height - 1
            return reply

    report = audited(chain, Shifted(chain))
    assert (report.verdict, report.problem_code) == (Verdict.NOT_VERIFIABLE, "BAD_PROOF")


def test_the_genesis_of_another_chain(world):
    """Sound in itself, with validators of its own: whoever made it could certify anything from there."""

    class Elsewhere(DirectStub):
        def GetStatus(self, request):
            return DirectStub(world["b"]).GetStatus(request)

    with pytest.raises(NotVerifiable, match="not the one of the trust file") as raised:
        verified(world["a"], Elsewhere(world["a"])).trusted()
    assert raised.value.code == "WRONG_CHAIN"
