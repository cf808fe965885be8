"""The list of findings is one list: in the code, in the docs, and in what an audit may say."""

import re
from pathlib import Path

from client.audit_report import CODES, MILDER, Finding, Report, Severity, Verdict, severity

ROOT = Path(__file__).resolve().parents[2]


def test_the_docs_list_exactly_the_findings_there_are():
    text = (ROOT / "docs" / "audit.md").read_text().partition("## Findings")[2]
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.+) \|$", text, re.MULTILINE)
    assert dict(rows) == dict(CODES)
    assert len(rows) == len(CODES)


def test_every_finding_can_be_found():
    """A code that no line of an audit can give is no finding."""
    files = [*(ROOT / "client").glob("audit*.py"), ROOT / "client" / "serials.py"]
    source = "".join(path.read_text() for path in files if path.name != "audit_report.py")
    assert not [code for code in CODES if f'"{code}"' not in source and f"Reason.{code}" not in source]


def test_the_docs_list_what_is_not_severe():
    text = (ROOT / "docs" / "audit.md").read_text()
    for word in (Severity.WARNING, Severity.NOTE):
        (listed,) = re.findall(rf"^- `{word}` \([a-z ]+\): ([^;.]+)[;.]$", text, re.MULTILINE)
        assert set(re.findall("`([A-Z_]+)`", listed)) == {code for code in MILDER if severity(code) == word}
    assert MILDER.keys() < CODES.keys()
    assert severity("LIVE_TWICE") == Severity.SEVERE


def test_verdicts_and_exit_codes():
    assert [verdict.exit_code for verdict in Verdict] == [0, 1, 2]
    report = Report("x", Verdict.FINDINGS, findings=[Finding("GAP", "m", "a", "x", (b"\x01",))])
    told = report.as_json()
    assert (told["verdict"], told["findings"][0]["transactions"]) == ("findings", ["01"])
