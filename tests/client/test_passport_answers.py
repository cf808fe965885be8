"""Out of a passport each thing is found under what it is; what is not there is missed by its name."""

import pytest

from client.connection import NoAnswer
from client.passport_answers import Answers, PassportLine, named
from client.verified import NotVerifiable
from ledger import limits, state
from ledger.errors import Malformed
from proto.chiptrace.v1.ledger_pb2 import Change, Reason, SetValidators
from proto.chiptrace.v1.node_pb2 import (
    HeadersRequest,
    HistoriesRequest,
    HistoryRequest,
    LogLeavesRequest,
    PacketsRequest,
    ProveRequest,
    StatusRequest,
    TransactionRequest,
)
from proto.chiptrace.v1.passport_pb2 import PassportChain
from tests.client.direct import DirectStub, verified
from tests.client.passports import told
from tests.client.test_audit_mutated import lived

WORLD, PART = lived()
_, PASSPORT = told(WORLD, PART)
HELD = {chain.chain_id: chain for chain in PASSPORT.chains}


def both(name="a"):
    return Answers(HELD[WORLD[name].chain_id]), DirectStub(WORLD[name])


def held(name="a"):
    return HELD[WORLD[name].chain_id]


@pytest.mark.parametrize("name", ["a", "b"])
def test_answers_are_those_of_the_node(name):
    passport, node = both(name)
    height = held(name).opening.log_size
    assert passport.GetStatus(StatusRequest()).genesis == node.GetStatus(StatusRequest()).genesis
    keys = [value.key for value in held(name).values]
    for asked in (keys, keys[:1], keys[::-1], []):
        for at in (0, height):
            reply, wanted = (stub.Prove(ProveRequest(keys=asked, height=at)) for stub in (passport, node))
            assert (reply.height, reply.head, reply.opening) == (wanted.height, wanted.head, wanted.opening)
            assert list(reply.keys) == list(wanted.keys)
    heights = [leaf.height for leaf in held(name).leaves]
    request = LogLeavesRequest(heights=heights, size=height)
    assert passport.GetLogLeaves(request) == node.GetLogLeaves(request)
    subjects = [history.subject for history in held(name).histories]
    for with_them in (True, False):
        request = HistoriesRequest(subjects=subjects, with_transactions=with_them)
        assert passport.GetHistories(request) == node.GetHistories(request)
    for data in held(name).transactions:
        ids = [key for key, value in passport._transactions.items() if value == data]
        for one in ids:
            assert passport.GetTransaction(TransactionRequest(id=one)).transaction == data


def test_a_history_is_cut_as_it_is_asked_for():
    passport, _ = both()
    subject, whole = max(
        ((one.subject, list(one.entries)) for one in held().histories), key=lambda one: len(one[1])
    )
    assert len(whole) >= 3
    for start in range(len(whole)):
        for limit in (1, 2, 1_000):
            request = HistoryRequest(subject=subject, from_n=start, limit=limit, with_transactions=True)
            reply = passport.GetHistory(request)
            assert [item.entry for item in reply.items] == whole[start : start + limit]
            assert reply.more == (start + limit < len(whole))


def test_headers_come_in_portions(monkeypatch):
    monkeypatch.setattr("client.passport_answers.HEADERS_PER_REPLY_MAX", 1)
    world, part = lived()
    validators = list(world["a"].info.validators.validators)
    for turn in (1, 2, 3):
        rotated = validators[turn:] + validators[:turn]
        assert world.govern("a", Change(set_validators=SetValidators(validators=rotated))).ok
        world["a"].produce()
    _, passport = told(world, part)
    (chain,) = [one for one in passport.chains if one.chain_id == world["a"].chain_id]
    answers = Answers(chain)
    first = answers.GetHeaders(HeadersRequest(from_height=0))
    assert (len(first.headers), first.more) == (1, True)
    view = verified(world["a"])
    view.connection = PassportLine(view.trust, chain)
    view.advance()
    assert view.tally.certificates == len(chain.headers) == 4
    last = answers.GetHeaders(HeadersRequest(from_height=view.trusted().latest_height))
    assert (len(last.headers), last.more) == (0, False)


