"""A known attack on relayers, by its number in docs/bridge-testing.md: believing what a node says.

Seen to fail with its guards removed: tests/bridge/guards.py, scripts/bridge_guards.py.
"""

import contextlib

from bridge.packet import packet_commitment, sent_key
from ledger.block import decode_transaction
from ledger.errors import ChiptraceError
from proto.chiptrace.v1.bridge_pb2 import CustodyTransfer, Packet, ReceivePacket
from proto.chiptrace.v1.ledger_pb2 import OFFERED
from proto.chiptrace.v1.node_pb2 import PacketsReply, ProveReply, SubmitRequest
from tests.bridge.two_chains import World
from tests.client.relaying import Line, carried, route_over


class Liar(Line):
    """Every node of chain a names another receiver in a packet's body; `proves`: and says that this was committed to, beside
    the true proof. All that is submitted anywhere is noted."""

    submitted: list = []
    proves = False
    bodies = 0
    lies = 0

    @staticmethod
    def false(packet: Packet) -> Packet:
        lie = Packet()
        lie.CopyFrom(packet)
        transfer = CustodyTransfer.FromString(packet.value)
        transfer.receiver = "ben"
        lie.value = transfer.SerializeToString(deterministic=True)
        return lie

    def answer(self, method, request):
        if isinstance(request, SubmitRequest):
            for data in request.transactions:
                for operation in decode_transaction(self.chain.chain_id, data).body.operations:
                    if operation.WhichOneof("kind") == "receive_packet":
                        message = ReceivePacket.FromString(operation.receive_packet)
                        type(self).submitted.append(message.packet)
        reply = method(request)
        if self.chain.name != "a":
            return reply
        if isinstance(reply, PacketsReply) and not request.received:
            for item in reply.items:
                item.packet.CopyFrom(self.false(item.packet))
                type(self).bodies += 1
        if isinstance(reply, ProveReply) and self.proves:
            for key in reply.keys:
                genuine = self.chain.sent("b-1", 1)
                if key.key == sent_key(genuine):
                    key.value = packet_commitment(self.false(genuine))
                    type(self).lies += 1
        return reply


def test_attack_20_a_node_that_tells_of_another_packet_than_was_committed_to(monkeypatch):
    """Attested data that nobody compared with the commitment. A relayer brings what is proven, whatever nodes say."""
    for proves in (False, True):
        monkeypatch.setattr(Liar, "proves", proves)
        monkeypatch.setattr(Liar, "submitted", [])
        monkeypatch.setattr(Liar, "bodies", 0)
        monkeypatch.setattr(Liar, "lies", 0)
        world = World()
        part = world.commission("a", "ada")
        assert world.send("a", part, "bob").ok
        genuine = world["a"].sent("b-1", 1)
        route = route_over(world, Liar)
        for _ in range(6):
            world.settle()
            with contextlib.suppress(ChiptraceError):
                route.round()
            world.clock.now_ms += 1_000
        assert Liar.bodies  # the lie was told
        assert Liar.lies or not proves
        assert all(packet == genuine for packet in Liar.submitted)
        # With an honest node the packet crosses, to whom it was sent.
        honest = route_over(world)
        carried(honest, world)
        assert (world.part("b", part).status, world.part("b", part).offered_to) == (OFFERED, "bob")
