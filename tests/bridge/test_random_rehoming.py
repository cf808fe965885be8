"""A chain is given up in the middle of random journeys, with packets on their way in both directions: every part whose home
is here is live here in the end, once, unless it had ended over there.
"""

import os

import pytest

from bridge.clients import rehoming_key
from bridge.packet import received_row_key
from ledger import codec, state
from proto.chiptrace.v1.bridge_pb2 import AcknowledgePacket, TimeoutPacket
from proto.chiptrace.v1.ledger_pb2 import DESTROYED, LIVE, MemberHere, Operation, PartRecord, RehomingRecord
from tests.bridge.test_random_journeys import Journey
from tests.bridge.test_rehoming import bring_head, give_up, rehome
from tests.bridge.two_chains import MEMBERS, prove, row

RUNS = int(os.environ.get("CHIPTRACE_REHOMING_RUNS", "24"))
EVERYBODY = [
    MemberHere(there=there, here=here) for there, here in sorted(zip(MEMBERS["b"], MEMBERS["a"], strict=True))
]


def end_packets(world, height):
    """Brings the answer to each open packet, or the proof that there is none, under the last state that counts."""
    here, lost = world["a"], world["b"]
    last = lost.app.views.view(height)
    for sequence in range(1, here.client("b-1").next_sequence):
        if here.app.store.get(state.commitment_key("b-1", sequence)) is None:
            continue
        packet = here.sent("b-1", sequence)
        answered = state.acknowledgement_key("a-1", sequence)
        if last.get(answered) is not None:
            said = row(lost, received_row_key("a-1", sequence)).acknowledgement
            proof = prove(lost, height + 1, answered)
            message = AcknowledgePacket(packet=packet, acknowledgement=said, proof=proof)
            operation = Operation(acknowledge_packet=codec.encode(message))
        else:
            proof = prove(lost, height + 1, state.receipt_key("a-1", sequence))
            operation = Operation(timeout_packet=codec.encode(TimeoutPacket(packet=packet, proof=proof)))
        assert here.operate("ada", operation, role="relayer").ok
    return last


@pytest.mark.parametrize("seed", range(RUNS))
def test_nothing_is_lost_with_a_chain_that_is_given_up(seed):
    journey = Journey(seed)
    world = journey.world
    journey.commission()
    for _ in range(journey.random.randrange(20, 110)):
        journey.step()
    bring_head(world)
    assert give_up(world, members=EVERYBODY).ok
    record = world["a"].record(rehoming_key(world["b"].chain_id), RehomingRecord)
    last = end_packets(world, record.height)
    for part in journey.parts:
        here = world.part("a", part)
        there = PartRecord.FromString(last.get(state.part_key(part)) or b"")
        if DESTROYED in (here.status, there.status):
            assert LIVE not in (here.status, there.status)
            continue
        if here.status != LIVE:
            assert rehome(world, part, member=here.offered_to or "ada").ok, (here, there)
        assert world.part("a", part).status == LIVE
        world.check_history("a", part)
