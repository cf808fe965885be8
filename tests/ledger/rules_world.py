"""The rules under test without blocks: a state, members who act on it, and what they may not do.

    world = World(grants={"gs1:4012345": "ada"})
    world.event("ada", ADD([part(1)]))            # one event in a transaction of its own
    with refused(Reason.NOT_IN_CUSTODY):
        world.event("bob", OBSERVE([part(1)]))    # `refused` is also checked to leave the state as it was

Parts and lots here are under GTINs of company prefixes 4012345 (ada's) and 5012345 (bob's).
"""

import contextlib
import functools
import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest
from google.protobuf.message import Message

from ledger import codec, custody, decimals, genesis, hashes, history, joining, lots, state
from ledger.block import LogLeaf
from ledger.containers import Filling
from ledger.context import Context
from ledger.errors import ChiptraceError
from ledger.event_values import OURS
from ledger.execute import check_signer, rotate_validators
from ledger.identifiers import canonical
from ledger.operations import CHANGES, OPERATIONS
from ledger.roots import SerialList
from ledger.state import MappingReader, Overlay
from proto.chiptrace.v1.ledger_pb2 import (
    Capture,
    Change,
    Entry,
    EntryKind,
    Event,
    Field,
    GenerationRecord,
    Govern,
    GovernanceProposal,
    History,
    JoinProof,
    LotRecord,
    Membership,
    Object,
    Operation,
    Parameters,
    PartRecord,
    PartStatus,
    Reason,
    ReturnOffer,
    Signature,
    Value,
)
from proto.chiptrace.v1.ledger_pb2 import List as ValueList
from tests.ledger.chain_fixture import START_MS, key_of, make_genesis, make_parameters, seed_of

M = TypeVar("M", bound=Message)
GRANTS = {"gs1:4012345": "ada", "gs1:5012345": "bob"}
HOUR_MS = 3_600_000


def part(number: int, owner: str = "ada") -> str:
    """Canonical id of a serialised part under a member's grant."""
    prefix = {"ada": "4012345", "bob": "5012345"}[owner]
    return canonical(f"urn:epc:id:sgtin:{prefix}.012345.{number}").text


def box(number: int, owner: str = "ada") -> str:
    """Canonical id of a logistic unit under a member's grant."""
    prefix = {"ada": "4012345", "bob": "5012345"}[owner]
    return canonical(f"urn:epc:id:sscc:{prefix}.{number:010}").text


def lot(name: str, owner: str = "ada") -> str:
    """Canonical id of a lot under a member's grant."""
    prefix = {"ada": "4012345", "bob": "5012345"}[owner]
    return canonical(f"urn:epc:class:lgtin:{prefix}.054321.{name}").text


def quantity(of: str, amount: int | str | None = None, unit: str = "") -> dict:
    """A quantityElement."""
    item: dict = {"epcClass": of}
    if amount is not None:
        item["quantity"] = decimals.parse(str(amount))
    return item | ({"uom": unit} if unit else {})


# ---- events -------------------------------------------------------------------------------------------------


def to_value(item: Any) -> Value:
    if isinstance(item, str):
        return Value(text=item)
    if isinstance(item, dict):
        return Value(object=Object(fields=to_fields(item)))
    if isinstance(item, list):
        return Value(list=ValueList(items=[to_value(one) for one in item]))
    if isinstance(item, bool):
        return Value(truth=item)
    return Value(number=item)


def to_fields(members: dict) -> list[Field]:
    return [Field(name=name, value=to_value(members[name])) for name in sorted(members, key=str.encode)]


def object_event(
    action: str, epcs: list[str] = (), step: str = "", amounts: list = (), to: str = "", **more: Any
) -> dict:
    """An ObjectEvent; `to` and `owner` name members as possessing and owning party, `sender` the source."""
    event: dict = {"type": "ObjectEvent", "action": action}
    if epcs:
        event["epcList"] = list(epcs)
    if amounts:
        event["quantityList"] = list(amounts)
    if step:
        event["bizStep"] = step
    destinations = [("possessing_party", to), ("owning_party", more.pop("owner", ""))]
    found = [{"type": role, "destination": party(who)} for role, who in destinations if who]
    if found:
        event["destinationList"] = found
    sender = more.pop("sender", "")
    if sender:
        event["sourceList"] = [{"type": "possessing_party", "source": party(sender)}]
    return event | more


