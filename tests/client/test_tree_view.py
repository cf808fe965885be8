"""What a person sees of a report: all that matters, nothing that paints over it, and an end to it."""

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from client.audit_report import Finding, Report, Step, Subject, Verdict
from client.console import visible
from client.tree_view import print_report, short, time_text

TEXT = st.text(max_size=12) | st.sampled_from(
    ["\x1b[2J\x1b[H", "\u202e", "[/]", "[red]", "\r", "\x9b1m", "a\nb"]
)


def printed(report):
    out = io.StringIO()
    print_report(Console(file=out, width=200, soft_wrap=True, color_system=None), report)
    return out.getvalue()


@given(TEXT, TEXT, TEXT)
def test_whatever_chains_say_is_shown_without_effect(one, two, three):
    step = Step(one, 7, 10**15, two, three, one, b"\x01" * 32, two)
    subject = Subject(one, two, "part", three, one, two, [step], [])
    subject.related.append((three, Subject(two, three, "part", one)))
    findings = [Finding("GAP", one, two, three, (b"\x02" * 32,))] * 5
    heads = [{"chain": one, "height": 1, "time_ms": 2**63, "stale": True}]
    report = Report(
        one, Verdict.FINDINGS, subject, [subject], findings, heads, problem=two, problem_code=three
    )
    shown = printed(report)
    assert not set(shown) & {"\x1b", "\u202e", "\r", "\x9b"}
    assert "FINDINGS" in shown
    assert "5 times" in shown


@given(st.text(max_size=30))
def test_plain_letters_stay_and_others_are_written_out(text):
    shown = visible(text)
    assert shown.isprintable() or all(
        letter.isprintable() or letter == "\u3000" or letter.isspace() for letter in shown
    )
    assert visible("Größe 5 µm") == "Größe 5 µm"


@given(st.integers(-1, 2**64))
def test_every_time_has_a_text(time_ms):
    assert time_text(time_ms)
    assert time_text(1_700_000_000_000) == "2023-11-14 22:13:20"


def test_a_long_chain_of_parts_ends_and_is_whole_as_json():
    top = last = Subject("a", "part 0", "part", "LIVE")
    subjects = [top]
    for number in range(1, 3_000):
        made = Subject("a", f"part {number}", "part", "CONSUMED")
        last.related += [("made from", made), ("made from", made)]
        subjects.append(made)
        last = made
    report = Report("part 0", subject=top, subjects=subjects)
    assert "--json names them all" in printed(report)
    told = report.as_json()
    assert len(told["subjects"]) == 3_000
    assert told["subjects"][1]["related"][0]["subject"]["id"] == "part 2"


def test_identifiers_are_shortened():
    assert short("https://id.gs1.org/01/09521002300024/21/1") == "/01/09521002300024/21/1"
