"""The message tables of docs/format.md, made from the .proto files and their comments."""

import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.ledger import messages  # noqa: E402

PAGE = ROOT / "docs" / "format.md"
START, END = "<!-- generated: messages -->", "<!-- end -->"
PROTOS = ("ledger", "consensus", "bridge", "passport")

FIELD = re.compile(r"^\s*(?:repeated )?[\w.]+ (\w+) = \d+;(?: // (.*))?$")


def comments() -> dict[str, tuple[str, dict[str, str]]]:
    """Message name -> (its comment, field name -> comment), from the .proto files."""
    found: dict[str, tuple[str, dict[str, str]]] = {}
    for name in PROTOS:
        above: list[str] = []
        inside = ""
        for line in (ROOT / f"proto/chiptrace/v1/{name}.proto").read_text().splitlines():
            if opened := re.match(r"^message (\w+) \{", line):
                inside = opened[1]
                found[inside] = " ".join(above), {}
            elif inside and (field := FIELD.match(line)):
                found[inside][1][field[1]] = field[2] or ""
            above = [*above, line[2:].strip()] if line.startswith("//") else []
    return found


def type_of(field: Any) -> str:
    names = {field.TYPE_BOOL: "bool", field.TYPE_BYTES: "bytes", field.TYPE_STRING: "string"}
    names |= {field.TYPE_UINT32: "uint32", field.TYPE_UINT64: "uint64", field.TYPE_SINT32: "sint32"}
    if field.message_type is not None:
        name = field.message_type.name
    elif field.enum_type is not None:
        name = f"enum {field.enum_type.name}"
    else:
        name = names[field.type]
    oneof = f", in {field.containing_oneof.name}" if field.containing_oneof is not None else ""
    return ("repeated " if field.is_repeated else "") + name + oneof


def tables() -> str:
    said = comments()
    parts = []
    for kind in messages.all_kinds():
        name = kind.DESCRIPTOR.name
        comment, of_fields = said[name]
        parts += ["", f"### {name}", ""]
        if comment:
            parts += [comment, ""]
        if not kind.DESCRIPTOR.fields:
            parts += ["No fields."]
            continue
        parts += ["| number | field | type | |", "|---|---|---|---|"]
        for field in sorted(kind.DESCRIPTOR.fields, key=lambda field: field.number):
            meaning = of_fields.get(field.name, "").replace("|", "\\|")
            parts.append(f"| {field.number} | `{field.name}` | {type_of(field)} | {meaning} |")
    return "\n".join(parts) + "\n\n"


def page() -> str:
    before, rest = PAGE.read_text().split(START)
    return before + START + tables() + END + rest.split(END)[1]
