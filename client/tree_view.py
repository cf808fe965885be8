"""An audit's report as a person reads it: a tree of subjects with their steps, the verdict, what was checked."""

from datetime import UTC, datetime

from rich.console import Console, Group
from rich.panel import Panel
from rich.tree import Tree

from client.audit_report import LIMITS_OF_KNOWLEDGE, Finding, Report, Step, Subject, Verdict, severity
from client.console import plain

_COLOURS = {Verdict.VERIFIED: "green", Verdict.FINDINGS: "yellow", Verdict.NOT_VERIFIABLE: "red"}
_STEPS_SHOWN = 12
_FINDINGS_SHOWN = 3
_DEPTH_SHOWN = 24
_SUBJECTS_SHOWN = 500
_CALENDAR_MS_MAX = 253_402_300_800_000  # year 10000


def time_text(time_ms: int) -> str:
    """A time in milliseconds as UTC text, to the second; the number itself where no calendar has that day."""
    if not 0 <= time_ms < _CALENDAR_MS_MAX:
        return f"{time_ms} ms"
    return datetime.fromtimestamp(time_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def age_text(age_ms: int) -> str:
    """An age in whole days, hours, minutes or seconds, the largest of which there are two."""
    for unit, unit_ms in (("days", 86_400_000), ("hours", 3_600_000), ("minutes", 60_000)):
        if age_ms >= 2 * unit_ms:
            return f"{age_ms // unit_ms} {unit}"
    return f"{max(0, age_ms) // 1000} seconds"


def short(identifier: str) -> str:
    """An identifier without the words that all of them share."""
    return identifier.removeprefix("https://id.gs1.org").removeprefix("urn:epc:")


def print_report(console: Console, report: Report) -> None:
    """Print the whole report."""
    if report.subject is not None:
        console.print(_tree(report.subject), soft_wrap=False)
    for code, chain in dict.fromkeys((finding.code, finding.chain) for finding in report.findings):
        _print_findings(console, [f for f in report.findings if (f.code, f.chain) == (code, chain)])
    if report.problem:
        console.print(f"[red]not verifiable[/] [bold]{plain(report.problem_code)}[/] {plain(report.problem)}")
    console.print(_summary(report), soft_wrap=False)


def _print_findings(console: Console, alike: list[Finding]) -> None:
    """Findings of one kind: the first ones in words, the rest counted; all of them stand in the JSON report."""
    first = alike[0]
    console.print(
        f"[yellow]finding[/] [bold]{plain(first.code)}[/] on chain {plain(first.chain)}, {len(alike)} times, {severity(first.code)}"
    )
    for finding in alike[:_FINDINGS_SHOWN]:
        events = " ".join(transaction.hex()[:12] for transaction in finding.transactions)
        console.print(f"  {plain(finding.message)}" + (f" [dim]transactions {events}[/]" if events else ""))
        for claim in finding.evidence:
            console.print(f"    [dim]other evidence:[/] {plain(claim)}")
    if len(alike) > _FINDINGS_SHOWN:
        console.print(f"  [dim]and {len(alike) - _FINDINGS_SHOWN} more (--json names them all)[/]")


def _summary(report: Report) -> Panel:
    colour = _COLOURS[report.verdict]
    heads = [
        f"as of chain {plain(head['chain'])} height {head['height']}, {time_text(head['time_ms'])} UTC"
        + (f", {age_text(head['age_ms'])} old" if "age_ms" in head else "")
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
    lines = [f"[bold {colour}]{str(report.verdict).upper()}[/] {plain(report.asked)}", *heads, counts]
    return Panel(Group(*lines, f"[dim]{LIMITS_OF_KNOWLEDGE}[/]"), border_style=colour)


def _title(subject: Subject, relation: str) -> str:
    words = [f"[dim]{plain(relation)}[/]"] if relation else []
    words += [
        f"[bold]{plain(short(subject.id))}[/]",
        f"[cyan]{plain(subject.chain)}[/]",
        plain(subject.status),
    ]
    if subject.holder:
        words.append(f"held by {plain(subject.holder)}")
    if subject.owner and subject.owner != subject.holder:
        words.append(f"owned by {plain(subject.owner)}")
    if subject.also_called:
        words.append(f"[dim]also called {plain(', '.join(subject.also_called))}[/]")
    if subject.expected:
        found = subject.expected - len(subject.missing)
        words.append(f"[dim]{found} of {subject.expected} expected steps[/]")
    return " ".join(words)


def _tree(subject: Subject) -> Tree:
    """Each subject in full where it comes first, in the order of the walk; so deep and so many, and no more."""
    top = Tree(_title(subject, ""))
    waiting = [(top, subject, 1)]
    seen: set[int] = set()
    while waiting:
        tree, current, depth = waiting.pop()
        if id(current) in seen:
            tree.add("[dim](shown above)[/]")
            continue
        seen.add(id(current))
        _add_steps(tree, current.steps)
        if current.related and (depth >= _DEPTH_SHOWN or len(seen) >= _SUBJECTS_SHOWN):
            tree.add(f"[dim]… {len(current.related)} related subjects (--json names them all)[/]")
            continue
        below = [(tree.add(_title(other, relation)), other, depth + 1) for relation, other in current.related]
        waiting.extend(reversed(below))
    return top


def _add_steps(tree: Tree, steps: list[Step]) -> None:
    shown = steps if len(steps) <= _STEPS_SHOWN else steps[: _STEPS_SHOWN // 2] + steps[-_STEPS_SHOWN // 2 :]
    for place, step in enumerate(shown):
        if len(shown) < len(steps) and place == _STEPS_SHOWN // 2:
            tree.add(f"[dim]… {len(steps) - len(shown)} more steps[/]")
        tree.add(_step_line(step))


def _step_line(step: Step) -> str:
    inside = f" [dim]inside {plain(short(step.inside))}[/]" if step.inside else ""
    detail = f" [dim]{plain(step.detail)}[/]" if step.detail else ""
    kind = f" [cyan]{step.category}[/]" if step.category else ""
    return (
        f"[green]✓[/] {time_text(step.time_ms)} {plain(step.chain)}#{step.height} "
        f"[bold]{plain(step.member)}[/] {plain(step.what)}{kind}{detail}{inside}"
    )
