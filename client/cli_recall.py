"""`chiptrace recall …`: how far a recall goes, over every chain of the trust file, checked here."""

import csv
import io
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from client import trust as trust_file
from client.clock import now_ms
from client.console import (
    DEFAULT_TRUST,
    ERR,
    OUT,
    JsonOption,
    TrustOption,
    plain,
    print_json,
    without_traceback,
)
from client.locate import locate
from client.question import collect_seldom
from client.reach import Reach
from client.reach_paths import Window
from client.reach_report import NOT_KNOWN, Reached, ReachReport
from client.session import open_all
from client.tree_view import short, time_text
from ledger.errors import Malformed
from ledger.identifiers import canonical

recall = typer.Typer(no_args_is_help=True, help="How far a recall goes, and whom to tell.")
_SHOWN = 40
_COLUMNS = (
    "chain",
    "id",
    "kind",
    "certainty",
    "count",
    "status",
    "holder",
    "owner",
    "offered_to",
    "place",
    "how",
    "by",
)


def register(app: typer.Typer) -> None:
    """Add the commands about recalls."""
    app.add_typer(recall, name="recall")


@recall.command("reach")
@without_traceback
def reach(
    subject: Annotated[
        str, typer.Argument(help="A part, lot, interval of serials, container or run.", metavar="SUBJECT")
    ],
    chain: Annotated[str, typer.Option("--chain", help="Name of the chain; left out: where it is.")] = "",
    since: Annotated[
        str, typer.Option("--since", help="Only what was made of it, or was in it, from this time on.")
    ] = "",
    until: Annotated[
        str, typer.Option("--until", help="… and up to this time, as 2026-01-31T12:00:00Z.")
    ] = "",
    out: Annotated[Path | None, typer.Option("--csv", help="Write all that is reached here.")] = None,
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """All that may be concerned when this is recalled: what was made of it, what holds it, who has it now.

    Exit 0: that is all of it, 1: there may be more (it says why), 2: not verifiable.
    Example: chiptrace recall reach https://id.gs1.org/01/09521234000013/10/W7 --csv recall.csv
    """
    window = Window(_time(since), _time(until))
    if window.until_ms and window.until_ms < window.from_ms:
        raise Malformed("--until lies before --since")
    known = trust_file.read(trust)
    with open_all(trust) as sessions:
        chains = {chain_id: session.verified for chain_id, session in sessions.items()}
        asked = known.chain(chain).chain_id if chain else locate(chains, canonical(subject).text)
        quiet = as_json or not ERR.is_terminal
        collect_seldom()
        with nullcontext() if quiet else ERR.status("following") as status:
            report = Reach(
                chains, lambda count: status.update(f"{count} things reached") if status else None
            ).run(subject, asked, now_ms, window)
    if out is not None:
        out.write_text(to_csv(report), encoding="utf-8")
    if as_json:
        print_json(report.as_json())
    else:
        _show(report)
    raise typer.Exit(report.exit_code)


def _time(text: str) -> int:
    if not text:
        return 0
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise Malformed(f"{text!r} is no time with a zone, such as 2026-01-31T12:00:00Z")
    return int(found.timestamp() * 1000)


def to_csv(report: ReachReport) -> str:
    """One line for each thing, and for each place where an amount lies. A cell never begins a formula."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow((*_COLUMNS, "amount", "unit"))
    for thing in report.reached:
        told = thing.as_json()
        rows = [[told[column] for column in _COLUMNS] + ["", ""]]
        for amount in thing.amounts:
            row = {**told, **amount.as_json(), "kind": "amount", "id": amount.lot, "count": ""}
            rows.append([row[column] for column in (*_COLUMNS, "amount", "unit")])
        writer.writerows([_cell(item) for item in row] for row in rows)
    return text.getvalue()


def _cell(item: object) -> object:
    return f"'{item}" if isinstance(item, str) and item[:1] in ("=", "+", "-", "@", "\t", "\r") else item


def _show(report: ReachReport) -> None:
    if report.problem:
        OUT.print(f"[red]not verifiable[/] [bold]{plain(report.problem_code)}[/] {plain(report.problem)}")
        return
    for thing in report.reached[:_SHOWN]:
        OUT.print(_line(thing))
    if len(report.reached) > _SHOWN:
        OUT.print(f"[dim]and {len(report.reached) - _SHOWN} more (--csv or --json names them all)[/]")
    table = Table(title="whom to tell", title_justify="left")
    for column in ("chain", "member", "certain", "candidate", "offered", "owned elsewhere", "amounts"):
        table.add_column(column)
    for row in report.holders():
        amounts = ", ".join(
            f"{a['amount']} {a['unit'] or 'pieces'} of {short(a['lot'])}" for a in row["amounts"]
        )
        counts = [str(row[name]) for name in ("certain", "candidate", "offered", "owned")]
        name = f"{row['member']} ({row['name']})" if row["name"] else row["member"]
        table.add_row(plain(row["chain"]), plain(name), *counts, plain(amounts))
    OUT.print(table)
    OUT.print(
        ", ".join(f"{count} {plain(status)}" for status, count in report.counts().items()) or "nothing else"
    )
    for gap in report.gaps:
        OUT.print(f"[yellow]may not be all[/] {plain(gap)}")
    if report.findings:
        told = ", ".join(f"{count} {plain(code)}" for code, count in sorted(report.findings.items()))
        OUT.print(f"[yellow]found[/] {told} (`chiptrace audit` of each thing tells more)")
    for head in report.heads:
        OUT.print(
            f"as of chain {plain(head['chain'])} height {head['height']}, {time_text(head['time_ms'])} UTC"
        )
    checked = report.checked
    OUT.print(
        f"{'[yellow]THERE MAY BE MORE' if report.gaps else '[green]COMPLETE'}[/]: {len(report.reached)} things; "
        f"{checked['history_entries']} history entries, {checked['signatures']} signatures, "
        f"{checked['state_proofs']} state proofs checked here in {report.milliseconds} ms"
    )
    OUT.print(f"[dim]{NOT_KNOWN}[/]")


def _line(thing: Reached) -> str:
    words = [f"[bold]{plain(short(thing.id))}[/] [cyan]{plain(thing.chain)}[/] {plain(thing.status)}"]
    words += [f"held by {plain(thing.holder)}"] if thing.holder else []
    words += [f"in {plain(short(thing.place))}"] if thing.place else []
    words += [f"[dim]{plain(thing.how)} {plain(short(thing.by))}[/]"] if thing.by else []
    return " ".join(words) + ("" if thing.certain or thing.holds_only else " [yellow]CANDIDATE[/]")
