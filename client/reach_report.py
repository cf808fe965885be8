"""What a recall reaches: things, where they are now, who has them, and whether that is all of them. Data only."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from ledger import decimals
from proto.chiptrace.v1.ledger_pb2 import Decimal

NOT_KNOWN: Final = (
    "Reach is computed from what was recorded: what was made, packed or sold without a record is not in it, and of "
    "amounts of a lot nobody can say which pieces they were."
)
_HERE: Final = ("LIVE", "OFFERED", "IN_TRANSIT")


@dataclass
class Amount:
    """How much of a lot lies where: with a member, on offer (`sender>receiver`), or in a container."""

    lot: str
    unit: str
    amount: Decimal
    place: str
    holder: str
    offered_to: str
    status: str
    inside: str = ""  # the container, where it is in one

    def as_json(self) -> dict[str, str]:
        """As plain data; the amount as exact decimal text."""
        return {**vars(self), "amount": decimals.to_text(self.amount)}


@dataclass
class Reached:
    """One thing on one chain: how it was reached, and where it is."""

    chain: str
    id: str
    kind: str = "unknown"  # part, serials, lot, run
    how: str = ""  # asked, serials of, made from, inside, holds, went on as
    by: str = ""  # the thing that led to it first
    certain: bool = False  # else CANDIDATE: it may be concerned, and the records cannot say more
    holds_only: bool = False  # it is no more than where something concerned is
    count: int = 0  # parts and serials it stands for
    status: str = "NOT RECORDED"
    holder: str = ""
    owner: str = ""
    offered_to: str = ""
    place: str = ""  # the outermost container, if it is in one
    amounts: list[Amount] = field(default_factory=list)

    @property
    def is_here(self) -> bool:
        """Whether somebody has it on this chain."""
        return self.status in _HERE

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            **{name: value for name, value in vars(self).items() if name not in ("amounts", "certain")},
            "certainty": "CERTAIN" if self.certain else "CANDIDATE",
            "amounts": [amount.as_json() for amount in self.amounts],
        }


@dataclass
class ReachReport:
    """The whole answer. gaps: why it may not be all; empty where it is."""

    asked: str
    from_ms: int = 0
    until_ms: int = 0  # 0: no end
    reached: list[Reached] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    findings: dict[str, int] = field(default_factory=dict)  # of the histories that were read, by code
    heads: list[dict[str, Any]] = field(default_factory=list)
    names: dict[tuple[str, str], str] = field(default_factory=dict)  # chain and member: the member's name
    checked: dict[str, int] = field(default_factory=dict)
    milliseconds: int = 0
    problem: str = ""
    problem_code: str = ""

    @property
    def exit_code(self) -> int:
        """0: complete, 1: there may be more, 2: not verifiable."""
        return 2 if self.problem_code else int(bool(self.gaps))

    def holders(self) -> list[dict[str, Any]]:
        """Whom to tell, and of how much: who has, owns, or is offered something that is concerned."""
        rows: dict[tuple[str, str], dict[str, Any]] = {}

        def row(chain: str, member: str) -> dict[str, Any]:
            blank = {"certain": 0, "candidate": 0, "offered": 0, "owned": 0, "amounts": {}}
            name = self.names.get((chain, member), "")
            return rows.setdefault((chain, member), {"chain": chain, "member": member, "name": name, **blank})

        for thing in self.reached:
            # What only holds another thing is told of by that thing.
            if thing.is_here and not thing.holds_only:
                row(thing.chain, thing.holder)["certain" if thing.certain else "candidate"] += thing.count
                if thing.offered_to:
                    row(thing.chain, thing.offered_to)["offered"] += thing.count
                if thing.owner not in ("", thing.holder):
                    row(thing.chain, thing.owner)["owned"] += thing.count
            for amount in thing.amounts:
                if amount.status not in _HERE:
                    continue
                for member in dict.fromkeys((amount.holder, amount.offered_to)):
                    if member:
                        _add(row(thing.chain, member)["amounts"], amount)
        found = [rows[key] for key in sorted(rows)]
        return [{**one, "amounts": _plain(one["amounts"])} for one in found]

    def counts(self) -> dict[str, int]:
        """How many things were reached, by what has become of them; serials are counted one by one."""
        found: dict[str, int] = {}
        for thing in self.reached:
            if not thing.holds_only and thing.count:
                found[thing.status] = found.get(thing.status, 0) + thing.count
        return dict(sorted(found.items()))

    def as_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "asked": self.asked,
            "from_ms": self.from_ms,
            "until_ms": self.until_ms,
            "complete": not self.gaps and not self.problem_code,
            "gaps": self.gaps,
            "problem": self.problem,
            "problem_code": self.problem_code,
            "counts": self.counts(),
            "holders": self.holders(),
            "reached": [thing.as_json() for thing in self.reached],
            "findings": self.findings,
            "as_of": self.heads,
            "checked": self.checked,
            "milliseconds": self.milliseconds,
            "not_known": NOT_KNOWN,
        }


def _add(amounts: dict[tuple[str, str], Decimal], amount: Amount) -> None:
    key = (amount.lot, amount.unit)
    amounts[key] = decimals.add(amounts[key], amount.amount) if key in amounts else amount.amount


def _plain(amounts: dict[tuple[str, str], Decimal]) -> list[dict[str, str]]:
    rows: Iterable[tuple[tuple[str, str], Decimal]] = sorted(amounts.items(), key=lambda item: item[0])
    return [{"lot": lot, "unit": unit, "amount": decimals.to_text(amount)} for (lot, unit), amount in rows]
