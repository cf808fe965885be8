"""The change file that people write, and a change as people read it: the fields of the messages, by their names.

    [[change]]
    kind = "put_key"
    key = "9f0c…"                    # bytes are hexadecimal
    member = "newfab"
    role = "validator"

    [[change]]
    kind = "set_validators"
    validators = [ { member = "siliconfab", key = "41d2…" }, … ]

TOML, or the same as JSON. The changes are carried out in the order in which they stand. A genesis file holds the fields of
one Genesis in the same way. Whatever is not exactly such a file is an error that names file, change and field.
"""

import datetime as dt
import json
import tomllib
from pathlib import Path
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from ledger.errors import Malformed
from ledger.genesis import STATE_VERSION
from ledger.limits import CHANGES_PER_PROPOSAL_MAX
from proto.chiptrace.v1.ledger_pb2 import Change, Genesis

_FILE_BYTES_MAX: Final = 1_048_576
_UNSIGNED: Final = {FieldDescriptor.TYPE_UINT32: 2**32, FieldDescriptor.TYPE_UINT64: 2**64}


def read(path: Path) -> list[Change]:
    """The changes of a file, in order. Raises Malformed, OSError."""
    document = _parsed(path)
    if not isinstance(document, dict) or set(document) != {"change"}:
        raise Malformed(f"{path}: a change file holds [[change]] sections and nothing else")
    items = document["change"]
    if not isinstance(items, list) or not 0 < len(items) <= CHANGES_PER_PROPOSAL_MAX:
        raise Malformed(f"{path}: a change file holds 1 to {CHANGES_PER_PROPOSAL_MAX} [[change]] sections")
    return [_change(item, f"{path}: change {number}") for number, item in enumerate(items, start=1)]


def read_genesis(path: Path) -> Genesis:
    """What a chain is to begin with, by the fields of the message Genesis; not judged yet. Raises Malformed, OSError."""
    document = Genesis(state_version=STATE_VERSION)
    _fill_part(document, _parsed(path), str(path))
    return document


def _parsed(path: Path) -> object:
    with path.open("rb") as file:
        data = file.read(_FILE_BYTES_MAX + 1)
    if len(data) > _FILE_BYTES_MAX:
        raise Malformed(f"{path} is larger than {_FILE_BYTES_MAX} bytes; split it")
    try:
        text = data.decode()
        found: object = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"{path} cannot be read: {error}") from None
    return found


def _change(item: object, place: str) -> Change:
    if not isinstance(item, dict):
        raise Malformed(f"{place} must be a table")
    known = Change.DESCRIPTOR.fields_by_name
    kind = item.get("kind")
    if not isinstance(kind, str) or kind not in known:
        raise Malformed(f"{place}: kind must be one of {', '.join(known)}")
    fields = {name: value for name, value in item.items() if name != "kind"}
    change = Change()
    chosen = getattr(change, kind)
    chosen.SetInParent()
    _fill(chosen, fields, f"{place} ({kind})")
    return change


def _fill(message: Message, table: dict[str, Any], place: str) -> None:
    fields: dict[str, Any] = dict(message.DESCRIPTOR.fields_by_name)
    for name, value in table.items():
        if name not in fields:
            raise Malformed(f"{place}: unknown field '{name}'; known are: {', '.join(fields)}")
        field, where = fields[name], f"{place}: '{name}'"
        if field.is_repeated:
            if not isinstance(value, list):
                raise Malformed(f"{where} must be a list")
            for number, one in enumerate(value, start=1):
                _add(message, field, one, f"{where} {number}")
        elif field.message_type is not None:
            _fill_part(getattr(message, name), value, where)
        else:
            setattr(message, name, _scalar(field, value, where))
    # What is left out is its default; a key, a name or a member never has one that means something.
    for name in _REQUIRED.get(str(message.DESCRIPTOR.name), ()):
        if name not in table:
            raise Malformed(f"{place}: '{name}' is missing")


def _add(message: Message, field: FieldDescriptor, value: object, place: str) -> None:
    items = getattr(message, field.name)
    if field.message_type is not None:
        _fill_part(items.add(), value, place)
    else:
        items.append(_scalar(field, value, place))


def _fill_part(part: Message, value: object, place: str) -> None:
    if not isinstance(value, dict):
        raise Malformed(f"{place} must be a table")
    part.SetInParent()
    _fill(part, value, place)


