"""A chain whose whole quorum is corrupt: it certifies any state and serves any history, but forges no signature.

lie = Forged(world["b"])
signed = lie.signed("bob", object_event(...))          # a real member really signed this
lie.part(part, [lie.entry(part, signed, EVENT)], status=LIVE, holder="bob")
audited(world, part, "b", stubs={"b": lie})
"""

from client.audit_packets import carried
from ledger import codec, hashes, state
from ledger.block import decode_transaction
from ledger.event import event_digest
from ledger.history import append_entry
from proto.chiptrace.v1.ledger_pb2 import Entry, Event, Evidence, History, Operation, PartRecord
from proto.chiptrace.v1.node_pb2 import HistoryItem, HistoryReply
from tests.client.direct import DirectStub


class Forged(DirectStub):
    """Needs a chain made with corrupt=True, whose state takes anything."""

    def __init__(self, chain):
        super().__init__(chain)
        self.transactions = {}
        self.histories = {}

    def GetHistory(self, request):
        entries = self.histories.get(request.subject)
        if entries is None:
            return super().GetHistory(request)
        chosen = entries[request.from_n : request.from_n + request.limit]
        return HistoryReply(
            items=[
                HistoryItem(entry=data, transaction=self.transactions[Entry.FromString(data).transaction])
                for data in chosen
            ]
        )

    def signed(self, member, *operations, role="operator", **more):
        """A transaction that a member really signed, whether or not the chain ever took it."""
        data = self.chain.transaction(member, *operations, role=role, **more)
        checked = decode_transaction(self.chain.chain_id, data)
        self.transactions[checked.id] = data
        return checked

    def entry(self, name, checked, kind, operation=0, key=None, **fields):
        """An entry for an operation of a transaction, with the digest that it would have."""
        made_by = checked.body.operations[operation] if operation < len(checked.body.operations) else None
        values = {
            "subject": key or state.part_key(name),
            "height": self.chain.height,
            "transaction": checked.id,
            "operation": operation,
            "digest": digest_of(self.chain.chain_id, made_by),
            "kind": kind,
        }
        return Entry(**(values | fields))

    def real(self, name):
        """The entries that the chain has of a part."""
        entries = self.chain.entries(state.part_key(name))
        for entry in entries:
            self.transactions[entry.transaction] = self.chain.app.store.transaction(entry.transaction).data
        return entries

    def part(self, name, entries, key=None, **fields):
        """Certify a record of a part with exactly this history."""
        history = History()
        stored = [append_entry(self.chain.chain_id, history, entry)[1] for entry in entries]
        record = self.chain.record(state.part_key(name), PartRecord) or PartRecord(
            id=name, origin_chain=self.chain.chain_id
        )
        for field, value in fields.items():
            setattr(record, field, value)
        record.history.CopyFrom(history)
        self.put(key or state.part_key(name), record)
        self.histories[key or state.part_key(name)] = stored

    def put(self, key, record):
        """Certify any record."""
        data = record if isinstance(record, bytes) else codec.encode(record)
        operation = Operation(evidence=Evidence(first=key, second=data))
        assert self.chain.operate(self.chain.members[0], operation).ok


def digest_of(chain_id, operation):
    if operation is None:
        return hashes.ZERO
    if operation.WhichOneof("kind") == "capture":
        return event_digest(chain_id, Event.FromString(operation.capture.event))
    packet = carried(operation)
    if packet is not None:
        return packet.commitment
    return hashes.tagged_hash(hashes.Purpose.OPERATION, chain_id, codec.encode(operation))
