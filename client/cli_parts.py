"""Commands that record: capture, ship, receive, return, attest, resume."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from client.capture import Captured, capture, capture_one, custody_event
from client.cli_epcis import Files, read_files
from client.clock import now_ms
from client.console import (
    DEFAULT_TRUST,
    ERR,
    OUT,
    ChainOption,
    JsonOption,
    MemberOption,
    TrustOption,
    plain,
    print_json,
    without_traceback,
)
from client.epcis_findings import errors
from client.serial_lists import kept_list
from client.session import open_chain
from client.submit import Recorded
from ledger.errors import ChiptraceError, Malformed
from ledger.identifiers import canonical
from proto.chiptrace.v1.ledger_pb2 import Attest, Operation, Reason, ReturnOffer

Parts = Annotated[
    list[str], typer.Argument(help="Identifiers: EPC URN or GS1 Digital Link.", metavar="ID...")
]
Part = Annotated[str, typer.Argument(help="Identifier: EPC URN or GS1 Digital Link.", metavar="ID")]
Licences = Annotated[
    list[str] | None,
    typer.Option(
        "--licence", help="Id of an attestation that a policy of the chain asks for; repeat for more."
    ),
]
Minutes = Annotated[
    int, typer.Option("--timeout", help="Minutes until the crossing is given up.", min=1, max=1440)
]


def register(app: typer.Typer) -> None:
    """Add the recording commands."""
    app.command("capture")(capture_command)
    app.command("ship")(ship)
    app.command("receive")(receive)
    app.command("return-offer")(return_offer)
    app.command("attest")(attest)
    app.command("resume")(resume)


def idempotency_key(*words: str | bytes) -> bytes:
    """An idempotency key that is the same for the same command within the same minute."""
    joined = b"\0".join(word if isinstance(word, bytes) else word.encode() for word in words)
    minute = str(now_ms() // 60_000).encode()
    return hashlib.sha256(b"chiptrace/command\0" + minute + b"\0" + joined).digest()[:16]


def utc_now() -> str:
    """The time now as events carry it."""
    return (
        datetime.fromtimestamp(now_ms() / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


def _recorded_json(recorded: Recorded) -> dict[str, object]:
    return {
        "transaction": recorded.transaction.hex(),
        "height": recorded.height,
        "index": recorded.index,
        "finding": Reason.Name(recorded.finding) if recorded.finding else "",
        "repeated": recorded.repeated,
    }


def tell(recorded: Recorded, what: str, *, as_json: bool) -> None:
    """Say what became of an operation that was submitted."""
    if as_json:
        print_json(_recorded_json(recorded))
        return
    at = f"{plain(what)}: height {recorded.height}, {recorded.transaction.hex()[:16]}"
    if recorded.repeated:
        OUT.print(
            f"[yellow]REPEATED[/] final before now: {at}; nothing new was recorded: a "
            "document counts once, a command once a minute"
        )
        return
    finding = f" [yellow]{Reason.Name(recorded.finding)}[/]" if recorded.finding else ""
    OUT.print(f"[green]final[/] {at}{finding}")


@without_traceback
def capture_command(
    files: Files,
    chain: ChainOption,
    member: MemberOption,
    trust: TrustOption = DEFAULT_TRUST,
    lenient: Annotated[
        bool, typer.Option("--lenient/--strict", help="Take what can be put right, and say so.")
    ] = False,
    go_on: Annotated[
        bool, typer.Option("--go-on", help="Go on after an event that the chain refuses.")
    ] = False,
    lists: Annotated[
        list[str] | None,
        typer.Option("--list", help="List behind a lot's root, as LOT=FILE; repeat for more."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Record the events of EPCIS 2.0 documents on a chain, each final before the next is sent.

    Example: chiptrace capture docs/samples/chipmaker-1-siliconfab.jsonld --chain chipmaker --as siliconfab
    """
    imported = read_files(files, strict=not lenient)
    bad = errors(imported.findings)
    if bad and not lenient:
        raise Malformed(
            f"{bad[0]}; nothing was recorded. `chiptrace epcis check` lists every error, {len(bad)} in all"
        )
    for finding in imported.findings:
        ERR.print(plain(str(finding)))
    done: list[Captured] = []
    with open_chain(trust, chain, member) as session, _progress(as_json=as_json) as bar:
        task = bar.add_task("recording", total=len(imported.events))
        done = capture(
            session.submitter(),
            imported.events,
            go_on=go_on,
            told=lambda _: bar.advance(task),
            lists=[kept_list(session.verified, choice) for choice in lists or []],
        )
    refused = [item for item in done if item.error is not None]
    if as_json:
        print_json(
            {
                "recorded": len(done) - len(refused),
                "refused": len(refused),
                "events": [_event_json(i) for i in done],
            }
        )
    else:
        for item in done:
            if item.recorded is not None:
                tell(item.recorded, f"{item.file}, event {item.index}", as_json=False)
        for item in refused:
            ERR.print(f"[red]refused[/] {plain(item.file)}, event {item.index}: {_why(item.error)}")
        OUT.print(
            f"{len(done) - len(refused)} of {len(imported.events)} events recorded on chain {plain(chain)} as {plain(member)}"
        )
    if refused or bad:
        raise typer.Exit(1)


def _why(error: ChiptraceError | None) -> str:
    return f"[bold]{error.code}[/] {plain(str(error))}" if error is not None else ""


