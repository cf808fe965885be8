"""Commands that ask: `part show`, `part export`, `audit`. Every answer is checked before it is shown."""

import errno
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from client import epcis_write
from client import trust as trust_file
from client.audit import Audit
from client.audit_chains import present_status
from client.audit_entries import EntryReader
from client.audit_profile import NO_PROFILE, parse_profile, profile_file
from client.audit_report import Verdict
from client.cli_epcis import CREATED
from client.clock import now_ms
from client.console import (
    DEFAULT_TRUST,
    ERR,
    EXIT_PROBLEM,
    OUT,
    JsonOption,
    TrustOption,
    code_and_message,
    error_json,
    plain,
    print_document,
    print_json,
    without_traceback,
)
from client.locate import locate
from client.passport import from_bytes, to_bytes, write_passport
from client.passport_making import keep_answers, make
from client.passport_verify import check_made
from client.question import collect_seldom
from client.records import name_of
from client.serial_lists import read_proofs
from client.serials import Histories, find_part, histories
from client.session import open_all
from client.tree_view import print_report, time_text
from client.verified import VerifiedChain
from ledger import codec, state
from ledger.errors import Malformed, Refused
from ledger.identifiers import canonical
from ledger.limits import EVENT_BYTES_MAX
from proto.chiptrace.v1.ledger_pb2 import (
    EntryKind,
    Event,
    LotRecord,
    Membership,
    PartRecord,
    PartStatus,
    Reason,
)

part = typer.Typer(no_args_is_help=True, help="Show a part, or export its events.")
WhereOption = Annotated[
    str, typer.Option("--chain", help="Name of the chain in the trust file; left out: where the part is.")
]
Identifier = Annotated[str, typer.Argument(help="Identifier: EPC URN or GS1 Digital Link.", metavar="ID")]
ShownOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--shown", help="Proof that a serial is in the list behind its lot's root; repeat for more."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the asking commands."""
    app.add_typer(part, name="part")
    app.command("audit")(audit)


@contextmanager
def _asked(trust: Path, chain: str, name: str, shown: Mapping[str, Membership]) -> Iterator[VerifiedChain]:
    """The chain that was named, or the one the part is present on."""
    with open_all(trust) as sessions:
        chains = {chain_id: session.verified for chain_id, session in sessions.items()}
        yield chains[trust_file.read(trust).chain(chain).chain_id if chain else locate(chains, name, shown)]


def _found(
    chain: VerifiedChain, name: str, shown: Mapping[str, Membership]
) -> tuple[Histories, PartRecord | LotRecord]:
    part = find_part(chain, name, shown)
    if part is not None:
        return histories(chain, part), part
    lot = chain.record(state.lot_key(name), LotRecord)
    if lot is not None:
        return [(name, chain.history(state.lot_key(name), lot.history))], lot
    raise Refused(
        f"{name} is proven absent from chain {chain.trust.name} at height {chain.snapshot().height}; if it was "
        "recorded a moment ago, ask again",
        Reason.UNKNOWN_PART,
    )


