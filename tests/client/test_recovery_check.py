"""A fork at the first height behind a recovery is seen in what the nodes hold, and its makers are named."""

import pytest

from client import recovery_check
from client.connection import NoAnswer, NodeRefused
from ledger.errors import Invalid
from proto.chiptrace.v1.consensus_pb2 import Certificate
from proto.chiptrace.v1.ledger_pb2 import Reason
from proto.chiptrace.v1.node_pb2 import BlockAtReply
from tests.bridge.recovered import recover
from tests.bridge.two_chains import World
from tests.client.direct import DirectConnection, DirectStub


class Stub(DirectStub):
    """A node that also answers for blocks."""

    def GetBlock(self, request):
        store = self.chain.app.store
        try:
            return BlockAtReply(
                block=store.block(request.height),
                certificate=Certificate.FromString(store.certificate(request.height)),
            )
        except Invalid as error:
            raise NodeRefused(str(error), error.reason) from error


class Away(Stub):
    def GetBlock(self, request):
        raise NoAnswer("away")


class Liar(Stub):
    """Holds a block for which nobody signed."""

    def GetBlock(self, request):
        reply = super().GetBlock(request)
        reply.certificate.signatures[0] = bytes(64)
        return reply


def chain_of(heights=3):
    chain = World("a", "b")["a"]
    for _ in range(heights):
        chain.produce()
    return chain


def node(stub):
    return DirectConnection(stub)


def judged(opened, *stubs):
    chain = stubs[0].chain
    return recovery_check.check(
        [node(stub) for stub in stubs], chain.chain_id, opened, chain.info.time_ms + 60_000
    )


@pytest.fixture
def chain():
    return chain_of()


def test_all_went_through_it_or_are_not_there_yet(chain):
    behind = chain_of()
    opened = recover(chain)
    found = judged(opened, Stub(chain), Stub(behind), Away(chain), Liar(chain))
    assert [side.state for side in found.sides[:3]] == ["recovered", "below", "no answer"]
    assert found.sides[3].state.startswith("a false answer")
    assert found.forked_by is None


def test_where_the_old_set_went_on_the_chain_is_forked_and_its_makers_are_named(chain):
    other = chain_of()
    opened = recover(chain)
    other.produce()
    found = judged(opened, Stub(chain), Stub(other))
    assert [side.state for side in found.sides] == ["recovered", recovery_check.OLD]
    assert found.forked_by == ("abe", "ada", "amy", "ann")
    # A block that the old set did not sign makes no fork.
    assert judged(opened, Stub(chain), Liar(other)).forked_by is None


def test_two_recoveries_of_one_height_are_a_fork_too(chain):
    other = chain_of()
    opened, second = recover(chain, "one"), recover(other, "two")
    found = judged(opened, Stub(chain), Stub(other), Stub(chain))
    assert [side.state for side in found.sides] == [
        "recovered",
        f"another recovery, {second.hash.hex()}",
        "recovered",
    ]
    assert found.forked_by == ("abe", "ada", "amy", "ann")
    assert judged(second, Stub(chain), Liar(other)).forked_by is None


def test_behind_an_earlier_recovery(chain):
    recover(chain)
    second = recover(chain, "again")
    assert judged(second, Stub(chain)).sides[0].state == "recovered"


def test_no_node_leads_there(chain):
    opened = recover(chain)
    with pytest.raises(Invalid) as caught:
        judged(opened, Stub(chain_of(0)))
    assert caught.value.reason == Reason.NOT_FOUND
