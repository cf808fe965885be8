"""Who takes part in a local test network: two consortia of four named members as a rule, more or fewer on wish.

Chains of other names have members of plain names. Company prefixes begin with 952, which GS1 never issues; two digits
tell the chain, two the member.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ledger.errors import Malformed
from ledger.genesis import VALIDATORS_MIN
from ledger.limits import VALIDATORS_MAX

HEARTBEAT_MS: Final = 1_000
PORTS_PER_NODE: Final = 2  # one for clients, one for validators
CHAINS_MAX: Final = 16
ALL: Final = "all"
_CHAIN_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,23}")  # also the id of the clients that follow it


@dataclass(frozen=True, slots=True)
class MemberPlan:
    """One member of a consortium."""

    id: str
    name: str
    prefix: str  # GS1 company prefix

    @property
    def grant(self) -> str:
        """The namespace it holds."""
        return f"gs1:{self.prefix}"


@dataclass(frozen=True, slots=True)
class ChainPlan:
    """One chain: its members, each with a node; the first of them are its validators, the others may join."""

    name: str
    members: tuple[MemberPlan, ...]
    validators: int

    @property
    def dev(self) -> bool:
        """Fewer validators than survive one fault are for development only."""
        return self.validators < VALIDATORS_MIN

    @property
    def governance_threshold(self) -> int:
        """More than half of the members, as they are at first."""
        return len(self.members) // 2 + 1


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """A whole network: one chain, or more with a relayer between those that are paired."""

    chains: tuple[ChainPlan, ...]
    pairs: tuple[tuple[str, str], ...] = ()
    heartbeat_ms: int = HEARTBEAT_MS

    @property
    def nodes(self) -> int:
        """How many nodes it has, all on one machine."""
        return sum(len(chain.members) for chain in self.chains)

    @property
    def ports(self) -> int:
        """How many ports it takes: those of its nodes, and the relayer's."""
        return PORTS_PER_NODE * self.nodes + bool(self.pairs)


_NAMED: Final = {
    "chipmaker": (
        MemberPlan("siliconfab", "Silicon Fab AG", "9521001"),
        MemberPlan("moduleworks", "Module Works GmbH", "9521002"),
        MemberPlan("testlab", "Test Lab SA", "9521003"),
        MemberPlan("chipdist", "Chip Distribution Ltd", "9521004"),
    ),
    "assembler": (
        MemberPlan("boardworks", "Board Works Oy", "9525001"),
        MemberPlan("drivemaker", "Drive Maker SpA", "9525002"),
        MemberPlan("carmaker", "Car Maker SE", "9525003"),
        MemberPlan("customs", "Customs Office", "9525004"),
    ),
    "fab": (
        MemberPlan("waferworks", "Wafer Works AG", "9522001"),
        MemberPlan("maskshop", "Mask Shop BV", "9522002"),
        MemberPlan("epitaxy", "Epitaxy Oy", "9522003"),
        MemberPlan("fablab", "Fab Laboratory SA", "9522004"),
    ),
    "osat": (
        MemberPlan("packager", "Packager Ltd", "9523001"),
        MemberPlan("bonder", "Wire Bonder GmbH", "9523002"),
        MemberPlan("finaltest", "Final Test SA", "9523003"),
        MemberPlan("tapereel", "Tape and Reel Ltd", "9523004"),
    ),
}


def chain_of(name: str, validators: int, joining: int = 0, place: int = 0) -> ChainPlan:
    """A chain of so many validators, and so many members more whose nodes only follow until they join.

    Members beyond the named ones have plain names; `place` tells apart chains of which none is named. Raises Malformed
    for a name or a number no chain has.
    """
    count = validators + joining
    if not 1 <= validators <= count <= VALIDATORS_MAX:
        raise Malformed(f"a chain of {count} validators; allowed are 1 to {VALIDATORS_MAX}")
    if _CHAIN_NAME.fullmatch(name) is None:
        raise Malformed(f"'{name}' names no chain: use 1 to 24 of a-z, 0-9 and -, beginning with a letter")
    named = _NAMED.get(name, ())
    prefix = named[0].prefix[:5] if named else f"952{60 + place:02d}"
    before = "" if named else f"{name}-"
    numbers = range(len(named) + 1, count + 1)
    plain = tuple(
        MemberPlan(
            f"{before}member{n}",
            f"{name.capitalize()} Member {n}" if before else f"Member {n}",
            f"{prefix}{n:02d}",
        )
        for n in numbers
    )
    return ChainPlan(name, (named + plain)[:count], validators)


def chains(names: Sequence[str], pairs: str = ALL, validators: int = 4, joining: int = 0) -> NetworkPlan:
    """Chains of these names. `pairs`: "all", or "a:b,a:c" for any topology (a hub is one chain that all pairs name).

    Raises Malformed.
    """
    if len(set(names)) != len(names) or not 1 <= len(names) <= CHAINS_MAX:
        raise Malformed(f"name 1 to {CHAINS_MAX} different chains")
    made = tuple(chain_of(name, validators, joining, place) for place, name in enumerate(names))
    return NetworkPlan(made, _pairs(names, pairs))


def _pairs(names: Sequence[str], text: str) -> tuple[tuple[str, str], ...]:
    if text == ALL:
        return tuple(itertools.combinations(names, 2))
    found: dict[tuple[str, str], None] = {}
    for item in text.split(","):
        first, colon, second = item.strip().partition(":")
        if not colon or first == second or not {first, second} <= set(names):
            raise Malformed(f"'{item}' pairs no two of the chains {', '.join(names)}; write all, or a:b,a:c")
        ordered = sorted((first, second), key=names.index)
        found[ordered[0], ordered[1]] = None
    return tuple(found)


def two_chains(validators: int = 4) -> NetworkPlan:
    """The usual network, with so many validators on each chain. Raises Malformed."""
    return chains(("chipmaker", "assembler"), ALL, validators)


def one_chain(validators: int, joining: int = 0, heartbeat_ms: int = HEARTBEAT_MS) -> NetworkPlan:
    """A single chain without a relayer, for tests. Raises Malformed."""
    return NetworkPlan((chain_of("chipmaker", validators, joining),), heartbeat_ms=heartbeat_ms)


TWO_CHAINS: Final = two_chains()