@part.command("show")
@without_traceback
def show(
    identifier: Identifier,
    chain: WhereOption = "",
    shown: ShownOption = None,
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """A part as it is proven now: status, holder, and its complete history on this chain.

    Example: chiptrace part show urn:epc:id:sgtin:9521234.000001.7
    """
    name = canonical(identifier).text
    proofs = read_proofs(shown or [])
    with _asked(trust, chain, name, proofs) as verified:
        told, record = _found(verified, name, proofs)
        entries = [proven for _, own in told for proven in own]
        times = verified.times(proven.entry.height for proven in entries)
        fields = _fields(record, verified)
        rows: list[dict[str, Any]] = [
            {
                "n": proven.n,
                "height": proven.entry.height,
                "time_ms": times[proven.entry.height],
                "kind": name_of(EntryKind, proven.entry.kind),
                "finding": name_of(Reason, proven.entry.finding) if proven.entry.finding else "",
                "transaction": proven.entry.transaction.hex(),
            }
            for proven in entries
        ]
    if as_json:
        print_json({**fields, "history": rows})
        return
    if fields["stale"]:
        ERR.print(
            "[yellow]stale[/] the node shows an old state, which may hide what came after; ask another node"
        )
    for label, value in fields.items():
        if value not in ("", 0, False):
            OUT.print(f"{label:<16}{plain(str(value))}")
    OUT.print(f"history         {len(rows)} entries, complete")
    for row in rows:
        OUT.print(
            f"  {row['n']:>3} {time_text(row['time_ms'])} #{row['height']} {row['kind']} {row['finding']}"
        )


def _fields(record: PartRecord | LotRecord, chain: VerifiedChain) -> dict[str, Any]:
    pinned = chain.snapshot()
    place = {
        "id": record.id,
        "chain": chain.trust.name,
        "as_of_height": pinned.height,
        "as_of_ms": pinned.time_ms,
        "stale": chain.stale_by_ms(pinned.time_ms) > 0,
    }
    if isinstance(record, LotRecord):
        return {**place, "kind": "lot", "commissioner": record.commissioner, "adopted": record.adopted}
    status, holder, owner = present_status(chain, record)
    return {
        **place,
        "kind": "part",
        "status": name_of(PartStatus, status),
        "holder": holder,
        "owner": owner,
        "offered_to": record.offered_to,
        "lot": record.lot,
        "place": f"{record.start} to {record.end} (exclusive)" if record.lot else "",
        "container": record.container,
        "generation": record.generation,
        "client": record.client,
        "sequence": record.sequence,
        "hop": record.hop,
        "adopted": record.adopted,
        "commissioner": record.commissioner,
    }


@part.command("export")
@without_traceback
def export(
    identifier: Identifier,
    chain: WhereOption = "",
    out: Annotated[
        Path | None, typer.Option("--out", help="Write here instead of to standard output.")
    ] = None,
    shown: ShownOption = None,
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """The events of a part's history as an EPCIS 2.0 document, each field as it was captured.

    Example: chiptrace part export ID --out part.jsonld
    """
    name = canonical(identifier).text
    proofs = read_proofs(shown or [])
    with _asked(trust, chain, name, proofs) as verified:
        told, _ = _found(verified, name, proofs)
        # Each entry is compared with its operation, as in an audit; findings are for the audit to tell.
        reader = EntryReader(verified, lambda *_: None)
        readings = [reading for whose, own in told for reading in reader.read_all(whose, own)]
        events = [
            codec.decode(Event, reading.operation.capture.event, EVENT_BYTES_MAX)
            for reading in readings
            if reading.view is not None
        ]
    text = epcis_write.to_text(events, CREATED)
    if out is not None:
        out.write_text(text, encoding="utf-8")
    if as_json:
        print_json(
            {"events": len(events), "out": str(out) if out else None, "document": None if out else text}
        )
    elif out is None:
        print_document(text)
    else:
        OUT.print(f"[green]wrote[/] {plain(out)} with {len(events)} events")


def _only(known: trust_file.Trust, choices: list[str]) -> dict[str, str]:
    """The chosen endpoint per chain name. Raises Malformed for a choice that would not be followed."""
    only: dict[str, str] = {}
    for choice in choices:
        name, _, endpoint = choice.partition("=")
        if not endpoint:
            raise Malformed(f"--node {choice}: write it as CHAIN=HOST:PORT")
        only[known.chain(name).name] = endpoint
    return only


def _check_bundle(bundle: Path, chain: str) -> None:
    """What can be known of a passport that cannot be written before anybody is asked. Raises Malformed, OSError."""
    if chain:
        raise Malformed("--bundle holds what is known of a part wherever it is; leave --chain out")
    if bundle.exists():
        raise FileExistsError(errno.EEXIST, "it exists", str(bundle))
    if not bundle.parent.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "there is no such folder", str(bundle.parent))


def _told_of_bundle(bundle: Path, written: int | None) -> str:
    if written is None:
        return "[yellow]no passport was written:[/] there is nothing to show to others that cannot be verified here"
    # So that it can be typed as it stands, whatever the file is called.
    typed = shlex.quote(f"./{bundle}" if str(bundle).startswith("-") else str(bundle))
    return f"[green]wrote[/] {plain(bundle)}, {written:,} bytes: `chiptrace passport verify {plain(typed)}` needs no node"


@without_traceback
def audit(
    identifier: Identifier,
    chain: WhereOption = "",
    trust: TrustOption = DEFAULT_TRUST,
    node: Annotated[
        list[str] | None,
        typer.Option("--node", help="Ask only this node, as CHAIN=HOST:PORT; may be repeated."),
    ] = None,
    profile: Annotated[
        Path | None, typer.Option("--profile", help="JSON: places, a speed, and the steps that are expected.")
    ] = None,
    shown: ShownOption = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle", help="Write a passport: what this audit rests on, to verify without any node."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Follow a part back to where it came from, over every chain of the trust file, and check every step here.

    Exit 0: verified, 1: findings, 2: not verifiable. Example: chiptrace audit ID --trust trust.json
    """
    known, proofs = trust_file.read(trust), read_proofs(shown or [])
    its_profile = b"" if profile is None else profile_file(profile)
    against = NO_PROFILE if profile is None else parse_profile(its_profile, profile)
    if bundle is not None:
        _check_bundle(bundle, chain)
    with open_all(trust, _only(known, node or [])) as sessions:
        chains = {chain_id: session.verified for chain_id, session in sessions.items()}
        lines = keep_answers(chains) if bundle is not None else {}
        asked = known.chain(chain).chain_id if chain else locate(chains, canonical(identifier).text, proofs)
        quiet = as_json or not ERR.is_terminal
        collect_seldom()
        with nullcontext() if quiet else ERR.status("checking") as status:
            report = Audit(
                chains,
                lambda text: status.update(f"checking {plain(text)}") if status else None,
                profile=against,
                shown=proofs,
            ).run(identifier, asked, now_ms)
        written: int | None = None
        failed: Exception | None = None
        if bundle is not None and report.verdict is not Verdict.NOT_VERIFIABLE:
            try:
                file = to_bytes(make(canonical(identifier).text, lines, proofs.values(), its_profile))
                check_made(from_bytes(file), known, now_ms, report, against)
                write_passport(bundle, file)
                written = len(file)
            except Exception as error:  # what was found is told all the same
                failed = error
    if as_json:
        told = {} if failed is None else error_json(*code_and_message(failed))
        print_json({**report.as_json(), **({"bundle": written} if bundle else {}), **told})
        raise typer.Exit(EXIT_PROBLEM if failed else report.verdict.exit_code)
    print_report(OUT, report)
    if failed is not None:
        raise failed
    if bundle is not None:
        OUT.print(_told_of_bundle(bundle, written))
    raise typer.Exit(report.verdict.exit_code)
