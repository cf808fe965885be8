"""Random and deterministic messages of any kind, and their plain-data form as the vectors hold it.

Plain data: a dict of the fields that are present; bytes as hex, enums as numbers, messages as dicts.
"""

import hashlib
from collections.abc import Callable, Iterator

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from proto.chiptrace.v1 import bridge_pb2, consensus_pb2, ledger_pb2, passport_pb2

UNSIGNED = {FieldDescriptor.TYPE_UINT32: 32, FieldDescriptor.TYPE_UINT64: 64}
SIGNED = {FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_SINT32}
DEPTH_MAX = 4


def all_kinds() -> list[type[Message]]:
    """Every message of the ledger, the consensus, the bridge, and of passports; node.proto is never hashed or signed."""
    files = (ledger_pb2, consensus_pb2, bridge_pb2, passport_pb2)
    found = [GetMessageClass(d) for file in files for d in file.DESCRIPTOR.message_types_by_name.values()]
    return sorted(found, key=lambda kind: kind.DESCRIPTOR.name)


def kind_named(name: str) -> type[Message]:
    return next(kind for kind in all_kinds() if kind.DESCRIPTOR.name == name)


def to_plain(message: Message) -> dict:
    plain = {}
    for field, value in message.ListFields():
        convert = _plain_of(field)
        plain[field.name] = [convert(item) for item in value] if field.is_repeated else convert(value)
    return plain


def _plain_of(field: FieldDescriptor) -> Callable:
    if field.message_type is not None:
        return to_plain
    if field.type == FieldDescriptor.TYPE_BYTES:
        return bytes.hex
    return lambda value: value


def from_plain(kind: type[Message], plain: dict) -> Message:
    message = kind()
    for name, value in plain.items():
        field = kind.DESCRIPTOR.fields_by_name[name]
        values = value if field.is_repeated else [value]
        if field.message_type is not None:
            made = [from_plain(GetMessageClass(field.message_type), item) for item in values]
            if field.is_repeated:
                getattr(message, name).extend(made)
            else:
                getattr(message, name).CopyFrom(made[0])
            continue
        made = (
            [bytes.fromhex(item) for item in values] if field.type == FieldDescriptor.TYPE_BYTES else values
        )
        if field.is_repeated:
            getattr(message, name).extend(made)
        else:
            setattr(message, name, made[0])
    return message


# ---- deterministic: every field of every message, every arm of every oneof ---------------------------


def samples(kind: type[Message]) -> Iterator[Message]:
    """The empty message; then with all fields set, once for each arm of its oneof."""
    yield kind()
    arms = [field.name for oneof in kind.DESCRIPTOR.oneofs for field in oneof.fields] or [""]
    for arm in arms:
        yield _filled(kind.DESCRIPTOR, arm, 0)


def _filled(descriptor: Descriptor, arm: str, depth: int) -> Message:
    message = GetMessageClass(descriptor)()
    for field in descriptor.fields:
        if field.containing_oneof is not None and field.name != (
            arm or field.containing_oneof.fields[0].name
        ):
            continue
        if field.message_type is not None and depth >= DEPTH_MAX:
            continue
        count = 2 if field.is_repeated and depth == 0 else 1
        for turn in range(count):
            value = _value(field, depth, turn)
            if field.is_repeated and field.message_type is not None:
                getattr(message, field.name).add().CopyFrom(value)
            elif field.is_repeated:
                getattr(message, field.name).append(value)
            elif field.message_type is not None:
                getattr(message, field.name).CopyFrom(value)
            else:
                setattr(message, field.name, value)
    return message


def _value(field: FieldDescriptor, depth: int, turn: int) -> object:
    if field.message_type is not None:
        return _filled(field.message_type, "", depth + 1)
    seed = hashlib.sha256(f"{field.full_name}/{turn}".encode()).digest()
    if field.enum_type is not None:
        numbers = [value.number for value in field.enum_type.values if value.number]
        return numbers[seed[0] % len(numbers)]
    if field.type == FieldDescriptor.TYPE_BOOL:
        return True
    if field.type == FieldDescriptor.TYPE_STRING:
        return f"{field.name} é{turn}"
    if field.type == FieldDescriptor.TYPE_BYTES:
        return seed
    if field.type in SIGNED:
        return -1 - seed[0] % 18
    return (
        int.from_bytes(seed[:8], "big") >> (64 - UNSIGNED[field.type]) >> seed[8] % UNSIGNED[field.type] or 1
    )


# ---- random ----------------------------------------------------------------------------------------------


def messages(kind: type[Message], depth: int = 0) -> st.SearchStrategy[Message]:
    """Any message of this kind; nested ones down to DEPTH_MAX."""

    @st.composite
    def build(draw: st.DrawFn) -> Message:
        message = kind()
        for field in kind.DESCRIPTOR.fields:
            if not draw(st.booleans()) or (field.message_type is not None and depth >= DEPTH_MAX):
                continue
            if field.is_repeated:
                values = draw(st.lists(values_of(field, depth), max_size=3))
                getattr(message, field.name).extend(values)
            elif field.message_type is not None:
                getattr(message, field.name).CopyFrom(draw(values_of(field, depth)))
            else:
                setattr(message, field.name, draw(values_of(field, depth)))
        return message

    return build()


def values_of(field: FieldDescriptor, depth: int) -> st.SearchStrategy:
    if field.message_type is not None:
        return messages(GetMessageClass(field.message_type), depth + 1)
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values]) | st.integers(0, 2**31 - 1)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return st.booleans()
    if field.type == FieldDescriptor.TYPE_STRING:
        return st.text(max_size=12)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=40)
    if field.type in SIGNED:
        return st.integers(-(2**31), 2**31 - 1)
    return st.integers(0, 2 ** UNSIGNED[field.type] - 1)
