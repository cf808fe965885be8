"""The one accepted encoding: deterministic protobuf, decoded only when it is byte for byte what we would write.

Comparing with our own serialisation refuses unknown fields, duplicates, explicit defaults, padded varints, fields
out of order and trailing bytes in one step, at the speed of C. It holds for messages without maps and floats,
which none of the hashed types has (docs/format.md).
"""

from types import ModuleType
from typing import TypeVar

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message import Error as ProtobufError
from google.protobuf.message import Message

from ledger.errors import InvariantBroken, Malformed
from proto.chiptrace.v1 import ledger_pb2
from proto.chiptrace.v1.ledger_pb2 import Reason

M = TypeVar("M", bound=Message)


def encode(message: Message) -> bytes:
    """The canonical bytes of a message.

    Raises InvariantBroken where we built something that no one could read back (nested too deep).
    """
    try:
        return message.SerializeToString(deterministic=True)
    except ProtobufError as error:
        raise InvariantBroken(f"{message.DESCRIPTOR.name} cannot be encoded: {error}") from error


def decode(kind: type[M], data: bytes, bytes_max: int) -> M:
    """The message that `data` is the canonical encoding of.

    Raises Malformed, and nothing else: with OVERSIZE when longer than `bytes_max` (before anything is parsed),
    with MALFORMED when it is no encoding of `kind` or not the canonical one.
    """
    if len(data) > bytes_max:
        name = kind.DESCRIPTOR.name
        raise Malformed(f"{name} has {len(data)} bytes; at most {bytes_max} are allowed", Reason.OVERSIZE)
    try:
        message = kind.FromString(data)
        # What is unknown to us would survive serialisation, and so hide in bytes that compare equal.
        message.DiscardUnknownFields()
        canonical = message.SerializeToString(deterministic=True)
    except ProtobufError as error:
        raise Malformed(f"{kind.DESCRIPTOR.name} cannot be parsed: {error}") from error
    if canonical != data:
        name = kind.DESCRIPTOR.name
        raise Malformed(
            f"{name} is not in its canonical encoding ({len(data)} bytes, {len(canonical)} expected)"
        )
    return message


def name_values(generated: ModuleType) -> None:
    """Makes the values of a generated module's enums attributes of theirs. The library looks each up by a call, every
    time it is named: 1 µs, a dozen times in an event."""
    for enum in vars(generated).values():
        if isinstance(enum, EnumTypeWrapper):
            for name, number in enum.items():
                setattr(enum, name, number)


name_values(ledger_pb2)
