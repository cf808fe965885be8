"""Operations of every kind as nobody in his right mind would send them, and some as he would.

Half of what is asked is sensible: by who has a thing, about things that are there. The other half is spelled oddly, at the
limits, of the wrong kind, twice, too early or too late. What was recorded is declared wrong by anybody, also what never was.
"""

from collections import Counter
from random import Random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from ledger import codec, decimals, hashes, intervals, state
from ledger.containers import standing
from ledger.errors import ChiptraceError, InvariantBroken, StoreError
from ledger.event_values import OURS
from ledger.identifiers import canonical, interval_text
from ledger.operations import OPERATIONS
from ledger.roots import SerialList
from proto.chiptrace.v1.ledger_pb2 import (
    Attest,
    Capture,
    Change,
    Delegate,
    Event,
    LotRecord,
    Operation,
    PartRecord,
    PutMember,
    PutPolicy,
    RevokePolicy,
    SetValidators,
    Validator,
)
from tests.ledger.chain_fixture import MEMBERS, START_MS, key_of, make_parameters
from tests.ledger.rules_world import (
    World,
    add,
    box,
    iso,
    listed,
    lot,
    part,
    quantity,
    root_of,
    serials_of,
    to_fields,
)

ODD = (
    "", " ", "x", "Ω", "\u202e", "\x00", "a" * 512, "a" * 513, "A" * 3_000, "%zz", "urn:", "http://", "urn:a:b",
    "urn:chiptrace:member:", "urn:chiptrace:member:ada", "urn:chiptrace:event:" + "0" * 64, "https://id.gs1.org/01/",
    "https://id.gs1.org/8006/040123451234560102/10/L", "urn:fab:x:" + ".".join("s" * 40), "urn:epc:id:ginc:4012345.7",
    "urn:epc:idpat:sgtin:4012345.012345.*", "urn:epc:id:sgln:4012345.00001.0", "urn:epc:id:pgln:4012345.00001",
    "urn:epc:id:grai:4012345.00001.7", "urn:epc:id:giai:4012345.7x", "urn:epc:id:gdti:4012345.00001.7",
    "urn:epc:id:gsrn:4012345.0000000001", "urn:epc:id:cpi:4012345.AB12.7", "urn:epc:id:sgcn:4012345.00001.7",
    "urn:epc:id:gsin:4012345.000000001", "urn:epc:id:itip:4012345.012345.01.02.7", "urn:epc:id:upui:4012345.012345.7",
    "urn:epc:class:lgtin:4012345.recycled.1", "urn:uuid:0000000A-0000-4000-8000-000000000001",
)  # fmt: skip
NUMBERS = ("1", "2", "5", "0", "0.5", "-1", "1e18", "1e-18", str(2**128 - 1), f"{2**128 - 1}e18")
STEPS = (
    "inspecting", "inspecting", "shipping", "shipping", "shipping", "receiving", "receiving", "receiving", "accepting",
    "void_shipping", "destroying",
)  # fmt: skip
PREFIXES = (
    "gs1:4012345",
    "gs1:401234512345",
    "gs1:5012345",
    "gs1:4012",
    "urn:fab:x",
    "urn:fab:x:1",
    "https://fab.example",
)
RANGE, LISTED, ROOT, LIAR = (canonical(f"urn:epc:class:lgtin:4012345.012345.{name}").text for name in "RCDE")
ITEM = RANGE.partition("/10/")[0]
_HELD = [f"D{number:02}" for number in range(9)]
_LISTS = {ROOT: [*_HELD, "D09", "D10"], LIAR: [*reversed(_HELD), "0053", "3"]}


