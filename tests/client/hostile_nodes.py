"""Nodes of which one lies in whatever way a seed says: any field of any answer, and whole histories that nobody certified.

line = one_lies(stub, liar)             # the others answer honestly; who refuses is passed over, as a connection does
stub = altered(random.Random(seed), 0.4)    # every answer may have fields that no honest node writes
stub = parallel(world)                  # all it shows is of another history, which opens but was never certified
"""

from typing import ClassVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError

from client.connection import NoAnswer, NodeRefused
from ledger.errors import ChiptraceError
from proto.chiptrace.v1.bridge_pb2 import ClientRecord
from proto.chiptrace.v1.ledger_pb2 import Header, Result
from tests.client.relaying import NODES, Line, RelayStub

# What stands as bytes inside an answer, so that lies reach into it.
_INSIDE = {
    ("SignedHeader", "header"): Header,
    ("TransactionReply", "result"): Result,
    ("ProvenKey", "value"): ClientRecord,
}
_ODD = {
    FieldDescriptor.TYPE_UINT64: (0, 1, 2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 1, 2**31, 2**32 - 1),
    FieldDescriptor.TYPE_SINT64: (0, 1, -1, 2**63 - 1, -(2**63)),
    FieldDescriptor.TYPE_SINT32: (0, 1, -1, 2**31 - 1),
    FieldDescriptor.TYPE_INT32: (0, 1, -1, 2**31 - 1),
    FieldDescriptor.TYPE_STRING: ("", "x" * 1_000, "\x00\n"),
    FieldDescriptor.TYPE_ENUM: (0, 1, 7, 9_999, -1, 2**31 - 1),
}


class _OneLies(Line):
    stub_of: ClassVar = RelayStub
    liar: ClassVar = NODES[0]

    def call(self, method, request, seconds=0.0):
        with self.lock:
            for endpoint in (self.endpoint, *(node for node in NODES if node != self.endpoint)):
                stub = self.stub_of(self.chain) if endpoint == self.liar else self.stub
                try:
                    reply = method(stub)(request)
                except ChiptraceError as error:
                    refused = NodeRefused(str(error), error.reason)
                    continue
                self.endpoint = endpoint
                return reply
            raise refused


def one_lies(stub_of, liar):
    """A chain of which one node answers as `stub_of` does."""
    return type("OneLies", (_OneLies,), {"stub_of": stub_of, "liar": liar})


def altered(toss, rate):
    """A node that writes into so many of its answers what no honest node does."""

    class Altered(RelayStub):
        def __getattribute__(self, name):
            found = super().__getattribute__(name)
            if not name.startswith(("Get", "Prove", "Submit")):
                return found

            def answer(request):
                reply = found(request)
                copy = type(reply)()
                copy.CopyFrom(reply)
                if toss.random() < rate:
                    alter(copy, toss)
                return copy

            return answer

    return Altered


def alter(message, toss):
    """Change one to three fields of a message, or of what is in it, into what they may hold at most, least, or not at all."""
    for _ in range(toss.randrange(1, 4)):
        part, field = toss.choice(_places(message))
        if field.is_repeated:
            _alter_list(getattr(part, field.name), field, toss)
        elif field.message_type is not None:
            part.ClearField(field.name) if toss.random() < 0.3 else getattr(part, field.name).SetInParent()
        else:
            setattr(part, field.name, _odd(part, field, toss))


def _places(message):
    found = []
    for field in message.DESCRIPTOR.fields:
        found.append((message, field))
        if field.message_type is not None and field.is_repeated:
            for one in getattr(message, field.name):
                found += _places(one)
        elif field.message_type is not None and message.HasField(field.name):
            found += _places(getattr(message, field.name))
    return found


def _alter_list(items, field, toss):
    match toss.randrange(4):
        case 0:
            del items[:]
        case 1 if items:
            items.append(items[-1])
        case 2 if items:
            del items[toss.randrange(len(items))]
        case _ if field.message_type is not None:
            items.add()


def _odd(part, field, toss):
    old = getattr(part, field.name)
    inside = _INSIDE.get((part.DESCRIPTOR.name, field.name))
    if inside is not None and toss.random() < 0.7:
        try:
            content = inside.FromString(old)
        except DecodeError:
            return b""
        alter(content, toss)
        return content.SerializeToString(deterministic=True)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return toss.choice((b"", old[:-1], old + b"x", bytes(len(old)), toss.randbytes(3_000)))
    if field.type == FieldDescriptor.TYPE_BOOL:
        return not old
    return toss.choice(_ODD[field.type])


def parallel(world):
    """A node that shows another world's chain of the same name: proofs open, and no header is certified."""

    class Parallel(RelayStub):
        def __init__(self, chain):
            super().__init__(world[chain.name])

        def Prove(self, request):
            reply = super().Prove(request)
            reply.head.certificate.signatures[:] = [bytes(64)] * len(reply.head.certificate.signatures)
            return reply

        def GetHeaders(self, request):
            reply = super().GetHeaders(request)
            for signed in reply.headers:
                signed.certificate.signatures[:] = [bytes(64)] * len(signed.certificate.signatures)
            return reply

        def Submit(self, request):
            raise NoAnswer("it never answers")

    return Parallel
