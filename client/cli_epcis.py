"""`chiptrace epcis …`: EPCIS 2.0 documents checked, hashed and converted, without a node."""

from pathlib import Path
from typing import Annotated

import typer

from client import epcis_hash_document, epcis_json, epcis_read, epcis_write
from client.console import ERR, OUT, JsonOption, plain, print_document, print_json, without_traceback
from client.epcis_findings import Finding, errors
from client.epcis_hash import Profile
from ledger.errors import Malformed

epcis = typer.Typer(
    no_args_is_help=True, help="Check, hash and convert EPCIS 2.0 JSON-LD documents; no node is needed."
)
Files = Annotated[list[Path], typer.Argument(help="EPCIS 2.0 JSON-LD documents.", metavar="FILE...")]
CREATED = "2026-01-01T00:00:00Z"


def register(app: typer.Typer) -> None:
    """Add the `epcis` commands."""
    app.add_typer(epcis, name="epcis")


def read_files(paths: list[Path], *, strict: bool) -> epcis_read.Import:
    """The events of the files. Raises Malformed for one that cannot be read."""
    try:
        return epcis_read.read_files(paths, strict=strict)
    except OSError as error:
        raise _unreadable(error) from None


def _unreadable(error: OSError) -> Malformed:
    return Malformed(f"cannot read {error.filename}: {error.strerror}; name an existing EPCIS document")


def finding_json(finding: Finding) -> dict[str, object]:
    """A finding as plain data."""
    return {
        "file": finding.file,
        "event": finding.event,
        "field": finding.path,
        "code": str(finding.code),
        "severity": finding.severity,
        "message": finding.message,
    }


@epcis.command("check")
@without_traceback
def check(
    files: Files,
    lenient: Annotated[
        bool, typer.Option("--lenient/--strict", help="Take what can be put right, and say so.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what is wrong with documents: file, event, field, reason. Exit 0: all may be captured, 1: not.

    Example: chiptrace epcis check --lenient docs/samples/*.jsonld
    """
    imported = read_files(files, strict=not lenient)
    bad = errors(imported.findings)
    if as_json:
        print_json(
            {
                "ok": not bad,
                "events": len(imported.events),
                "findings": [finding_json(finding) for finding in imported.findings],
            }
        )
    else:
        for finding in imported.findings:
            ERR.print(plain(str(finding)))
        state = "[red]refused[/]" if bad else "[green]ok[/]"
        OUT.print(
            f"{state} {len(files)} files, {len(imported.events)} events may be captured, {len(bad)} errors, "
            f"{len(imported.findings) - len(bad)} warnings"
        )
    raise typer.Exit(1 if bad else 0)


@epcis.command("hash")
@without_traceback
def hash_events(
    files: Files,
    profile: Annotated[
        Profile,
        typer.Option(
            "--profile", help="ref: as the reference vectors; spec: the order as it is written down."
        ),
    ] = Profile.REF,
    as_json: JsonOption = False,
) -> None:
    """Print the CBV 2.0 event hash of every event, one URI per line. Exit 0: all have one, 1: not.

    Example: chiptrace epcis hash docs/samples/*.jsonld
    """
    rows: list[dict[str, object]] = []
    findings: list[Finding] = []
    for path in files:
        try:
            hashes, found = epcis_hash_document.hash_file(epcis_json.read_file(path), profile, path.name)
        except OSError as error:
            raise _unreadable(error) from None
        rows.extend({"file": path.name, "event": index, "hash": uri} for index, uri in hashes)
        findings.extend(found)
    bad = errors(findings)
    if as_json:
        found_json = [finding_json(finding) for finding in findings]
        print_json({"ok": not bad, "profile": str(profile), "hashes": rows, "findings": found_json})
    else:
        for finding in findings:
            ERR.print(plain(str(finding)))
        for row in rows:
            print(row["hash"])
    raise typer.Exit(1 if bad else 0)


@epcis.command("convert")
@without_traceback
def convert(
    files: Files,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write here instead of to standard output.")
    ] = None,
    lenient: Annotated[bool, typer.Option("--lenient/--strict", help="Take what can be put right.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Take documents through the ledger's event messages and write them as one EPCIS 2.0 document.

    Example: chiptrace epcis convert --lenient old.jsonld --out clean.jsonld
    """
    imported = read_files(files, strict=not lenient)
    bad = errors(imported.findings)
    if bad:
        raise Malformed(f"{bad[0]}; `chiptrace epcis check` lists every error, {len(bad)} in all")
    header = imported.headers[0] if len(imported.headers) == 1 else None
    if header is None and any(map(epcis_hash_document.ignore_members, imported.headers)):
        raise Malformed(
            "a document says which fields its hashes leave out, and another does not; convert one at a time"
        )
    text = epcis_write.to_text([item.event for item in imported.events], CREATED, header)
    if out is not None:
        out.write_text(text, encoding="utf-8")
    if as_json:
        print_json({"ok": True, "events": len(imported.events), "out": str(out) if out else None})
    elif out is None:
        print_document(text)
    else:
        OUT.print(f"[green]wrote[/] {plain(out)} with {len(imported.events)} events")
