"""Operations that no honest party makes, grown out of honest ones, down into every message carried as bytes."""

import random
from functools import partial

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError

from ledger.block import block_hash
from ledger.hashes import sha256
from proto.chiptrace.v1.bridge_pb2 import (
    AcknowledgePacket,
    CustodyTransfer,
    ReceivePacket,
    RehomePart,
    ReturnPart,
    SendAttestation,
    SendPart,
    SubmitMisbehaviour,
    TimeoutPacket,
    UpdateClient,
)
from proto.chiptrace.v1.consensus_pb2 import Certificate, Vote
from proto.chiptrace.v1.ledger_pb2 import AttestationCopy, Event, GovernanceProposal, Header, ValidatorSet

# What is carried as bytes, by message and field.
CARRIED = {
    ("Capture", "event"): Event,
    ("Govern", "proposal"): GovernanceProposal,
    ("Evidence", "first"): Vote,
    ("Evidence", "second"): Vote,
    ("Operation", "update_client"): UpdateClient,
    ("Operation", "submit_misbehaviour"): SubmitMisbehaviour,
    ("Operation", "send_part"): SendPart,
    ("Operation", "receive_packet"): ReceivePacket,
    ("Operation", "acknowledge_packet"): AcknowledgePacket,
    ("Operation", "timeout_packet"): TimeoutPacket,
    ("Operation", "return_part"): ReturnPart,
    ("Operation", "send_attestation"): SendAttestation,
    ("Operation", "rehome_part"): RehomePart,
    ("SignedHeader", "header"): Header,
    ("SignedHeader", "next_validators"): ValidatorSet,
    ("CreateClient", "header"): Header,
    ("CreateClient", "certificate"): Certificate,
    ("ThawClient", "header"): Header,
    ("ThawClient", "certificate"): Certificate,
}
# By the port that a packet is for.
VALUES = {"custody/1": CustodyTransfer, "attest/1": AttestationCopy}


def kind_carried(owner, name):
    """What a field of bytes carries; None where that is nothing but bytes."""
    if (owner.DESCRIPTOR.name, name) == ("Packet", "value"):
        return VALUES.get(owner.source_port, CustodyTransfer)
    return CARRIED.get((owner.DESCRIPTOR.name, name))


TEXTS = (
    "", "\x00", " ", "é", "\U0001f600", "a" * 600, "b" * 70_000, "ada", "bob", "nobody", "ada>bob", "KGM", "ADD",
    "DELETE", "OBSERVE", "shipping", "receiving", "destroying", "void_shipping", "did_not_occur", "a-1", "b-1",
    "urn:chiptrace:member:", "urn:chiptrace:member:bob", "urn:epc:id:sgtin:4012345.011111.1",
    "urn:epc:idpat:sgtin:4012345.011111.*", "urn:epc:class:lgtin:4012345.054321.L", "urn:epc:id:sscc:4012345.1234567890",
    "URN:EPC:ID:GIAI:4012345.%2F", "https://id.gs1.org/01/04012345111118/21/%", "https://id.gs1.org/8004/4012345",
    "https://x.example/01/04012345111118", "http://[::1]/", "gs1:4012", "gs1:4012345", "gs1:40123456", "https://x.example",
    "0000-00-00T00:00:00Z", "9999-12-31T23:59:60+14:00", "2023-11-14T22:13:20.000Z", "ObjectEvent",
    "AggregationEvent", "AssociationEvent", "TransactionEvent", "TransformationEvent",
)  # fmt: skip
NUMBERS = (0, 1, 2, 31, 32, 255, 1_000, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1)
BOUNDS = {
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.TYPE_SINT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_ENUM: (-(2**31), 2**31 - 1),
}


