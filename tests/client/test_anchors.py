"""Where a client begins: at a header that was followed to, also behind a recovery, and nowhere else."""

import dataclasses

import pytest

from client.anchors import newest_anchor
from client.trust import AcceptedRecovery
from client.verified import NotVerifiable
from ledger import codec
from proto.chiptrace.v1.bridge_pb2 import UpdateClient
from proto.chiptrace.v1.ledger_pb2 import Change, Operation
from tests.bridge.recovered import recover
from tests.bridge.two_chains import World
from tests.client.direct import DirectStub, verified


def created(world, view):
    """A client of chain a on b, anchored where the view says."""
    signed, validators = newest_anchor(view)
    change = world.client_of(
        "a",
        "b",
        "2",
        header=signed.header,
        certificate=codec.encode(signed.certificate),
        validators=validators,
        genesis_time_ms=0,
    )
    assert world.govern("b", Change(create_client=change)).ok
    return world["b"].client("a-2")


def test_a_client_begins_at_the_newest_header():
    world = World("a", "b")
    world["a"].settle()
    assert created(world, verified(world["a"])).latest_height == world["a"].height


def test_a_client_of_a_recovered_chain_begins_behind_the_recovery():
    world = World("a", "b")
    opened = recover(world["a"])
    world["a"].settle()
    view = verified(world["a"])
    view.trust = dataclasses.replace(view.trust, recoveries=(AcceptedRecovery(opened.height, opened.hash),))
    record = created(world, view)
    assert record.latest_height > opened.height
    world["a"].produce()
    update = UpdateClient(client="a-2", headers=[world["a"].header(world["a"].height)])
    assert world["b"].operate("bob", Operation(update_client=codec.encode(update)), role="relayer").ok
    assert world["b"].client("a-2").latest_height == world["a"].height
    # From the genesis nobody gets there.
    update.client = "a-1"
    assert not world["b"].operate("bob", Operation(update_client=codec.encode(update)), role="relayer").ok


def test_a_recovery_that_is_not_accepted_gives_no_anchor():
    world = World("a", "b")
    recover(world["a"])
    world["a"].settle()
    with pytest.raises(NotVerifiable):
        newest_anchor(verified(world["a"]))


def test_a_node_that_shows_another_head_than_it_proves_gives_no_anchor():
    world = World("a", "b")
    world["a"].settle()

    class Liar(DirectStub):
        def Prove(self, request):
            reply = super().Prove(request)
            reply.head.header += b"x"
            return reply

    with pytest.raises(NotVerifiable):
        newest_anchor(verified(world["a"], Liar(world["a"])))
