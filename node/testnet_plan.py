"""Who takes part in a local test network: two consortia of four named members as a rule, more or fewer on wish.

Company prefixes begin with 952, which GS1 never issues.
"""

from dataclasses import dataclass
from typing import Final

from ledger.errors import Malformed
from ledger.genesis import VALIDATORS_MIN
from ledger.limits import VALIDATORS_MAX

HEARTBEAT_MS: Final = 1_000
PORTS_PER_NODE: Final = 2  # one for clients, one for validators


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
    """A whole network: one chain, or two with a relayer between them."""

    chains: tuple[ChainPlan, ...]
    heartbeat_ms: int = HEARTBEAT_MS

    @property
    def ports(self) -> int:
        """How many ports it takes."""
        return PORTS_PER_NODE * sum(len(chain.members) for chain in self.chains)


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
}


def chain_of(name: str, validators: int, joining: int = 0) -> ChainPlan:
    """A chain of so many validators, and so many members more whose nodes only follow until they join.

    Members beyond the four named ones have plain names. Raises Malformed for a number no chain has.
    """
    count = validators + joining
    if not 1 <= validators <= count <= VALIDATORS_MAX:
        raise Malformed(f"a chain of {count} validators; allowed are 1 to {VALIDATORS_MAX}")
    named = _NAMED[name]
    numbers = range(len(named) + 1, count + 1)
    plain = tuple(MemberPlan(f"member{n}", f"Member {n}", f"{named[0].prefix[:4]}{n:03d}") for n in numbers)
    return ChainPlan(name, (named + plain)[:count], validators)


def two_chains(validators: int = 4) -> NetworkPlan:
    """The usual network, with so many validators on each chain. Raises Malformed."""
    return NetworkPlan(tuple(chain_of(name, validators) for name in _NAMED))


def one_chain(validators: int, joining: int = 0, heartbeat_ms: int = HEARTBEAT_MS) -> NetworkPlan:
    """A single chain without a relayer, for tests. Raises Malformed."""
    return NetworkPlan((chain_of("chipmaker", validators, joining),), heartbeat_ms)


TWO_CHAINS: Final = two_chains()
