"""An audit's report as a person reads it: a tree of subjects with their steps, the verdict, what was checked."""

from datetime import UTC, datetime

from rich.console import Console, Group
from rich.markup import escape
from rich.panel import Panel
from rich.tree import Tree

from client.audit_report import LIMITS_OF_KNOWLEDGE, Finding, Report, Step, Subject, Verdict

_COLOURS = {Verdict.VERIFIED: "green", Verdict.FINDINGS: "yellow", Verdict.NOT_VERIFIABLE: "red"}
_STEPS_SHOWN = 12
_FINDINGS_SHOWN = 3


def time_text(time_ms: int) -> str:
    """A time in milliseconds as UTC text, to the second."""
    return datetime.fromtimestamp(time_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def short(identifier: str) -> str:
    """An identifier without the words that all of them share."""
    return identifier.removeprefix("https://id.gs1.org").removeprefix("urn:epc:")


def print_report(console: Console, report: Report) -> None:
    """Print the whole report."""
    if report.subject is not None:
        tree = Tree(_title(report.subject, ""))
        _fill(tree, report.subject, set())
        console.print(tree)
    for code, chain in dict.fromkeys((finding.code, finding.chain) for finding in report.findings):
        _print_findings(console, [f for f in report.findings if (f.code, f.chain) == (code, chain)])
    if report.problem:
        console.print(
            f"[red]not verifiable[/] [bold]{escape(report.problem_code)}[/] {escape(report.problem)}"
        )
    console.print(_summary(report))


def _print_findings(console: Console, alike: list[Finding]) -> None:
    """Findings of one kind: the first ones in words, the rest counted; all of them stand in the JSON report."""
    first = alike[0]
    console.print(
        f"[yellow]finding[/] [bold]{escape(first.code)}[/] on chain {first.chain}, {len(alike)} times"
    )
    for finding in alike[:_FINDINGS_SHOWN]:
        events = " ".join(transaction.hex()[:12] for transaction in finding.transactions)
        console.print(f"  {escape(finding.message)}" + (f" [dim]transactions {events}[/]" if events else ""))
    if len(alike) > _FINDINGS_SHOWN:
        console.print(f"  [dim]and {len(alike) - _FINDINGS_SHOWN} more (--json names them all)[/]")


def _summary(report: Report) -> Panel:
    colour = _COLOURS[report.verdict]
    heads = [
        f"as of chain {head['chain']} height {head['height']}, {time_text(head['time_ms'])} UTC"
        + (" [yellow](stale)[/]" if head["stale"] else "")
        for head in report.heads
    ]
    checked = report.checked
    counts = (
        f"{checked.get('subjects', 0)} subjects, {checked.get('history_entries', 0)} history entries, "
        f"{checked.get('signatures', 0)} signatures, {checked.get('certificates', 0)} certificates, "
        f"{checked.get('state_proofs', 0)} state proofs checked here; {checked.get('bytes', 0):,} bytes of proof; "
        f"{report.milliseconds} ms"
    )
    lines = [f"[bold {colour}]{str(report.verdict).upper()}[/] {escape(report.asked)}", *heads, counts]
    return Panel(Group(*lines, f"[dim]{LIMITS_OF_KNOWLEDGE}[/]"), border_style=colour)


def _title(subject: Subject, relation: str) -> str:
    words = [f"[dim]{relation}[/]"] if relation else []
    words += [f"[bold]{escape(short(subject.id))}[/]", f"[cyan]{subject.chain}[/]", subject.status]
    if subject.holder:
        words.append(f"held by {escape(subject.holder)}")
    if subject.owner and subject.owner != subject.holder:
        words.append(f"owned by {escape(subject.owner)}")
    return " ".join(words)


def _fill(tree: Tree, subject: Subject, seen: set[int]) -> None:
    if id(subject) in seen:
        tree.add("[dim](shown above)[/]")
        return
    seen.add(id(subject))
    steps = subject.steps
    shown = steps if len(steps) <= _STEPS_SHOWN else steps[: _STEPS_SHOWN // 2] + steps[-_STEPS_SHOWN // 2 :]
    for place, step in enumerate(shown):
        if len(shown) < len(steps) and place == _STEPS_SHOWN // 2:
            tree.add(f"[dim]… {len(steps) - len(shown)} more steps[/]")
        tree.add(_step_line(step))
    for relation, other in subject.related:
        _fill(tree.add(_title(other, relation)), other, seen)


def _step_line(step: Step) -> str:
    inside = f" [dim]inside {escape(short(step.inside))}[/]" if step.inside else ""
    detail = f" [dim]{escape(step.detail)}[/]" if step.detail else ""
    return (
        f"[green]✓[/] {time_text(step.time_ms)} {step.chain}#{step.height} "
        f"[bold]{escape(step.member)}[/] {escape(step.what)}{detail}{inside}"
    )
