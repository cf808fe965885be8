"""What an audit found: subjects with their steps, findings, and what was checked on the way. Data only."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

LIMITS_OF_KNOWLEDGE = (
    "A ledger cannot know that the body in your hand is the body recorded, that what its members signed is true of "
    "the world, or what nobody recorded. It shows who said what, when, in which order, and that nothing recorded "
    "was left out."
)


class Verdict(StrEnum):
    """The answer, in one word; its exit code is its position."""

    VERIFIED = "verified"
    FINDINGS = "findings"
    NOT_VERIFIABLE = "not verifiable"

    @property
    def exit_code(self) -> int:
        """0 verified, 1 findings, 2 not verifiable."""
        return list(Verdict).index(self)


@dataclass(frozen=True)
class Finding:
    """Something a careful reader must know: a stable code, the subject, and the transactions it rests on."""

    code: str
    message: str
    chain: str
    subject: str
    transactions: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Step:
    """One entry of a history, checked: who said what about the subject, at which height and time."""

    chain: str
    height: int
    time_ms: int  # of the block's header
    member: str
    what: str
    detail: str
    transaction: bytes
    inside: str = ""  # the container whose entry this is, when the subject was within it


@dataclass
class Subject:
    """A part or a lot on one chain, with its steps and what it is made of."""

    chain: str
    id: str
    kind: str  # part, lot
    status: str
    holder: str = ""
    owner: str = ""
    steps: list[Step] = field(default_factory=list)
    related: list[tuple[str, "Subject"]] = field(default_factory=list)  # relation, subject


@dataclass
class Report:
    """The whole answer."""

    asked: str
    verdict: Verdict = Verdict.VERIFIED
    subject: Subject | None = None
    findings: list[Finding] = field(default_factory=list)
    heads: list[dict[str, Any]] = field(default_factory=list)  # per chain: name, height, time_ms, chain_id
    checked: dict[str, int] = field(default_factory=dict)
    milliseconds: int = 0
    problem: str = ""  # why it is not verifiable
    problem_code: str = ""

    def as_json(self) -> dict[str, Any]:
        """The report as plain data: ids and hashes in hexadecimal, times in milliseconds."""
        return {
            "asked": self.asked,
            "verdict": str(self.verdict),
            "problem": self.problem,
            "problem_code": self.problem_code,
            "subject": _subject_json(self.subject, set()) if self.subject else None,
            "findings": [
                {
                    "code": finding.code,
                    "message": finding.message,
                    "chain": finding.chain,
                    "subject": finding.subject,
                    "transactions": [transaction.hex() for transaction in finding.transactions],
                }
                for finding in self.findings
            ],
            "as_of": self.heads,
            "checked": self.checked,
            "milliseconds": self.milliseconds,
            "not_known": LIMITS_OF_KNOWLEDGE,
        }


def _subject_json(subject: Subject, seen: set[int]) -> dict[str, Any]:
    """A subject that is related twice is written out once and named after that."""
    short = {"chain": subject.chain, "id": subject.id, "kind": subject.kind, "status": subject.status}
    if id(subject) in seen:
        return short
    seen.add(id(subject))
    return {
        **short,
        "holder": subject.holder,
        "owner": subject.owner,
        "steps": [
            {
                "height": step.height,
                "time_ms": step.time_ms,
                "member": step.member,
                "what": step.what,
                "detail": step.detail,
                "transaction": step.transaction.hex(),
                "inside": step.inside,
            }
            for step in subject.steps
        ],
        "related": [
            {"relation": relation, "subject": _subject_json(other, seen)}
            for relation, other in subject.related
        ],
    }