def missed(ask, *words):
    with pytest.raises(NotVerifiable) as caught:
        ask()
    assert caught.value.reason == Reason.NOT_IN_PASSPORT
    for word in words:
        assert word in str(caught.value), caught.value


def test_what_is_not_there_is_missed_by_name():
    passport, _ = both()
    height = held().opening.log_size
    key = state.part_key("urn:epc:id:sgtin:4012345.099999.1")
    missed(lambda: passport.Prove(ProveRequest(keys=[key])), "part urn:epc:id:sgtin:4012345.099999.1")
    missed(lambda: passport.Prove(ProveRequest(height=height - 1)), f"height {height - 1}", f"after {height}")
    missed(lambda: passport.GetHistories(HistoriesRequest(subjects=[key])), "from entry 0 on")
    subject = held().histories[0].subject
    end = len(held().histories[0].entries)
    missed(lambda: passport.GetHistory(HistoryRequest(subject=subject, from_n=end)), f"entry {end} on")
    missed(lambda: passport.GetTransaction(TransactionRequest(id=bytes(32))), "transaction 00000000")
    missed(lambda: passport.GetLogLeaves(LogLeavesRequest(heights=[height + 1])), f"height {height + 1}")
    missed(lambda: passport.GetPackets(PacketsRequest()), "GetPackets")
    missed(lambda: Answers(PassportChain()).Prove(ProveRequest()), "newest header")


def test_a_transaction_that_an_entry_names_is_missed():
    chain = PassportChain()
    chain.CopyFrom(held())
    del chain.transactions[:]
    request = HistoryRequest(subject=state.part_key(PART), limit=9, with_transactions=True)
    missed(lambda: Answers(chain).GetHistory(request), "transaction ")
    request.with_transactions = False
    assert not any(item.transaction for item in Answers(chain).GetHistory(request).items)


def test_a_proof_names_hashes_that_are_there():
    chain = PassportChain()
    chain.CopyFrom(held())
    chain.hashes = chain.hashes[:32]
    with pytest.raises(Malformed) as caught:
        Answers(chain).Prove(ProveRequest(keys=[value.key for value in chain.values]))
    assert "among its 1" in str(caught.value)


@pytest.mark.parametrize("longer", [0, 1])
def test_no_proof_is_longer_than_the_longest(longer):
    """Each place takes a byte in the file, and many in an answer."""
    chain = PassportChain()
    chain.CopyFrom(held())
    del chain.values[0].siblings[:]
    chain.values[0].siblings.extend([0] * (limits.TREE_DEPTH_MAX + longer))
    request = ProveRequest(keys=[chain.values[0].key])
    if not longer:
        assert len(Answers(chain).Prove(request).keys[0].proof.siblings) == limits.TREE_DEPTH_MAX
        return
    with pytest.raises(Malformed) as caught:
        Answers(chain).Prove(request)
    assert caught.value.reason == Reason.OVERSIZE


@pytest.mark.parametrize("field", ["headers", "transactions"])
def test_what_is_no_header_and_no_transaction_is_refused_at_once(field):
    chain = PassportChain()
    chain.CopyFrom(held())
    if field == "headers":
        chain.headers[0].header = b"\xff"
    else:
        chain.transactions[0] = b"\xff"
    with pytest.raises(Malformed):
        Answers(chain)


def test_a_chain_that_is_not_in_it_gave_no_answer():
    line = PassportLine(verified(WORLD["a"]).trust, None)
    with pytest.raises(NoAnswer) as caught:
        line.call(lambda stub: stub.GetStatus, StatusRequest())
    assert "nothing of chain a" in str(caught.value)
    assert line.bytes_received == 0


def test_keys_in_words():
    assert named(state.part_key("urn:x")) == "part urn:x"
    assert named(b"") == ""
    assert named(b"\xff\x00") == "ff00"
    assert named(state.generation_key("urn:x", 3)) == "generation urn:x 0000000000000003"
    assert named(b"\x05\x00\x02\xff\xfe") == "part fffe"