class Walk:
    """A world, and what is asked of it at random; raises whatever is no refusal."""

    def __init__(self, seed: int) -> None:
        self.random, self.world = Random(seed), World()
        self.outcomes: Counter[str] = Counter()
        self.events: list[bytes] = []
        self.parts = [*map(part, range(4)), part(0, "bob"), part(1, "bob"), "urn:fab:x:1"]
        self.boxes = [box(0), box(1), box(2), box(0, "bob")]
        self.lots = [lot("L"), lot("M"), lot("L", "bob")]
        kept = {
            name: SerialList(self.world.chain_id, canonical(name), serials)
            for name, serials in _LISTS.items()
        }
        self.shown = [
            kept[name].membership(f"{ITEM}/21/{serial}") for name in _LISTS for serial in _LISTS[name]
        ]
        self.serials = [
            *(f"{ITEM}/21/{number:04}" for number in range(48, 60)),
            *(one.serial for one in self.shown),
        ]
        begun = [quantity(lot("L"), 20), quantity(lot("M"), 9, "KGM")]
        self.ask("ada", [self.world.capture(add([*self.parts[:3], *self.boxes[:2]], begun))])
        self.ask(
            "bob", [self.world.capture(add([part(0, "bob"), box(0, "bob")], [quantity(lot("L", "bob"), 30)]))]
        )
        for event in (
            serials_of(RANGE, "0050", "0059", 10),
            listed(LISTED, ["70", "X"]),
            *(root_of(name, kept[name]) for name in _LISTS),
        ):
            self.ask("ada", [self.world.capture(event)])

    def renew(self) -> None:
        """Something new, as things end."""
        number = self.random.randrange(10, 10_000)
        made = [(self.parts, part(number)), (self.boxes, box(number)), (self.lots, lot(f"N{number}"))]
        for names, name in made:
            names[self.random.randrange(2)] = name
        self.ask("ada", [self.world.capture(add([name for _, name in made[:2]], [quantity(made[2][1], 9)]))])

    def step(self) -> None:
        if self.random.random() < 0.05:
            self.renew()
        operations = [self.operation() for _ in range(self.random.choice((1, 1, 1, 1, 2, 3)))]
        role = (
            self.random.choice(("device", "auditor", "relayer")) if self.random.random() < 0.1 else "operator"
        )
        self.ask(self.who(operations[0]), operations, role)

    def ask(self, member: str, operations: list[Operation], role: str = "operator") -> None:
        try:
            self.world.act(member, *operations, role=role, wait_ms=self.random.choice((1, 100, 1_000)))
        except (InvariantBroken, StoreError):
            raise
        except ChiptraceError as refusal:
            self.outcomes[refusal.code] += 1
        else:
            self.outcomes["ok"] += 1
            self.events += [one.capture.event for one in operations if one.WhichOneof("kind") == "capture"]

    def who(self, operation: Operation) -> str:
        """Mostly who has the first thing that is named, or is offered it."""
        if self.random.random() < 0.7 and operation.WhichOneof("kind") == "capture":
            for name in self.named(operation.capture.event):
                record = self.world.record(state.part_key(name), PartRecord)
                if record is not None and record.holder:
                    offered = record.offered_to if self.random.random() < 0.7 else ""
                    return offered or standing(self.world.overlay, record).holder
        return self.random.choice(("ada", "ada", "bob", "cyd"))

    def named(self, event: bytes) -> list[str]:
        found: list[str] = []
        try:
            values = [
                item
                for field in codec.decode(Event, event, len(event)).fields
                for item in field.value.list.items
            ]
            for value in values:
                inner = [field.value.text for field in value.object.fields if field.name == "epcClass"]
                found += [
                    canonical(text).text for text in (value.text, *inner) if text.startswith(("urn:", "http"))
                ]
        except ChiptraceError:
            pass
        return found

    def some(self, *usual: Any) -> Any:
        return self.random.choice(usual) if self.random.random() < 0.97 else self.random.choice(ODD)

    # ---- operations

    def operation(self) -> Operation:
        chance = self.random.random()
        if chance < 0.76:
            return self.capture()
        if chance < 0.87:
            approvers = self.random.sample(MEMBERS, self.random.choice((0, 4, 4, 4)))
            changes = [self.change() for _ in range(self.random.choice((1, 1, 2)))]
            return self.world.govern(*changes, approvers=approvers)
        operation = Operation()
        name = self.random.choice([name for name in OPERATIONS if name not in ("capture", "govern")])
        chosen = getattr(operation, name)
        chosen.SetInParent()
        claim, prefix = f"urn:att:{self.random.randrange(20)}", self.random.choice(PREFIXES)
        if self.random.random() < 0.3:
            self.fill(chosen)
        elif name == "attest":
            kind = self.random.choice(("certificate", "export_licence", "recall"))
            chosen.CopyFrom(Attest(id=claim, subject=self.thing(), kind=kind))
        elif name == "revoke_attestation":
            chosen.id = claim
        elif name == "delegate":
            amounts = [{"unit": "KGM", "amount": decimals.parse("5")}]
            chosen.CopyFrom(Delegate(prefix=prefix, member=self.some(*MEMBERS), serials=2, amounts=amounts))
        elif name == "revoke_delegation":
            chosen.prefix, chosen.member = prefix, self.some(*MEMBERS)
        elif self.random.random() < 0.5:
            chosen.part = self.thing()
        else:
            chosen.part, chosen.unit = self.random.choice(self.lots), self.random.choice(("", "KGM"))
            chosen.sender, chosen.receiver = self.some(*MEMBERS), self.some(*MEMBERS)
        return operation

    def change(self) -> Change:
        change = Change()
        name = self.random.choice([field.name for field in Change.DESCRIPTOR.fields])
        getattr(change, name).SetInParent()
        policy = f"p{self.random.randrange(5)}"
        if name == "set_validators":
            of = self.random.sample(MEMBERS, 4)
            validators = [Validator(key=key_of(member, "validator"), member=member) for member in of]
            change.set_validators.CopyFrom(SetValidators(validators=validators))
        elif name == "put_member" and self.random.random() < 0.7:
            member = self.random.choice((*MEMBERS, "eve"))
            change.put_member.CopyFrom(
                PutMember(id=member, name="A name", admin_keys=[key_of(member, "admin")])
            )
        elif name == "put_policy" and self.random.random() < 0.7:
            to = {"attestation": "export_licence", "issuers": [self.random.choice(MEMBERS)]}
            change.put_policy.CopyFrom(PutPolicy(id=policy, prefix="gs1:4012345", trigger=1, **to))
        elif name == "revoke_policy" and self.random.random() < 0.9:
            change.revoke_policy.CopyFrom(RevokePolicy(id=policy))
        elif name in ("put_grant", "revoke_grant") and self.random.random() < 0.7:
            getattr(change, name).prefix = f"urn:fab:x:{self.random.randrange(2)}"
            if name == "put_grant":
                change.put_grant.holder = self.random.choice(MEMBERS)
        elif name == "set_parameters" and self.random.random() < 0.7:
            change.set_parameters.parameters.CopyFrom(
                make_parameters(offer_expiry_ms=self.random.choice((0, 5_000)))
            )
        else:
            self.fill(getattr(change, name), at_most="urn:fab:x")
        return change

    def fill(self, message: Message, at_most: str = "") -> None:
        """Any values, by what a field is called, or else by its type. at_most: the one namespace that may be changed."""
        for field in message.DESCRIPTOR.fields:
            if field.containing_oneof is not None or self.random.random() < 0.1:
                continue
            if field.type == FieldDescriptor.TYPE_MESSAGE:
                inner = getattr(message, field.name)
                for one in (
                    [inner.add() for _ in range(self.random.randrange(3))] if field.is_repeated else [inner]
                ):
                    self.fill(one, at_most)
            elif field.is_repeated:
                values = [self.scalar(field, at_most) for _ in range(self.random.choice((0, 1, 1, 2, 70)))]
                getattr(message, field.name).extend(values)
            else:
                setattr(message, field.name, self.scalar(field, at_most))

    def scalar(self, field: FieldDescriptor, at_most: str) -> Any:
        random, now = self.random, self.world.time_ms
        if field.name == "prefix" and at_most:
            return self.some(at_most, f"{at_most}:{random.randrange(3)}")
        if field.name in (
            "member",
            "holder",
            "sender",
            "receiver",
            "members",
            "issuers",
            "destinations",
            "id",
        ):
            return self.some(*MEMBERS)
        if field.type == FieldDescriptor.TYPE_STRING:
            return self.some(self.thing(), *PREFIXES, "certificate", "KGM")
        if field.type == FieldDescriptor.TYPE_BYTES:
            return random.choice(
                (b"", bytes(32), random.randbytes(31), hashes.public_key(random.randbytes(32)))
            )
        if field.type == FieldDescriptor.TYPE_BOOL:
            return random.random() < 0.5
        if field.type == FieldDescriptor.TYPE_ENUM:
            return random.randrange(8)
        if field.type in (FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_SINT32):
            return random.choice((0, 1, 18, 2**31 - 1))
        return random.choice((0, 0, 1, now - 1, now, now + 5_000, 2**63, 2**64 - 1))

    # ---- events

    def capture(self) -> Operation:
        random, chance = self.random, self.random.random()
        if chance < 0.15:
            event = Event.FromString(random.choice(self.events[-40:]))
            if not any(field.name == "errorDeclaration" for field in event.fields):
                declared = {"declarationTime": iso(self.world.time_ms), "reason": "did_not_occur"}
                event.fields.extend(to_fields({"errorDeclaration": declared}))
                event.fields.sort(key=lambda field: field.name.encode())
            data = codec.encode(event)
        elif chance < 0.18:
            data = random.choice((random.choice(self.events), random.randbytes(random.randrange(40))))
        else:
            data = self.world.capture(self.event()).capture.event
        named, shown = set(self.named(data)), {}
        for one in random.sample(self.shown, len(self.shown)):
            if one.serial in named and random.random() < 0.6:
                shown[one.serial] = one
        operation = Operation(capture=Capture(event=data, memberships=shown.values()))
        for one in operation.capture.memberships:
            if random.random() < 0.1:
                one.place = random.choice((0, 10, 2**63, 2**64 - 1))
            if random.random() < 0.05:
                one.lot = random.choice((RANGE, LIAR, ROOT, *ODD))
        return operation

    def event(self) -> dict[str, Any]:
        random = self.random
        kind = random.choice(("Object",) * 5 + ("Aggregation",) * 4 + ("Association", "Transaction"))
        made: dict[str, Any] = {
            "type": f"{kind}Event",
            "action": random.choice(("ADD", "OBSERVE", "OBSERVE", "DELETE")),
        }
        if made["type"] in ("ObjectEvent", "TransactionEvent"):
            made["action"] = random.choice(
                ("ADD", "OBSERVE", "OBSERVE", "OBSERVE", "OBSERVE", self.some("DELETE"))
            )
            lists = {"epcList": self.things(), "quantityList": self.quantities()}
        elif random.random() < 0.3:
            made = {"type": "TransformationEvent"}
            if random.random() < 0.5:
                made["transformationID"] = self.some("urn:run:1", "urn:run:2")
            lists = {f"{way}EPCList": self.things() for way in ("input", "output")}
            lists |= {f"{way}QuantityList": self.quantities() for way in ("input", "output")}
        else:
            lists = {"childEPCs": self.things(), "childQuantityList": self.quantities()}
            made["parentID"] = self.some(*self.boxes, *self.boxes, self.thing())
        made |= {name: items for name, items in lists.items() if items}
        if made.get("action") == "OBSERVE":
            made["bizStep"] = random.choice(STEPS)
        if made.get("bizStep") == "shipping" or random.random() < 0.05:
            to = f"urn:chiptrace:member:{self.some(*MEMBERS)}"
            roles = ("possessing_party", "owning_party")[: random.choice((1, 2))]
            made["destinationList"] = [{"type": role, "destination": to} for role in roles]
        if random.random() < 0.3:
            source = f"urn:chiptrace:member:{self.some(*MEMBERS)}"
            made["sourceList"] = [{"type": "possessing_party", "source": source}]
        if random.random() < 0.2:
            named = [f"urn:att:{random.randrange(20)}", random.choice(ODD)]
            made["bizTransactionList"] = [{"bizTransaction": text} for text in named]
        if random.random() < (0.5 if made["type"] == "TransformationEvent" else 0.03):
            made |= {"ilmd": self.ilmd(), "@context": [{"ours": OURS}]}
        if random.random() < 0.1:
            made["readPoint"] = {"id": self.some("urn:place:1")}
        if random.random() < 0.03:
            made["eventTime"] = random.choice(
                ("", "2023-02-30T00:00:00Z", "9999-12-31T23:59:60Z", iso(START_MS))
            )
        return made

    def ilmd(self) -> dict[str, Any]:
        random, made = self.random, dict[str, Any]()
        for word in ("yield", "scrap", "samples"):
            if random.random() < 0.5:
                made[f"ours:{word}"] = decimals.parse(random.choice(NUMBERS))
        if random.random() < 0.2:
            made["ours:closesRun"] = True
        if random.random() < 0.3:
            made["ours:candidates"] = [*self.things(), self.interval()]
        if random.random() < 0.2:
            made[random.choice(("ours:serials", f"{OURS}firstSerial", "ours:serialsRoot"))] = self.things()
        return made

    def things(self) -> list[str]:
        return [self.thing() for _ in range(self.random.choice((0, 1, 1, 1, 2, 3)))]

    def thing(self) -> str:
        kinds = (self.parts, self.parts, self.parts, self.boxes, self.serials, self.serials)
        return str(self.some(*self.random.choice(kinds)))

    def quantities(self) -> list[dict[str, Any]]:
        return [self.amount() for _ in range(self.random.choice((0, 0, 0, 1, 1, 2)))]

    def amount(self) -> dict[str, Any]:
        random = self.random
        if random.random() < 0.3:
            return {"epcClass": self.interval()}
        made: dict[str, Any] = {"epcClass": self.some(*self.lots)}
        if random.random() < 0.9:
            made["quantity"] = decimals.parse(
                random.choice(NUMBERS if random.random() < 0.1 else NUMBERS[:3])
            )
        if random.random() < 0.2:
            made["uom"] = self.some("KGM", "MTR")
        return made

    def interval(self) -> str:
        """Serials of a lot: as they stand, some of them, or too many."""
        random, name = self.random, self.random.choice((RANGE, RANGE, LISTED, ROOT, LIAR))
        record = self.world.record(state.lot_key(name), LotRecord)
        if record is None or random.random() < 0.1:
            return interval_text(name, random.choice((0, 1, 9)), random.choice((0, 2, 2**63)))
        found = random.choice(intervals.pieces(self.world.overlay, record, 0, record.serials.count, 100))
        start = random.randrange(found.start, found.end)
        end = random.randrange(start, found.end) + 1
        return found.id if random.random() < 0.5 else interval_text(name, start, end)
