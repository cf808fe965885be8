"""Signed bytes on their way: kept before they are sent, the same ones until the outcome is known, never two."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client import keys, submit
from client.connection import NoAnswer, NodeRefused
from client.submit import Submitter
from client.trust import ChainTrust, Identity
from ledger import codec, hashes
from ledger.block import parse_transaction
from ledger.errors import Malformed, Refused
from proto.chiptrace.v1.ledger_pb2 import Operation, Reason, Result, ReturnOffer
from proto.chiptrace.v1.node_pb2 import Outcome, SubmitReply, TransactionReply

CHAIN = bytes(range(32))
OPERATION = Operation(return_offer=ReturnOffer(part="https://id.gs1.org/01/04012345111118/21/1"))
FINAL, PENDING = {"admitted": True, "final": True, "ok": True, "height": 7}, {"admitted": True}


class Clock:
    now = 1_700_000_000_000

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += int(seconds * 1000)


class Line:
    """Answers from a script: an exception, or fields of an Outcome (for this transaction unless named)."""

    def __init__(self, *script, decided=None):
        self.script = list(script)
        self.sent = []
        self.decided = decided

    def call(self, method, request, seconds=0.0):
        return method(self)(request)

    def Submit(self, request):
        (data,) = request.transactions
        self.sent.append(data)
        said = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(said, BaseException):
            raise said
        if said is None:
            return SubmitReply()
        return SubmitReply(outcomes=[Outcome(**({"transaction": parse_transaction(CHAIN, data).id} | said))])

    def GetTransaction(self, request):
        if self.decided is None:
            raise NodeRefused("not found", Reason.NOT_FOUND)
        return TransactionReply(height=5, result=codec.encode(Result(transaction=request.id, **self.decided)))


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(submit.time, "sleep", made.sleep)
    return made


@pytest.fixture
def made(tmp_path, clock):
    keys.create(tmp_path / "key")

    def make(line, name="a"):
        trust = ChainTrust(name, CHAIN, ("nowhere:1",), tmp_path / "ca.pem", 1_000)
        identity = Identity(name, "ada", tmp_path / "key", tmp_path / "c", tmp_path / "k", "operator")
        return Submitter(trust, identity, line, clock)

    return make


def outbox(tmp_path):
    return sorted((tmp_path / "outbox").glob("*"))


def test_a_final_outcome_empties_the_outbox(made, tmp_path):
    line = Line(FINAL)
    recorded = made(line).submit([OPERATION], bytes(16))
    assert (recorded.height, recorded.transaction) == (7, parse_transaction(CHAIN, line.sent[0]).id)
    assert outbox(tmp_path) == []


def test_the_bytes_are_kept_before_they_are_sent(made, tmp_path):
    class Looking(Line):
        def Submit(self, request):
            (path,) = outbox(tmp_path)
            assert path.read_bytes() == request.transactions[0]
            assert path.parent.stat().st_mode & 0o077 == 0
            return super().Submit(request)

    made(Looking(FINAL)).submit([OPERATION], bytes(16))


@settings(max_examples=40)
@given(
    doubts=st.lists(
        st.sampled_from(
            [
                NoAnswer("lost"),
                NodeRefused("busy", Reason.POOL_FULL),
                {"reason": Reason.NOT_SYNCED},
                PENDING,
                None,
                FINAL | {"transaction": b"another"},
                PENDING | {"transaction": b"another"},
                {"reason": Reason.REPEATED},
            ]
        ),
        max_size=6,
    )
)
def test_in_doubt_the_very_same_bytes_are_sent_again(doubts, tmp_path_factory):
    home, clock = tmp_path_factory.mktemp("home"), Clock()
    keys.create(home / "key")
    trust = ChainTrust("a", CHAIN, ("nowhere:1",), home / "ca.pem", 1_000)
    line = Line(*doubts, FINAL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(submit.time, "sleep", clock.sleep)
        identity = Identity("a", "ada", home / "key", home / "c", home / "k", "operator")
        assert Submitter(trust, identity, line, clock).submit([OPERATION], bytes(16)).height == 7
    assert len(line.sent) == len(doubts) + 1
    assert len(set(line.sent)) == 1
    assert outbox(home) == []


@pytest.mark.parametrize(
    "said", [NoAnswer("certificate has expired"), NodeRefused("the disk is full", Reason.DISK_NEARLY_FULL)]
)
def test_who_has_no_outcome_is_told_why_in_the_end(made, said):
    with pytest.raises(NoAnswer, match=f"within 30 s .*{said}.*chiptrace resume"):
        made(Line(said)).submit([OPERATION], bytes(16))


def test_a_lost_reply_leaves_the_bytes_and_resume_learns_the_outcome(made, tmp_path):
    with pytest.raises(NoAnswer, match="chiptrace resume"):
        made(Line(NoAnswer("lost"))).submit([OPERATION], bytes(16))
    (path,) = outbox(tmp_path)
    kept = path.read_bytes()
    line = Line(FINAL)
    ((_, recorded),) = made(line).resume()
    assert (line.sent, recorded.height) == ([kept], 7)
    assert outbox(tmp_path) == []


def test_a_crash_between_keeping_and_sending_loses_nothing(made, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        made(Line(KeyboardInterrupt())).submit([OPERATION], bytes(16))
    assert len(outbox(tmp_path)) == 1
    assert len(made(Line(FINAL)).resume()) == 1
    assert made(Line(FINAL)).resume() == []


def test_a_crash_while_keeping_leaves_nothing_to_send(made, tmp_path):
    (tmp_path / "outbox").mkdir()
    (tmp_path / "outbox" / "a-1.partial").write_bytes(b"half")
    assert made(Line(FINAL)).resume() == []


def test_resume_leaves_other_chains_alone_and_names_what_is_spoilt(made, tmp_path):
    with pytest.raises(NoAnswer):
        made(Line(NoAnswer("lost")), "b").submit([OPERATION], bytes(16))
    (tmp_path / "outbox" / "a-spoilt.transaction").write_bytes(b"spoilt")
    line = Line(FINAL)
    ((path, error),) = made(line).resume()
    assert (path.name, type(error), line.sent) == ("a-spoilt.transaction", Malformed, [])
    assert len(outbox(tmp_path)) == 2


def test_resume_leaves_a_chain_alone_whose_name_goes_on_from_this_one(made, tmp_path):
    with pytest.raises(NoAnswer):
        made(Line(NoAnswer("lost")), "a-2").submit([OPERATION], bytes(16))
    assert made(Line(FINAL), "a").resume() == []
    assert len(made(Line(FINAL), "a-2").resume()) == 1


def test_the_same_command_twice_at_the_very_same_time_keeps_its_bytes_twice(made, tmp_path, monkeypatch):
    """What one is writing, the other neither empties nor takes away."""
    first, second = made(Line(FINAL)), made(Line(FINAL))
    rename, meanwhile = Path.rename, []

    def slow(path, target):
        if not meanwhile:
            meanwhile.append(path)
            monkeypatch.setattr(submit.os, "getpid", lambda: 4_194_305)
            second.submit([OPERATION], bytes(16))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", slow)
    assert first.submit([OPERATION], bytes(16)).height == 7


def test_the_outbox_itself_is_on_the_disk_before_anything_is_sent(made, tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(keys, "sync_directory", synced.append)
    made(Line(FINAL)).submit([OPERATION], bytes(16))
    assert synced == [tmp_path, tmp_path / "outbox"]


def test_a_refusal_is_told_with_its_reason_and_kept_no_longer(made, tmp_path):
    for said in (
        {"reason": Reason.UNKNOWN_KEY, "transaction": b""},
        FINAL | {"ok": False, "reason": Reason.UNKNOWN_KEY},
    ):
        with pytest.raises(Refused, match="not registered") as raised:
            made(Line(said)).submit([OPERATION], bytes(16))
        assert raised.value.code == "UNKNOWN_KEY"
        assert outbox(tmp_path) == []


def test_a_reason_nobody_knows_has_a_code_all_the_same(made):
    with pytest.raises(Refused) as raised:
        made(Line({"reason": 9_999})).submit([OPERATION], bytes(16))
    assert raised.value.code == "REASON_UNSPECIFIED"


def test_what_the_node_cannot_do_leaves_the_bytes(made, tmp_path):
    with pytest.raises(NodeRefused, match="kept in"):
        made(Line(NodeRefused("no", Reason.MALFORMED))).submit([OPERATION], bytes(16))
    assert len(outbox(tmp_path)) == 1


def test_a_repetition_names_the_first(made, tmp_path):
    recorded = made(Line({"reason": Reason.REPEATED, "transaction": b"first", "height": 3})).submit(
        [OPERATION], bytes(16)
    )
    assert (recorded.repeated, recorded.transaction, recorded.height) == (True, b"first", 3)
    assert outbox(tmp_path) == []


def test_what_was_refused_before_is_tried_again_and_never_told_as_recorded(made, tmp_path):
    """The key of an event is its own, so whoever puts right what was wrong and captures it again has it again."""
    repeated = {"reason": Reason.REPEATED, "transaction": b"first", "height": 3}
    line = Line(repeated, FINAL, decided={"ok": False, "reason": Reason.UNKNOWN_PART})
    recorded = made(line).submit([OPERATION], bytes(16))
    assert (recorded.repeated, recorded.height) == (False, 7)
    used = [parse_transaction(CHAIN, data).body.idempotency_key for data in line.sent]
    assert used == [bytes(16), hashes.sha256(bytes(16) + b"first")[:16]]
    line = Line(repeated, decided={"ok": False, "reason": Reason.UNKNOWN_PART})
    with pytest.raises(Refused) as raised:
        made(line).submit([OPERATION], bytes(16))
    assert raised.value.code == "UNKNOWN_PART"
    assert len(line.sent) == len(set(line.sent)) == 16
    # Recorded is recorded.
    line = Line(repeated, decided={"ok": True})
    assert made(line).submit([OPERATION], bytes(16)).repeated
    assert outbox(tmp_path) == []


@pytest.mark.parametrize("decided", [{"ok": True}, {"ok": False, "reason": Reason.NOT_LIVE}])
def test_what_expired_may_have_been_recorded_before(made, tmp_path, decided):
    """The reply was lost and the hour is over: to sign it anew would record it twice."""
    submitter = made(Line({"reason": Reason.EXPIRED}, decided=decided))
    if decided["ok"]:
        assert submitter.submit([OPERATION], bytes(16)).height == 5
    else:
        with pytest.raises(Refused) as raised:
            submitter.submit([OPERATION], bytes(16))
        assert raised.value.code == "NOT_LIVE"
    assert outbox(tmp_path) == []


def test_what_expired_and_was_never_recorded_is_refused(made):
    with pytest.raises(Refused) as raised:
        made(Line({"reason": Reason.EXPIRED})).submit([OPERATION], bytes(16))
    assert raised.value.code == "EXPIRED"


def test_what_expired_is_not_said_to_be_unrecorded_by_nodes_that_do_not_say(made, tmp_path):
    class Busy(Line):
        def GetTransaction(self, request):
            raise NodeRefused("too much to do", Reason.POOL_FULL)

    with pytest.raises(NodeRefused, match="too much to do"):
        made(Busy({"reason": Reason.EXPIRED})).submit([OPERATION], bytes(16))
    assert len(outbox(tmp_path)) == 1


def test_who_has_no_key_only_reads(tmp_path):
    identity = Identity("a", "ada", None, tmp_path / "c", tmp_path / "k", "auditor")
    with pytest.raises(Malformed, match="may only read"):
        Submitter(ChainTrust("a", CHAIN, ("n:1",), tmp_path, 1), identity, Line(FINAL), Clock())