def _scalar(field: FieldDescriptor, value: object, place: str) -> object:
    if field.enum_type is not None:
        names = field.enum_type.values_by_name
        wanted = value.upper() if isinstance(value, str) else ""
        if wanted not in names or names[wanted].number == 0:
            said = ", ".join(name.lower() for name, item in names.items() if item.number)
            raise Malformed(f"{place} must be one of {said}")
        return names[wanted].number
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _bytes(value, place)
    if field.type == FieldDescriptor.TYPE_BOOL:
        if not isinstance(value, bool):
            raise Malformed(f"{place} must be true or false")
        return value
    if field.type in _UNSIGNED:
        if isinstance(value, dt.datetime) and value.tzinfo is not None and field.name.endswith("_ms"):
            return int(value.timestamp()) * 1_000
        if type(value) is not int or not 0 <= value < _UNSIGNED[field.type]:
            more = ", or a time with its zone" if field.name.endswith("_ms") else ""
            raise Malformed(f"{place} must be a whole number from 0 to {_UNSIGNED[field.type] - 1}{more}")
        return value
    if not isinstance(value, str):
        raise Malformed(f"{place} must be a text")
    return value


def _bytes(value: object, place: str) -> bytes:
    try:
        if isinstance(value, str) and value == value.lower() and value.isalnum():
            return bytes.fromhex(value)
    except ValueError:
        pass
    raise Malformed(f"{place} must be bytes in lower-case hexadecimal digits")


# Fields without which a change means nothing; all else has a default that says so.
_REQUIRED: Final = {
    "PutMember": ("id", "name", "admin_keys"),
    "PutKey": ("key", "member", "role"),
    "RevokeKey": ("key",),
    "PutGrant": ("prefix", "holder"),
    "RevokeGrant": ("prefix",),
    "PutPolicy": ("id", "prefix", "trigger", "attestation", "issuers"),
    "RevokePolicy": ("id",),
    "SetValidators": ("validators",),
    "Validator": ("key", "member"),
    "SetParameters": ("parameters",),
    # All of them are replaced: one left out would silently become zero, or false.
    "Parameters": (
        "governance_threshold",
        "heartbeat_ms",
        "adoption",
        "offer_expiry_ms",
        "backdate_ms",
        "block_bytes",
    ),
    "CreateClient": (
        "id",
        "chain_id",
        "counterparty_client",
        "validators",
        "trusting_period_ms",
        "governance_keys",
        "governance_members",
        "governance_threshold",
    ),
    "RehomeChain": ("client", "header_height", "opening", "why", "counterparty_approvals"),
    "AppHashOpening": ("state_root", "log_size", "log_root"),
    "MemberHere": ("there", "here"),
    "Genesis": ("name", "time_ms", "members", "validators", "parameters"),
    "ThawClient": ("id", "header", "certificate", "validators", "counterparty_approvals"),
}


# ---- for people -------------------------------------------------------------------------------------------


def plain(message: Message) -> dict[str, Any]:
    """The fields that a message has, as a change file writes them; those it must have, also where they are zero."""
    required = _REQUIRED.get(str(message.DESCRIPTOR.name), ())
    present = {field.name for field, _ in message.ListFields()}
    found: dict[str, Any] = {}
    fields: list[Any] = list(message.DESCRIPTOR.fields)
    for field in fields:
        if field.name in present or field.name in required:
            value = getattr(message, field.name)
            found[field.name] = (
                [_plain_one(field, one) for one in value] if field.is_repeated else _plain_one(field, value)
            )
    return found


def _plain_one(field: FieldDescriptor, value: Any) -> object:
    if field.message_type is not None:
        return plain(value)
    if field.enum_type is not None:
        found = field.enum_type.values_by_number.get(value)
        return str(found.name).lower() if found is not None else int(value)
    return value.hex() if isinstance(value, bytes) else value


def plain_change(change: Change) -> dict[str, Any]:
    """A change as a change file writes it."""
    kind = change.WhichOneof("kind")
    return {"kind": kind or "unknown", **(plain(getattr(change, kind)) if kind else {})}


def section(change: Change) -> str:
    """A change as a [[change]] section of a change file."""
    lines = ["[[change]]"]
    for name, value in plain_change(change).items():
        lines += _lines(name, value)
    return "\n".join(lines) + "\n"


def _lines(name: str, value: object) -> list[str]:
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return [f"{name} = [", *(f"  {_inline(item)}," for item in value), "]"]
    return [f"{name} = {_inline(value)}"]


def _inline(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_inline(item)}" for name, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_inline(item) for item in value) + "]"
    # A JSON number, truth or string is one of TOML's too, but for DEL and letters that JSON writes as two surrogates.
    # What would move a terminal's cursor, or hide or reorder letters, is written out.
    text = json.dumps(value, ensure_ascii=False)
    return "".join(letter if letter.isprintable() else f"\\U{ord(letter):08x}" for letter in text)