def party(who: str) -> str:
    return who if ":" in who else f"urn:chiptrace:member:{who}"


def add(epcs: list[str] = (), amounts: list = (), **more: Any) -> dict:
    return object_event("ADD", epcs, "commissioning", amounts, **more)


def serials_of(lot: str, first: str, last: str, count: int, **more: Any) -> dict:
    """The commissioning of a lot of serials."""
    given = {"ours:firstSerial": first, "ours:lastSerial": last}
    return add([], [quantity(lot, count)], ilmd=given, **{"@context": [{"ours": OURS}]}, **more)


def listed(lot: str, serials: Sequence[str]) -> dict:
    """The commissioning of a lot of serials by their list."""
    given = {"ours:serials": list(serials)}
    return add([], [quantity(lot, len(serials))], ilmd=given, **{"@context": [{"ours": OURS}]})


def root_of(lot: str, kept: SerialList, **changed: str) -> dict:
    """The commissioning of a lot of serials by the root of their list."""
    said = {"serialsRoot": kept.given.root.hex(), "lowestSerial": kept.given.lowest}
    said |= {"highestSerial": kept.given.highest} | changed
    given = {f"ours:{word}": text for word, text in said.items()}
    return add([], [quantity(lot, len(kept))], ilmd=given, **{"@context": [{"ours": OURS}]})


def seen(epcs: list[str] = (), amounts: list = (), **more: Any) -> dict:
    return object_event("OBSERVE", epcs, "inspecting", amounts, **more)


def shipping(epcs: list[str] = (), to: str = "", amounts: list = (), **more: Any) -> dict:
    return object_event("OBSERVE", epcs, "shipping", amounts, to, **more)


def receiving(epcs: list[str] = (), amounts: list = (), **more: Any) -> dict:
    return object_event("OBSERVE", epcs, "receiving", amounts, **more)


def destroying(epcs: list[str] = (), amounts: list = (), **more: Any) -> dict:
    return object_event("DELETE", epcs, "destroying", amounts, **more)


def holding(
    action: str,
    parent: str,
    children: list[str] = (),
    amounts: list = (),
    kind: str = "Aggregation",
    **more: Any,
) -> dict:
    """An AggregationEvent, or AssociationEvent with kind="Association"."""
    event: dict = {"type": f"{kind}Event", "action": action}
    if parent:
        event["parentID"] = parent
    if children:
        event["childEPCs"] = list(children)
    if amounts:
        event["childQuantityList"] = list(amounts)
    return event | more


def packing(parent: str, children: list[str] = (), amounts: list = (), **more: Any) -> dict:
    return holding("ADD", parent, children, amounts, **more)


def unpacking(parent: str, children: list[str] = (), amounts: list = (), **more: Any) -> dict:
    return holding("DELETE", parent, children, amounts, **more)


def making(
    inputs: list[str] = (),
    outputs: list[str] = (),
    used: list = (),
    made: list = (),
    run: str = "",
    **more: Any,
) -> dict:
    event: dict = {"type": "TransformationEvent"}
    for name, items in (
        ("inputEPCList", inputs),
        ("outputEPCList", outputs),
        ("inputQuantityList", used),
        ("outputQuantityList", made),
    ):
        if items:
            event[name] = list(items)
    return event | ({"transformationID": run} if run else {}) | more


