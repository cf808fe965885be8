"""Commands about single events: `event declare-error`, `event pending`, `event notes`."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from client.capture import capture_one
from client.cli_parts import Part, Parts, tell, utc_now
from client.console import (
    DEFAULT_TRUST,
    OUT,
    ChainOption,
    JsonOption,
    MemberOption,
    TrustOption,
    plain,
    print_json,
    without_traceback,
)
from client.records import name_of
from client.serials import find_part, histories
from client.session import open_chain
from client.tree_view import time_text
from client.verified import VerifiedChain
from ledger import codec, state
from ledger.corrections import original_of
from ledger.errors import Refused
from ledger.event import EventView, check_event, event_digest, read_event
from ledger.identifiers import canonical
from ledger.limits import EVENT_BYTES_MAX
from proto.chiptrace.v1.ledger_pb2 import (
    CorrectionRecord,
    CorrectionState,
    EntryKind,
    Event,
    Field,
    List,
    LotRecord,
    NoteRecord,
    Object,
    Parameters,
    PartRecord,
    Reason,
    Value,
)

event = typer.Typer(
    no_args_is_help=True, help="Declare an event wrong; list what waits for others; read notes."
)
PROVABLE_TRIES, PROVABLE_SECONDS = (
    50,
    0.1,
)  # the block after the one that holds a declaration certifies what it did
_BECAME = {
    CorrectionState.NOTED: "noted: nothing was undone, for more has happened since, or it cannot be undone",
    CorrectionState.WAITING: "it waits for others to say the same (`chiptrace event pending`): nothing is undone yet",
    CorrectionState.TAKEN_BACK: "taken back: what the event did is undone",
    CorrectionState.DISPUTED: "contested: something that the event names is over or on another chain; nothing was undone",
    CorrectionState.WITHOUT_EFFECT: "noted: the event had done nothing that could be undone",
}
HEX_DIGITS_MIN = 8  # of a digest or a transaction, to name an event by


def register(app: typer.Typer) -> None:
    """Add the commands about events."""
    app.add_typer(event, name="event")


@dataclass(frozen=True)
class Recorded:
    """An event of a history that is proven. digest: of the event without its declaration, if it has one."""

    event: Event
    view: EventView
    digest: bytes
    transaction: bytes
    height: int
    kind: int
    finding: int

    def is_called(self, name: str) -> bool:
        """Whether it is the event with this eventID, or whose digest or transaction begins with these digits."""
        begins = any(data.hex().startswith(name.lower()) for data in (self.digest, self.transaction))
        return bool(name) and (name == self.view.event_id or (len(name) >= HEX_DIGITS_MIN and begins))


def events_of(chain: VerifiedChain, name: str) -> Iterator[Recorded]:
    """The events in the complete history of a part or lot, by canonical id. Raises Refused(UNKNOWN_PART)."""
    part = find_part(chain, name)
    lot = chain.record(state.lot_key(name), LotRecord) if part is None else None
    if part is not None:
        told = histories(chain, part)
    elif lot is not None:
        told = [(name, chain.history(state.lot_key(name), lot.history))]
    else:
        raise Refused(f"{name} is proven absent from chain {chain.trust.name}", Reason.UNKNOWN_PART)
    chain_id = chain.trust.chain_id
    for proven in (one for _, own in told for one in own):
        operation = proven.transaction.body.operations[proven.entry.operation]
        if operation.WhichOneof("kind") != "capture":
            continue
        data = operation.capture.event
        read = codec.decode(Event, data, EVENT_BYTES_MAX)
        check_event(read)
        view, entry = read_event(read), proven.entry
        declared = view.error_declaration is not None
        digest = original_of(chain_id, data) if declared else event_digest(chain_id, read)
        yield Recorded(read, view, digest, entry.transaction, entry.height, entry.kind, entry.finding)


# ---- declaring ----------------------------------------------------------------------------------------------


def declaration(wrong: Event, time: str, reason: str, correctives: list[str]) -> Event:
    """The event once more, with its seed, and with the words that it was wrong. time: ISO 8601."""
    said = [Field(name="declarationTime", value=Value(text=time))]
    if correctives:
        ids = List(items=[Value(text=text) for text in correctives])
        said.insert(0, Field(name="correctiveEventIDs", value=Value(list=ids)))
    if reason:
        said.append(Field(name="reason", value=Value(text=reason)))
    added = Field(name="errorDeclaration", value=Value(object=Object(fields=said)))
    fields = sorted([*wrong.fields, added], key=lambda field: field.name.encode())
    return Event(seed=wrong.seed, fields=fields)


@event.command("declare-error")
@without_traceback
def declare_error(
    name: Annotated[
        str,
        typer.Argument(
            help="eventID, or the first 8 digits or more of its digest or transaction.", metavar="EVENT"
        ),
    ],
    thing: Annotated[str, typer.Option("--of", help="A part or lot in whose history the event stands.")],
    chain: ChainOption,
    member: MemberOption,
    reason: Annotated[
        str, typer.Option("--reason", help="did_not_occur, incorrect_data, or a URI of your own.")
    ] = "incorrect_data",
    corrective: Annotated[
        list[str] | None,
        typer.Option("--corrective", help="eventID of an event that says what is right; repeat for more."),
    ] = None,
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """Declare a recorded event wrong. It stays; what it did is undone if nobody else is concerned, or all say so.

    Example: chiptrace event declare-error urn:uuid:374d95fc-9457-4a51-bd6a-0bba133845a8 --of ID
    --reason did_not_occur --chain chipmaker --as siliconfab
    """
    with open_chain(trust, chain, member) as session:
        found = {
            one.digest: one
            for one in events_of(session.verified, canonical(thing).text)
            if one.view.error_declaration is None and one.is_called(name)
        }
        if len(found) != 1:
            raise Refused(
                f"{len(found)} events in the history of {thing} are called {name}; name one by its eventID, or by "
                f"{HEX_DIGITS_MIN} digits or more of its digest or transaction",
                Reason.NOT_FOUND,
            )
        (wrong,) = found.values()
        recorded = capture_one(
            session.submitter(), declaration(wrong.event, utc_now(), reason, corrective or [])
        )
        became = "" if as_json else _became(session.verified, wrong.digest, recorded.height)
    tell(recorded, "declared wrong", as_json=as_json)
    if became:
        OUT.print(became)


def _became(chain: VerifiedChain, original: bytes, height: int) -> str:
    """What came of a declaration at this height, proven: that it is recorded says nothing of it."""
    for _ in range(PROVABLE_TRIES):
        chain.repin()
        if chain.snapshot().height >= height:
            found = chain.record(state.correction_key(original), CorrectionRecord)
            # What names no part and no amount, or what nobody heard of, is noted without a record of its own.
            return _BECAME[found.state if found is not None else CorrectionState.NOTED]
        time.sleep(PROVABLE_SECONDS)
    return "what came of it cannot be proven yet; the history says it"


# ---- what waits -----------------------------------------------------------------------------------------------


@event.command("pending")
@without_traceback
def pending(
    things: Parts, chain: ChainOption, trust: TrustOption = DEFAULT_TRUST, as_json: JsonOption = False
) -> None:
    """List events of these parts and lots that were declared wrong and wait for others to say the same.

    The list is complete for what is named: histories are. Example: chiptrace event pending ID --chain chipmaker
    """
    rows: list[dict[str, Any]] = []
    with open_chain(trust, chain) as session:
        verified = session.verified
        for name in dict.fromkeys(canonical(thing).text for thing in things):
            rows += _waiting(verified, name)
    if as_json:
        print_json({"pending": rows})
        return
    for row in rows:
        until = time_text(row["until_ms"])
        OUT.print(
            f"{row['what']} {row['digest'][:16]} {plain(row['event_id'])} of {plain(row['of'])}\n"
            f"  declared wrong by {plain(', '.join(row['declared_by']))}; "
            f"waits for {plain(', '.join(row['waits_for'])) or 'others'} "
            f"until {until}"
        )
    OUT.print(f"{len(rows)} events wait for others to declare them wrong")


def _waiting(chain: VerifiedChain, name: str) -> Iterator[dict[str, Any]]:
    parameters = chain.record(state.PARAMETERS_KEY, Parameters) or Parameters()
    now_ms = chain.snapshot().time_ms
    told: set[bytes] = set()
    for one in events_of(chain, name):
        if one.finding != Reason.CORRECTION_PENDING or one.digest in told:
            continue
        told.add(one.digest)
        record = chain.record(state.correction_key(one.digest), CorrectionRecord)
        until_ms = 0 if record is None else record.declared_at_ms + parameters.offer_expiry_ms
        if record is None or record.state != CorrectionState.WAITING or until_ms <= now_ms:
            continue
        words = (one.view.type.removesuffix("Event").lower(), one.view.action, one.view.biz_step)
        yield {
            "of": name,
            "event_id": one.view.event_id,
            "digest": one.digest.hex(),
            "what": " ".join(word for word in words if word),
            "declared_by": list(record.members),
            "waits_for": _concerned(chain, name, record),
            "until_ms": until_ms,
        }


def _concerned(chain: VerifiedChain, name: str, record: CorrectionRecord) -> list[str]:
    """Who made, has or owns the part now and has not said so; others may be concerned by what else was named."""
    part: PartRecord | None = find_part(chain, name)
    if part is None:
        return []
    made_here = part.origin_chain == chain.trust.chain_id
    members = {part.commissioner if made_here else "", part.holder, part.owner} - {"", *record.members}
    return sorted(members)


# ---- notes ----------------------------------------------------------------------------------------------------


@event.command("notes")
@without_traceback
def notes(
    about: Part,
    by: Annotated[str, typer.Option("--by", help="Member who noted it.")],
    chain: ChainOption,
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """What a member noted about a place (readings without parts), or about an event: all of it, proven.

    Example: chiptrace event notes urn:epc:id:sgln:9521234.00001.0 --by siliconfab --chain chipmaker
    """
    name = canonical(about).text
    with open_chain(trust, chain) as session:
        key = state.note_key(name, by)
        record = session.verified.record(key, NoteRecord)
        entries = [] if record is None else session.verified.history(key, record.history)
        times = session.verified.times(proven.entry.height for proven in entries)
    rows: list[dict[str, Any]] = [
        {
            "n": proven.n,
            "height": proven.entry.height,
            "time_ms": times[proven.entry.height],
            "kind": name_of(EntryKind, proven.entry.kind),
            "transaction": proven.entry.transaction.hex(),
        }
        for proven in entries
    ]
    if as_json:
        print_json({"about": name, "member": by, "notes": rows})
        return
    for row in rows:
        OUT.print(
            f"{row['n']:>3} {time_text(row['time_ms'])} #{row['height']} {row['kind']} {row['transaction'][:16]}"
        )
    OUT.print(f"{len(rows)} notes of {plain(by)} about {plain(name)}, complete")
