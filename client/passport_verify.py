"""Verifying a passport: the audit itself (client/audit.py), asked of the passport in place of nodes. Nothing else is asked.

1. Believed are the chain ids of the verifier's own trust file and her clock, as in any audit.
2. Which part it is about the passport says, and the report repeats it; with `part` it must be that one.
3. Where the audit begins the passport does not say: at the chain on which the part is proven to be present.
4. What is missing is not verifiable, and named. What was changed is a broken proof.
5. The verdict is as of the heights that the report names, however long ago. With a greatest age, more than that is a
   finding (STALE_HEAD).
"""

from collections.abc import Callable
from typing import Any, Final

from client.audit import Audit
from client.audit_profile import NO_PROFILE, Profile
from client.audit_report import Report, Verdict
from client.locate import locate
from client.passport_answers import ChainInPassport
from client.trust import Trust
from client.verified import NotVerifiable
from ledger.errors import ChiptraceError
from ledger.identifiers import canonical
from proto.chiptrace.v1.ledger_pb2 import Membership, Reason
from proto.chiptrace.v1.passport_pb2 import Passport

# Findings about who answered, not about what was asked: these may be others in a passport.
_OF_NODES: Final = ("STALE_HEAD", "CHAIN_NOT_ASKED")


def verify(
    passport: Passport,
    trust: Trust,
    now_ms: Callable[[], int],
    *,
    part: str | None = None,
    max_age_ms: int | None = None,
    profile: Profile = NO_PROFILE,
    progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """The report of the audit of what the passport is about; each head with its age. Never raises for what a passport says,
    but reports it."""
    try:
        report = _audited(passport, trust, now_ms, part, max_age_ms, profile, progress)
    except ChiptraceError as error:
        report = Report(passport.asked, Verdict.NOT_VERIFIABLE, problem=str(error), problem_code=error.code)
    for head in report.heads:
        head["age_ms"] = now_ms() - head["time_ms"]
    return report


def _audited(
    passport: Passport,
    trust: Trust,
    now_ms: Callable[[], int],
    part: str | None,
    max_age_ms: int | None,
    profile: Profile,
    progress: Callable[[str], None],
) -> Report:
    # 1. It is about the part that was asked for, and of chains that are trusted.
    asked = canonical(passport.asked).text
    if part is not None and canonical(part).text != asked:
        raise NotVerifiable(
            f"the passport is about {asked}, not about {canonical(part).text}; ask for the right one",
            Reason.NOT_IN_PASSPORT,
        )
    parts = {told.chain_id: told for told in passport.chains}
    chains = {
        chain.chain_id: ChainInPassport(chain, parts.get(chain.chain_id), now_ms, max_age_ms)
        for chain in trust.chains
    }
    if not parts.keys() & chains.keys():
        has = ", ".join(chain_id.hex() for chain_id in parts) or "no chain at all"
        raise NotVerifiable(
            f"the passport is of no chain that the trust file names; it has {has}", Reason.WRONG_CHAIN
        )
    # 2. The chain on which it is present: proven, as everything is.
    shown = serials_shown(passport)
    begin = locate(chains, asked, shown)
    # 3. The audit.
    return Audit(chains, progress, shown, profile).run(asked, begin, now_ms)


def serials_shown(passport: Passport) -> dict[str, Membership]:
    """The proofs of serials that nobody touched, by serial. Raises Refused for what is no identifier."""
    return {canonical(membership.serial).text: membership for membership in passport.shown}


def check_made(
    passport: Passport, trust: Trust, now_ms: Callable[[], int], told: Report, profile: Profile
) -> None:
    """A passport that was made of the answers to an audit gives its verdict: nobody gets one that does not. Raises
    NotVerifiable."""
    report = verify(passport, trust, now_ms, profile=profile)
    if Verdict.NOT_VERIFIABLE in (report.verdict, told.verdict) or _content(report) != _content(told):
        raise NotVerifiable(
            "the answers of the nodes make no passport that gives the verdict of the audit "
            f"({report.verdict}, not {told.verdict}: {report.problem}); nothing was written. Ask other nodes (--node)",
            Reason.BAD_PROOF,
        )


def _content(report: Report) -> tuple[list[dict[str, Any]], Any]:
    found = [vars(finding) for finding in report.findings if finding.code not in _OF_NODES]
    return found, report.as_json()["subjects"]
