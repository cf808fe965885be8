"""Every audit of these stories, done again from its passport: containers, lots, several chains, corrections, recoveries,
rights, lost chains. Whatever the audit found of nodes' answers, it finds of the passport made of them."""

import inspect

import pytest

from client.audit import Audit
from client.audit_report import Verdict
from client.passport import from_bytes, to_bytes
from client.passport_answers import ChainInPassport
from client.passport_making import keep_answers, make
from client.passport_verify import serials_shown
from ledger.identifiers import canonical
from tests.bridge.two_chains import World
from tests.client import (
    test_audit_claims,
    test_audit_corrections,
    test_audit_crossing,
    test_audit_rehoming,
    test_audit_rights,
    test_recoveries,
    test_serials,
)

STORIES = [
    (module, name)
    for module in (
        test_audit_claims,
        test_audit_corrections,
        test_audit_crossing,
        test_audit_rehoming,
        test_audit_rights,
        test_recoveries,
        test_serials,
    )
    for name, story in inspect.getmembers(module, inspect.isfunction)
    if name.startswith("test_") and inspect.signature(story).parameters.keys() <= {"world"}
]
RUN = Audit.run


def found(report):
    """Whether a node's head is stale, a passport does not say."""
    said = report.as_json()
    return [one for one in said["findings"] if one["code"] != "STALE_HEAD"], said["subjects"]


def again(self, identifier, chain_id, now_ms):
    """An audit, and then the same of its passport."""
    lines = keep_answers(self._chains)
    report = RUN(self, identifier, chain_id, now_ms)
    if report.verdict is Verdict.NOT_VERIFIABLE:
        return report
    passport = make(canonical(identifier).text, lines, self._shown.values())
    file = to_bytes(passport)
    held = from_bytes(file)
    assert to_bytes(held) == file
    parts = {part.chain_id: part for part in held.chains}
    views = {
        of: ChainInPassport(chain.trust, parts.get(of), chain.now_ms) for of, chain in self._chains.items()
    }
    offline = RUN(
        Audit(views, shown=serials_shown(held), profile=self._profile), identifier, chain_id, now_ms
    )
    assert found(offline) == found(report), offline.problem
    again.compared += 1
    return report


def test_there_are_stories():
    assert len(STORIES) > 40


@pytest.mark.parametrize(
    ("module", "name"), STORIES, ids=lambda it: getattr(it, "__name__", it).split(".")[-1]
)
def test_a_story_is_the_same_from_its_passport(module, name, monkeypatch):
    again.compared = 0
    monkeypatch.setattr(Audit, "run", again)
    story = getattr(module, name)
    story(*[World("a", "b")] * len(inspect.signature(story).parameters))


def test_the_stories_are_compared(monkeypatch):
    again.compared = 0
    monkeypatch.setattr(Audit, "run", again)
    test_audit_crossing.test_nested_containers_that_come_home_in_part()
    assert again.compared > 0