class Mutator:
    """Changes messages at random; `learn` shows it values and messages worth putting elsewhere."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.texts = list(TEXTS)
        self.bytes = [b"", b"\x00", bytes(32), bytes(64), bytes(33)]
        self.messages = {}

    def learn(self, message):
        """Keeps every text, run of bytes and message that stands anywhere in this one."""
        known = self.messages.setdefault(message.DESCRIPTOR.name, [])
        if len(known) < 40:
            known.append(copy(message))
        for name, field, value in places(message):
            if field.type == FieldDescriptor.TYPE_MESSAGE:
                self.learn(value)
            elif field.type == FieldDescriptor.TYPE_STRING and value not in self.texts:
                self.texts.append(value)
            elif field.type == FieldDescriptor.TYPE_BYTES:
                kind = kind_carried(message, name)
                if kind is not None and value:
                    self.learn(kind.FromString(value))
                elif value not in self.bytes:
                    self.bytes.append(value)

    def change(self, message, times=1):
        """Changes a message in place, somewhere at any depth."""
        for _ in range(times):
            found = [*spots(message)]
            if found:
                self.random.choice(found)(self)
        if message.DESCRIPTOR.name == "Event" and self.random.random() < 0.8:
            fields = {field.name.encode(): copy(field) for field in message.fields}
            del message.fields[:]
            message.fields.extend(fields[name] for name in sorted(fields))

    def carried(self, owner, name, kind):
        """Changes what is carried as bytes: its meaning, or now and then its bytes."""
        inner = kind()
        try:
            inner.ParseFromString(getattr(owner, name))
        except DecodeError:
            inner = kind()
        if self.random.random() < 0.1:
            return self.run_of_bytes(getattr(owner, name))
        self.change(inner)
        return inner.SerializeToString(deterministic=True)

    def run_of_bytes(self, data: bytes) -> bytes:
        way = self.random.randrange(5)
        if way == 0 or not data:
            return self.random.choice(self.bytes)
        place = self.random.randrange(len(data))
        if way == 1:
            return data[:place]
        if way == 2:
            return data + data[place:]
        changed = bytearray(data)
        changed[place] ^= 1 << self.random.randrange(8)
        return bytes(changed)

    def text(self, before: str) -> str:
        if self.random.random() < 0.7 or not before:
            return self.random.choice(self.texts)
        place = self.random.randrange(len(before))
        return before[:place] + self.random.choice("0a%/.:*> \x7fé") + before[place + 1 :]

    def number(self, before: int, field) -> int:
        low, high = BOUNDS[field.type]
        wanted = self.random.choice((*NUMBERS, before - 1, before + 1, before + 60_000, -1))
        return min(max(wanted, low), high)

    def scalar(self, owner, field, before):
        if field.type == FieldDescriptor.TYPE_STRING:
            return self.text(before)
        if field.type == FieldDescriptor.TYPE_BOOL:
            return not before
        if field.type == FieldDescriptor.TYPE_BYTES:
            kind = kind_carried(owner, field.name)
            if kind is not None and not field.is_repeated:
                return self.carried(owner, field.name, kind)
            return self.run_of_bytes(before)
        return self.number(before, field)

    def set_one(self, owner, field):
        """A field that holds one value: another value, nothing, or a message met before."""
        if field.type != FieldDescriptor.TYPE_MESSAGE:
            setattr(owner, field.name, self.scalar(owner, field, getattr(owner, field.name)))
        elif self.random.random() < 0.3:
            owner.ClearField(field.name)
        else:
            getattr(owner, field.name).CopyFrom(self.known(field.message_type))

    def set_many(self, owner, field):
        """A repeated field: one more, one fewer, many, none, another order, or one of them changed."""
        items = list(getattr(owner, field.name))
        message = field.type == FieldDescriptor.TYPE_MESSAGE
        fresh = (
            self.known(field.message_type)
            if message
            else self.scalar(owner, field, field.default_value or NONE[field.type])
        )
        way = self.random.randrange(6)
        if way == 0 or not items:
            items.insert(self.random.randrange(len(items) + 1), fresh)
        elif way == 1:
            items.pop(self.random.randrange(len(items)))
        elif way == 2:
            items.insert(0, self.random.choice(items))
        elif way == 3:
            items = items * self.random.choice((0, 2, 2, 40))
        elif way == 4:
            self.random.shuffle(items)
        else:
            items[self.random.randrange(len(items))] = fresh
        items = [copy(item) for item in items] if message else items
        del getattr(owner, field.name)[:]
        getattr(owner, field.name).extend(items)

    def known(self, kind):
        """A message of this kind that was met before."""
        found = self.messages.get(kind.name)
        if not found:
            return kind._concrete_class()
        return copy(self.random.choice(found))


NONE = {FieldDescriptor.TYPE_STRING: "", FieldDescriptor.TYPE_BYTES: b"", FieldDescriptor.TYPE_UINT64: 0}


def copy(message):
    made = type(message)()
    made.CopyFrom(message)
    return made


def places(message):
    """(name, field, value) of every value set in a message, items of lists one by one."""
    for field, value in message.ListFields():
        for item in value if field.is_repeated else (value,):
            yield field.name, field, item


def spots(message):
    """Every place at which a message can be changed, as a change to be given the mutator."""
    for field in message.DESCRIPTOR.fields:
        set_field = Mutator.set_many if field.is_repeated else Mutator.set_one
        empty_choice = field.containing_oneof is not None and not message.HasField(field.name)
        if not empty_choice or field.number % 4 == 0:
            yield partial(apply, set_field, message, field)
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for item in getattr(message, field.name) if field.is_repeated else [getattr(message, field.name)]:
                if field.is_repeated or message.HasField(field.name):
                    yield from spots(item)
        elif kind_carried(message, field.name) is not None and getattr(message, field.name):
            # Most of what is worth changing lies within.
            for _ in range(30):
                yield partial(apply, set_field, message, field)


def apply(set_field, message, field, mutator):
    set_field(mutator, message, field)


def certify(chain_id, message):
    """Puts certificates right after a change of their headers: a corrupt quorum signs anything."""
    name = message.DESCRIPTOR.name
    if name == "SignedHeader":
        try:
            height = Header.FromString(message.header).height
        except DecodeError:
            return
        message.certificate.height = height
        message.certificate.block_hash = block_hash(chain_id, message.header)
    for field, value in message.ListFields():
        kind = CARRIED.get((name, field.name))
        if kind in (UpdateClient, SubmitMisbehaviour):
            try:
                inner = kind.FromString(value)
            except DecodeError:
                continue
            certify(chain_id, inner)
            setattr(message, field.name, inner.SerializeToString(deterministic=True))
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            for item in value if field.is_repeated else (value,):
                certify(chain_id, item)


def identity(number: int) -> bytes:
    return sha256(b"transaction %d" % number)