def _event_json(item: Captured) -> dict[str, object]:
    place: dict[str, object] = {"file": item.file, "event": item.index}
    if item.recorded is not None:
        return {**place, "ok": True, **_recorded_json(item.recorded)}
    code = item.error.code if item.error else ""
    return {**place, "ok": False, "code": code, "message": str(item.error)}


def _progress(*, as_json: bool) -> Progress:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn())
    return Progress(*columns, console=ERR, transient=True, disable=as_json or not ERR.is_terminal)


@without_traceback
def ship(
    parts: Parts,
    to: Annotated[str, typer.Option("--to", help="Receiving member on the same chain.")],
    chain: ChainOption,
    member: MemberOption,
    owner: Annotated[bool, typer.Option("--ownership", help="Offer ownership too.")] = False,
    licence: Licences = None,
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """Offer parts, with what they hold, to another member; custody moves when she accepts.

    Example: chiptrace ship urn:epc:id:sscc:9521234.0000000001 --to chipdist --chain chipmaker --as moduleworks
    """
    event = custody_event(
        [canonical(part).text for part in parts],
        "shipping",
        utc_now(),
        to=to,
        owner=owner,
        documents=licence or [],
    )
    with open_chain(trust, chain, member) as session:
        tell(capture_one(session.submitter(), event), f"offered to {to}", as_json=as_json)


@without_traceback
def receive(
    parts: Parts,
    chain: ChainOption,
    member: MemberOption,
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """Accept parts that were offered to you, by a member or over the bridge; list fewer to accept a part of them.

    Example: chiptrace receive urn:epc:id:sscc:9521234.0000000001 --chain chipmaker --as chipdist
    """
    event = custody_event([canonical(part).text for part in parts], "receiving", utc_now())
    with open_chain(trust, chain, member) as session:
        tell(capture_one(session.submitter(), event), "received", as_json=as_json)


@without_traceback
def return_offer(
    part: Part,
    chain: ChainOption,
    member: MemberOption,
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """Take an offer back, decline it, or return it once it has expired.

    Example: chiptrace return-offer urn:epc:id:sgtin:9521234.000001.7 --chain chipmaker --as chipdist
    """
    name = canonical(part).text
    operation = Operation(return_offer=ReturnOffer(part=name))
    with open_chain(trust, chain, member) as session:
        recorded = session.submitter().submit([operation], idempotency_key("return-offer", name))
        tell(recorded, "offer returned", as_json=as_json)


@without_traceback
def attest(
    part: Part,
    kind: Annotated[str, typer.Option("--kind", help="certificate, test_report, export_licence or recall.")],
    identifier: Annotated[str, typer.Option("--id", help="URI of the attestation, unique on the chain.")],
    chain: ChainOption,
    member: MemberOption,
    document: Annotated[
        Path | None, typer.Option("--document", help="File whose SHA-256 is attested.")
    ] = None,
    scope: Annotated[str, typer.Option("--scope", help="What it covers, in words.")] = "",
    destination: Annotated[
        list[str] | None,
        typer.Option(
            "--destination", help="Of a licence: a member, or client/member over the bridge; repeat for more."
        ),
    ] = None,
    valid_days: Annotated[int, typer.Option("--valid-days", help="0: no end.", min=0, max=36500)] = 0,
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """Sign a claim about a part or lot: a certificate, a test report, a licence, a recall.

    Example: chiptrace attest ID --kind certificate --id https://testlab.example/c/17 --document c17.pdf
    --chain chipmaker --as testlab
    """
    name = canonical(part).text
    digest = b""
    if document is not None:
        try:
            digest = hashlib.sha256(document.read_bytes()).digest()
        except OSError as error:
            raise Malformed(f"cannot read {document}: {error.strerror}; name an existing file") from None
    with open_chain(trust, chain, member) as session:
        since = session.verified.advance().latest_time_ms
        claim = Attest(
            id=identifier,
            subject=name,
            kind=kind,
            valid_from_ms=since,
            valid_until_ms=since + valid_days * 86_400_000 if valid_days else 0,
            scope=scope,
            destinations=destination or [],
            document_sha256=digest,
            document_name=document.name if document else "",
        )
        recorded = session.submitter().submit(
            [Operation(attest=claim)], idempotency_key("attest", identifier)
        )
        tell(recorded, f"{kind} {identifier}", as_json=as_json)


@without_traceback
def resume(
    chain: ChainOption, member: MemberOption, trust: TrustOption = DEFAULT_TRUST, as_json: JsonOption = False
) -> None:
    """Send again what an interrupted command left behind: the same signed bytes, so nothing is doubled.

    Example: chiptrace resume --chain chipmaker --as chipdist
    """
    with open_chain(trust, chain, member) as session:
        outcomes = session.submitter().resume()
    rows = []
    for path, outcome in outcomes:
        if isinstance(outcome, Recorded):
            rows.append({"file": path.name, "ok": True, **_recorded_json(outcome)})
        else:
            rows.append({"file": path.name, "ok": False, "code": outcome.code, "message": str(outcome)})
    if as_json:
        print_json({"resumed": rows})
    else:
        for path, outcome in outcomes:
            if isinstance(outcome, Recorded):
                tell(outcome, path.name, as_json=False)
            else:
                ERR.print(f"[red]refused[/] {plain(path.name)}: {_why(outcome)}")
        OUT.print(f"{len(rows)} transactions were waiting")
    if any(not row["ok"] for row in rows):
        raise typer.Exit(1)
