"""What an audit found: subjects with their steps, findings, and what was checked on the way. Data only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple

from client.audit_steps import Name
from ledger.policies import Leaving

LIMITS_OF_KNOWLEDGE = (
    "A ledger cannot know that the body in your hand is the body recorded, that what its members signed is true of "
    "the world, or what nobody recorded. It shows who said what, when, in which order, and that nothing recorded "
    "was left out."
)

# Every finding there is, with its meaning. Codes are stable: one is never renamed, and never used for anything else.
CODES: Final[Mapping[str, str]] = {
    "UNKNOWN_PART": "it is proven that the chain has no record of it",
    "UNKNOWN_ORIGIN": "it was adopted: what came before is on no ledger",
    "NO_ORIGIN": "its history does not begin with a commissioning, an adoption or an arrival",
    "GAP": "something that its history needs is not there",
    "NOT_GRANTED": "who made it held no grant for its identifier then, and drew on no delegation",
    "NOT_HOME_CHAIN": "it was made on a chain that is not the home of its prefix",
    "GRANT_REVOKED": "the grant under which it was made had been revoked by then",
    "GRANT_NOT_APPROVED": "neither the genesis nor enough members' admin keys vouch for the grant under which it was made",
    "DELEGATION_EXCEEDED": "more was made under a delegation than its holder had delegated",
    "DELEGATION_NOT_VALID": "it was made under a delegation before or after its time",
    "DELEGATION_REVOKED": "the delegation under which it was made, or the grant above it, had ended by then",
    "HOME_DISPUTED": "two chains claim to be the home of its prefix",
    "KEY_NOT_VALID": "a signing key was not valid at the time",
    "KEY_COMPROMISED": "a signing key had been compromised by then",
    "KEY_NOT_APPROVED": "neither the genesis nor enough members' admin keys vouch for a signing key",
    "PARTY_NOT_APPROVED": "neither the genesis nor enough members' admin keys vouch that an identifier names who received it",
    "ROLE_NOT_ALLOWED": "a signing key had a role that may not do this",
    "NOT_IN_CUSTODY": "somebody acted on it who did not possess it",
    "CONTRADICTION": "what is said of it cannot all be true",
    "DUPLICATE_EVENT": "the same event stands in its history twice",
    "OFFER_EXPIRED": "it was shipped and not received within the time that the chain allows",
    "ERROR_DECLARED": "an event of its history was declared wrong",
    "CORRECTION_UNKNOWN": "what is said to correct an event of its history is not in its history",
    "CORRECTION_LOOP": "events of its history are said to correct each other in a circle",
    "CONTESTED": "an event declared wrong could not be undone: something it touched is over, or on another chain",
    "CORRECTION_PENDING": "an event was declared wrong, and others had yet to say so before it was undone",
    "RECALLED": "a recall is in force",
    "LICENCE_MISSING": "it left without the licence that a policy asks for",
    "POLICY_NOT_APPROVED": "not enough members' admin keys vouch for a policy",
    "REVOKED_ATTESTATION": "a claim about it was revoked",
    "EXPIRED_ATTESTATION": "a claim about it has ended",
    "REPEATED_COMMISSIONING": "its serial was commissioned once more: two bodies may bear its name",
    "SUPERSEDES_ADOPTION": "its commissioning was recorded after the chain had adopted it",
    "OVER_RECEIPT": "more was received than was shipped",
    "LATE_RECORD": "an event was recorded later than the chain allows without a mark",
    "PARTY_NOT_A_MEMBER": "it was shipped to somebody who is no member",
    "SEEN_AFTER_END": "it was seen again after what was recorded had consumed or destroyed it",
    "AMOUNT_LEFT_OPEN": "some of the lot went into something, and nobody said how much",
    "SEEN_ELSEWHERE": "something adopted was put into it, or it into something, and by what was recorded it is elsewhere",
    "ROUND_TRIP": "it went to a member and came straight back, and nothing was done with it there",
    "SERIAL_CLAIMED_TWICE": "a serial is in two lists, or in one and something else by itself: two bodies may bear its name",
    "EXCLUSIVITY_NOT_PROVEN": "a serial of a list that nobody touched: whether another list has it too is not known",
    "CHAIN_NOT_TRUSTED": "it came from a chain that the trust file does not name",
    "CHAIN_NOT_ASKED": "a chain of the trust file gave no answer, so whether it is present there too is not known",
    "LIVE_TWICE": "it is present on two chains",
    "TAKEN_BACK": "the chain it came from took it back as never arrived",
    "CLIENT_FROZEN": "one chain caught the other contradicting itself",
    "REHOMED": "it was taken over from a chain that its members and this one's gave up as lost",
    "REHOMING_NOT_APPROVED": "not enough members vouch that a chain was given up",
    "RECOVERED": "the chain lost its quorum, and its members' decision, not its validators', carried it on",
    "RECOVERY_NOT_APPROVED": "not enough members vouch for the recovery of a chain",
    "IMPOSSIBLE_TRAVEL": "it is said to have been at two places, and nothing travels so fast from one to the other",
    "MISSING_STEP": "its history lacks a step that the auditor's profile expects",
    "ISSUER_NOT_ACCREDITED": "a claim is by somebody whose claims of that kind the auditor's profile does not count",
    "NAME_CONFLICT": "two things claim a name that only one can have",
    "STALE_HEAD": "the newest state that was shown is too old, and may hide what came after",
    "TOO_MANY_FINDINGS": "there are more findings than are listed",
}
FINDINGS_MAX: Final = 10_000


class Severity(StrEnum):
    """How much a finding should worry a reader who knows nothing else."""

    SEVERE = "severe"  # do not use it before this is cleared up
    WARNING = "warning"  # look into it
    NOTE = "note"  # good to know


# Whatever is not named here is severe.
_WARNINGS: Final = (
    "UNKNOWN_ORIGIN AMOUNT_LEFT_OPEN OFFER_EXPIRED ERROR_DECLARED CONTESTED REVOKED_ATTESTATION LICENCE_MISSING OVER_RECEIPT "
    "PARTY_NOT_A_MEMBER SEEN_AFTER_END SEEN_ELSEWHERE ROUND_TRIP EXCLUSIVITY_NOT_PROVEN CHAIN_NOT_TRUSTED "
    "CHAIN_NOT_ASKED TAKEN_BACK RECOVERED REHOMED MISSING_STEP ISSUER_NOT_ACCREDITED STALE_HEAD TOO_MANY_FINDINGS"
)
_NOTES: Final = "CORRECTION_UNKNOWN EXPIRED_ATTESTATION LATE_RECORD CORRECTION_PENDING SUPERSEDES_ADOPTION"
MILDER: Final[Mapping[str, Severity]] = {
    **dict.fromkeys(_WARNINGS.split(), Severity.WARNING),
    **dict.fromkeys(_NOTES.split(), Severity.NOTE),
}
# Findings about something that is missing: other evidence may stand in for it, and is told beside them.
OF_GAPS: Final = ("GAP", "UNKNOWN_ORIGIN", "NO_ORIGIN", "NOT_GRANTED", "MISSING_STEP", "SEEN_AFTER_END")


def severity(code: str) -> Severity:
    """How severe a finding of this code is."""
    return MILDER.get(code, Severity.SEVERE)


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
    evidence: tuple[
        str, ...
    ] = ()  # claims in force about the subject, beside a finding that something is missing


class Step(NamedTuple):
    """One entry of a history, checked: who said what about the subject, at which height and time."""

    chain: str
    height: int
    time_ms: int  # of the block's header
    member: str
    what: str
    detail: str
    transaction: bytes
    inside: str = ""  # the container whose entry this is, when the subject was within it
    leaving: Leaving | None = None  # where it went, for a shipping to others
    category: str = ""  # Make, Assemble, Store, Ship, Receive, Employ; empty for what is only said
    biz_step: str = ""
    place: str = ""  # read point, else business location, as written
    event_time_ms: int = 0  # claimed; 0 for what is no event
    names: tuple[Name, ...] = ()  # that the event gives what it is about


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
    also_called: list[str] = field(default_factory=list)
    expected: int = 0  # steps that the auditor's profile expects of it
    missing: list[str] = field(default_factory=list)  # of these


@dataclass
class Report:
    """The whole answer."""

    asked: str
    verdict: Verdict = Verdict.VERIFIED
    subject: Subject | None = None
    subjects: list[Subject] = field(default_factory=list)  # it and all that it is related to, each once
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
            "subject": _subject_json(self.subject) if self.subject else None,
            "subjects": [_subject_json(subject) for subject in self.subjects],
            "findings": [
                {
                    "code": finding.code,
                    "severity": str(severity(finding.code)),
                    "message": finding.message,
                    "chain": finding.chain,
                    "subject": finding.subject,
                    "transactions": [transaction.hex() for transaction in finding.transactions],
                    "evidence": list(finding.evidence),
                }
                for finding in self.findings
            ],
            "as_of": self.heads,
            "checked": self.checked,
            "milliseconds": self.milliseconds,
            "not_known": LIMITS_OF_KNOWLEDGE,
        }


def _named(subject: Subject) -> dict[str, str]:
    return {"chain": subject.chain, "id": subject.id, "kind": subject.kind, "status": subject.status}


def _subject_json(subject: Subject) -> dict[str, Any]:
    """A subject with what it is related to by name: however long a chain of parts is, the JSON stays flat."""
    return {
        **_named(subject),
        "holder": subject.holder,
        "owner": subject.owner,
        "also_called": subject.also_called,
        "completeness": {
            "expected": subject.expected,
            "found": subject.expected - len(subject.missing),
            "missing": subject.missing,
        },
        "steps": [
            {
                "chain": step.chain,
                "height": step.height,
                "time_ms": step.time_ms,
                "member": step.member,
                "what": step.what,
                "detail": step.detail,
                "transaction": step.transaction.hex(),
                "inside": step.inside,
                "category": step.category,
                "place": step.place,
                "event_time_ms": step.event_time_ms,
            }
            for step in subject.steps
        ],
        "related": [{"relation": relation, "subject": _named(other)} for relation, other in subject.related],
    }