def iso(time_ms: int) -> str:
    """ISO 8601 in UTC."""
    seconds, milliseconds = divmod(time_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{milliseconds:03}Z"


# ---- world --------------------------------------------------------------------------------------------------


class World:
    def __init__(
        self, members=("ada", "bob", "cyd", "dee"), grants=GRANTS, document=None, **parameters: Any
    ) -> None:
        made = document or make_genesis(members, grants=grants, parameters=make_parameters(**parameters))
        self.chain_id = genesis.chain_id(codec.encode(made))
        first = genesis.genesis_state(self.chain_id, made, CHANGES)
        self.first = first.changes
        self.overlay = Overlay(MappingReader(self.first))
        self.entries: dict[bytes, list[bytes]] = {}
        self.keep(first.entries)
        self.height, self.time_ms, self.seed = 0, START_MS, 0
        self.times = [START_MS]  # of each height
        self.touched: set[bytes] = set()
        self.reason = Reason.REASON_UNSPECIFIED

    def keep(self, entries: list[tuple[bytes, int, bytes]]) -> None:
        for subject, n, data in entries:
            assert len(self.entries.setdefault(subject, [])) == n
            self.entries[subject].append(data)

    def act(self, member: str, *operations: Operation, role: str = "operator", wait_ms: int = 100) -> None:
        """One transaction in a block of its own; raises what execution would note as its reason."""
        self.height += 1
        self.time_ms += wait_ms
        self.times.append(self.time_ms)
        rotate_validators(self.overlay)
        kept = self.overlay.child()
        transaction = hashlib.sha256(b"transaction %d" % self.height).digest()
        signer = check_signer(kept, key_of(member, role), self.time_ms)
        parameters = state.load(kept, state.PARAMETERS_KEY, Parameters)
        context = Context(
            kept,
            self.chain_id,
            self.height,
            self.time_ms,
            transaction,
            0,
            hashes.ZERO,
            signer,
            member,
            parameters,
            CHANGES,
            self.decided,
        )
        before = dict(self.overlay.changes)
        try:
            for index, operation in enumerate(operations):
                context.operation_index = index
                context.operation = operation
                name = operation.WhichOneof("kind")
                OPERATIONS[name](context, getattr(operation, name))
        except ChiptraceError:
            assert self.overlay.changes == before
            raise
        self.touched = set(kept.changes)
        kept.merge()
        self.keep(context.entries)
        self.reason = context.reason

    def capture(
        self, event: dict, seed: bytes | None = None, memberships: Sequence[Membership] = ()
    ) -> Operation:
        self.seed += 1
        fields = {"eventTime": iso(self.time_ms), "eventTimeZoneOffset": "+00:00"} | event
        made = Event(seed=seed or self.seed.to_bytes(16, "big"), fields=to_fields(fields))
        return Operation(capture=Capture(event=codec.encode(made), memberships=memberships))

    def shown(self, member: str, event: dict, *memberships: Membership) -> None:
        """An event with proofs of the serials that it names for the first time."""
        self.act(member, self.capture(event, memberships=memberships))

    def root(self, lot: str, serials: Sequence[str], member: str = "ada", **more: Any) -> SerialList:
        """Commissions a lot of serials by the root of their list; the list, as its owner keeps it."""
        kept = SerialList(self.chain_id, canonical(lot), serials)
        self.event(member, root_of(lot, kept) | more)
        return kept

    def event(self, member: str, *events: dict, role: str = "operator", wait_ms: int = 100) -> None:
        """Each event is one operation of one transaction."""
        self.act(member, *(self.capture(event) for event in events), role=role, wait_ms=wait_ms)

    def govern(
        self, *changes: Change, approvers: Sequence[str] = ("ada", "bob", "cyd", "dee"), **changed: Any
    ) -> Operation:
        """A governance operation; `changed` replaces fields of the proposal."""
        self.seed += 1
        fields = {
            "chain_id": self.chain_id,
            "expires_ms": self.time_ms + HOUR_MS,
            "nonce": self.seed.to_bytes(16, "big"),
            "changes": changes,
        }
        proposal = codec.encode(GovernanceProposal(**(fields | changed)))
        return Operation(
            govern=Govern(proposal=proposal, approvals=[self.approval(who, proposal) for who in approvers])
        )

    def join_proof(self, seed: bytes, height: int = 0, chain_id: bytes | None = None) -> JoinProof:
        """What the node of a validator key says that has decided this height (0: the newest)."""
        if not self.height:
            self.pass_by()
        at = height or self.height
        sign = functools.partial(hashes.sign_raw, seed)
        return joining.prove(chain_id or self.chain_id, at, block_hash_of(at), hashes.public_key(seed), sign)

    def pass_by(self, heights: int = 1, wait_ms: int = 100) -> None:
        """Heights at which nothing happens."""
        for _ in range(heights):
            self.height += 1
            self.time_ms += wait_ms
            self.times.append(self.time_ms)
            rotate_validators(self.overlay)

    def decided(self, height: int) -> LogLeaf:
        """What a height left in the log, without any block."""
        assert 0 < height < self.height, (
            f"the log was asked for height {height} while {self.height} is executed"
        )
        return LogLeaf(height, self.times[height], block_hash_of(height), hashes.ZERO, hashes.ZERO)

    def approval(self, member: str, proposal: bytes, chain_id: bytes | None = None) -> Signature:
        purpose, seed = hashes.Purpose.PROPOSAL, seed_of(member, "admin")
        return Signature(
            key=key_of(member, "admin"),
            signature=hashes.sign(seed, purpose, chain_id or self.chain_id, proposal),
        )

    def change(self, *changes: Change, join_proofs: Sequence[JoinProof] = ()) -> None:
        """Changes that everyone approves."""
        operation = self.govern(*changes)
        operation.govern.join_proofs.extend(join_proofs)
        self.act("ada", operation)

    def give_back(self, member: str, what: str, role: str = "operator", **more: str) -> None:
        self.act(member, Operation(return_offer=ReturnOffer(part=what, **more)), role=role)

    def give(self, sender: str, receiver: str, *epcs: str, sell: bool = False) -> None:
        """Ships and receives."""
        self.event(sender, shipping(list(epcs), receiver, owner=receiver if sell else ""))
        self.event(receiver, receiving(list(epcs)))

    def set_status(self, name: str, status: str) -> None:
        """What the bridge does to a part, without a bridge."""
        record = self.part(name)
        record.status = PartStatus.Value(status)
        custody.save_part(self.overlay, record)

    def put_part(self, record: PartRecord) -> None:
        custody.save_part(self.overlay, record)

    def fill(self, name: str, rows: int) -> GenerationRecord:
        """A box full of lots, without the events."""
        container = self.part(name)
        filling = Filling.start(container, installed=False)
        for number in range(rows):
            filling.add_amount(f"urn:lot:{number:05}", "")
        filling.save(self.overlay)
        self.put_part(container)
        return self.generation(name)

    # ---- looking

    def record(self, key: bytes, kind: type[M]) -> M | None:
        return state.load(self.overlay, key, kind)

    def part(self, name: str) -> PartRecord:
        found = custody.load_part(self.overlay, name)
        assert found is not None
        return found

    def status(self, name: str) -> str:
        return PartStatus.Name(self.part(name).status)

    def lot(self, name: str) -> LotRecord:
        found = self.record(state.lot_key(name), LotRecord)
        assert found is not None
        return found

    def generation(self, name: str, number: int = 1) -> GenerationRecord:
        found = self.record(state.generation_key(name, number), GenerationRecord)
        assert found is not None
        return found

    def amount(self, name: str, place: str, unit: str = "") -> str:
        return decimals.to_text(lots.amount_at(self.overlay, name, place, unit))

    def told(self, key: bytes) -> list[Entry]:
        """A subject's entries, after checking that they are its complete history."""
        entries = self.entries.get(key, [])
        return [Entry.FromString(data) for data in entries]

    def story(self, name: str) -> list[str]:
        """A part's entries as `KIND` or `KIND!FINDING`, checked to be its complete history."""
        history.verify_history(self.chain_id, self.history(name), self.entries.get(state.part_key(name), []))
        return [describe(entry) for entry in self.told(state.part_key(name))]

    def lot_story(self, name: str) -> list[str]:
        history.verify_history(self.chain_id, self.lot(name).history, self.entries[state.lot_key(name)])
        return [describe(entry) for entry in self.told(state.lot_key(name))]

    def history(self, name: str) -> History:
        record = self.record(state.part_key(name), PartRecord)
        return History() if record is None else record.history


def block_hash_of(height: int) -> bytes:
    return hashlib.sha256(b"block %d" % height).digest()


def describe(entry: Entry) -> str:
    finding = f"!{Reason.Name(entry.finding)}" if entry.finding else ""
    return EntryKind.Name(entry.kind) + finding


@contextlib.contextmanager
def refused(reason: "Reason.ValueType", match: str | None = None) -> Iterator[None]:
    with pytest.raises(ChiptraceError, match=match) as caught:
        yield
    assert caught.value.code == Reason.Name(reason), str(caught.value)
    assert len(str(caught.value)) > 10
