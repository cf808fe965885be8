"""The list behind a lot's root, as who commissioned the lot keeps it: a file, the proofs of its serials, the words of the
event.

A list is a text file in UTF-8, one serial per line in the order in which the serials lie in the lot; who is given some
of the lot is given the list. A proof of one serial is a small JSON file, for who is not given the list.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from client.verified import VerifiedChain
from ledger import state
from ledger.errors import Malformed, Refused
from ledger.event import read_event
from ledger.event_values import OURS
from ledger.hashes import HASH_BYTES
from ledger.identifiers import Identifier, canonical
from ledger.limits import EVENT_BYTES_MAX, U64_MAX
from ledger.roots import SerialList
from proto.chiptrace.v1.ledger_pb2 import Event, LotRecord, Membership, Reason

LIST_BYTES_MAX = 1_073_741_824
_FIELDS = ("serial", "lot", "place", "path")


def read_list(path: Path, lot: Identifier, origin_chain: bytes) -> SerialList:
    """The list of a lot that began on this chain.

    Raises Malformed for a file that is none, Refused for what is no list of serials; OSError.
    """
    with path.open("rb") as file:
        data = file.read(LIST_BYTES_MAX + 1)
    if len(data) > LIST_BYTES_MAX:
        raise Malformed(f"{path.name}: a list has at most {LIST_BYTES_MAX} bytes", Reason.OVERSIZE)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"{path.name}: it is not UTF-8") from error
    lines = text.removesuffix("\n").split("\n")
    bad = next((number for number, line in enumerate(lines, 1) if line != line.strip() or not line), None)
    if bad is not None:
        raise Malformed(f"{path.name}, line {bad}: one serial per line, and nothing else")
    return SerialList(origin_chain, lot, lines)


def kept_list(chain: VerifiedChain, choice: str) -> SerialList:
    """The list that a choice `LOT=FILE` names, of a lot of this chain, compared with the lot's root.

    Raises Malformed for a choice that cannot be followed; and as `read_list`.
    """
    name, _, file = choice.rpartition("=")
    if not name or not file:
        raise Malformed(f"--list {choice}: write it as LOT=FILE")
    lot = canonical(name)
    record = chain.record(state.lot_key(lot.text), LotRecord)
    if record is None or not record.serials.root:
        raise Malformed(f"{lot.text} is no lot by a root on chain {chain.trust.name}", Reason.UNKNOWN_LOT)
    kept = read_list(Path(file), lot, record.origin_chain)
    if (kept.given.root, len(kept)) != (record.serials.root, record.serials.count):
        raise Malformed(
            f"{file} is not the list of {lot.text}: it has {len(kept)} serials and root {kept.given.root.hex()}, the "
            f"lot {record.serials.count} and {record.serials.root.hex()}"
        )
    return kept


def commissioning_words(kept: SerialList) -> dict[str, str]:
    """What the `ilmd` of the event says that commissions the lot; `quantity` is the number of serials."""
    given = kept.given
    return {
        f"{OURS}serialsRoot": given.root.hex(),
        f"{OURS}lowestSerial": given.lowest,
        f"{OURS}highestSerial": given.highest,
    }


def memberships_for(event: Event, lists: Iterable[SerialList]) -> list[Membership]:
    """Proofs of all serials that an event names and one of the lists has. Raises Refused for what is no event."""
    view = read_event(event)
    parent = () if view.parent is None else (view.parent,)
    named = (*view.epcs, *view.children, *view.inputs, *view.outputs, *parent)
    names = dict.fromkeys(identifier.text for identifier in named)
    shown: dict[str, Membership] = {}
    for kept in lists:
        for name in names:
            if name in kept:
                if name in shown:
                    raise Refused(
                        f"{name} is in two of the lists, of {shown[name].lot} and of {kept.lot.text}; name the one "
                        "that it is of",
                        Reason.MEMBERSHIP_INVALID,
                    )
                shown[name] = kept.membership(name)
    return list(shown.values())


# ---- a proof as a file ----------------------------------------------------------------------------------------


def to_json(membership: Membership) -> str:
    """A proof as text."""
    path = [node.hex() for node in membership.path]
    said = {"serial": membership.serial, "lot": membership.lot, "place": membership.place, "path": path}
    return json.dumps(said, indent=1) + "\n"


def from_json(text: str) -> Membership:
    """The proof that `to_json` wrote. Raises Malformed."""
    try:
        said = json.loads(text)
        if not isinstance(said, dict) or tuple(said) != _FIELDS:
            raise Malformed(f"a proof of a serial has the members {', '.join(_FIELDS)}")
        path = [bytes.fromhex(node) for node in said["path"]]
        if any(len(node) != HASH_BYTES for node in path) or type(said["place"]) is not int:
            raise Malformed(f"its path has hashes of {HASH_BYTES} bytes, and its place is a number")
        if not 0 <= said["place"] <= U64_MAX:
            raise Malformed("its place is out of range")
        return Membership(serial=said["serial"], lot=said["lot"], place=said["place"], path=path)
    except (ValueError, TypeError, RecursionError) as error:
        raise Malformed(f"it is no proof of a serial: {error}") from error


def read_proofs(paths: Iterable[Path]) -> Mapping[str, Membership]:
    """The proofs in these files, by serial. Raises Malformed, OSError."""
    found: dict[str, Membership] = {}
    for path in paths:
        with path.open("rb") as file:
            data = file.read(EVENT_BYTES_MAX + 1)
        if len(data) > EVENT_BYTES_MAX:
            raise Malformed(
                f"{path.name}: too long for a proof of a serial; name one that `chiptrace lot prove` wrote",
                Reason.OVERSIZE,
            )
        try:
            membership = from_json(data.decode())
        except UnicodeDecodeError as error:
            raise Malformed(f"{path.name}: it is not UTF-8") from error
        found[canonical(membership.serial).text] = membership
    return found


def describe(kept: SerialList) -> dict[str, Any]:
    """A list in a few words: of which lot, how many, and what the event says of it."""
    return {"lot": kept.lot.text, "count": len(kept), "ilmd": commissioning_words(kept)}
