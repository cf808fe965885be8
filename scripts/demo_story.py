"""The demo's story, told on a real testnet; run it through scripts/demo.py, which sets up what it needs.

A wafer becomes dies, dies become power modules, modules cross to the assembler's chain and end in a drive unit.
Its audit follows every step back to the wafer over both chains, each proof checked here. Then five lies are
told, and each is caught by name.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import demo_lies
from rich.rule import Rule

from client import epcis_read
from client.audit import Audit
from client.audit_report import Report, Verdict
from client.capture import Captured, capture
from client.clock import now_ms
from client.console import console
from client.epcis_findings import errors
from client.epcis_grants import names
from client.session import open_all, open_chain
from client.tree_view import print_report, short
from ledger import codec, state
from ledger.errors import ChiptraceError
from ledger.event import read_event
from node import testnet_layout
from proto.chiptrace.v1.bridge_pb2 import SendPart
from proto.chiptrace.v1.ledger_pb2 import (
    Attest,
    Operation,
    PartRecord,
    PartStatus,
)

ROOT = Path(__file__).resolve().parent.parent
OUT = console()
SAMPLES = ROOT / "docs" / "samples"
CHIPMAKER_STEPS = [
    (
        "chipmaker-1-siliconfab",
        "siliconfab",
        "a wafer is commissioned, inspected, diced; the dies go on a tape",
    ),
    ("chipmaker-2-moduleworks", "moduleworks", "the dies become power modules, three of them"),
    ("chipmaker-3-testlab", "testlab", "the modules are tested"),
    ("chipmaker-4-moduleworks", "moduleworks", "the modules are packed on a reel and shipped"),
    ("chipmaker-5-chipdist", "chipdist", "the distributor receives the reel and unpacks it"),
]
ASSEMBLER_STEPS = [
    ("assembler-1-boardworks", "boardworks", "the modules are received and installed on an inverter board"),
    ("assembler-2-drivemaker", "drivemaker", "the boards are installed in a drive unit"),
    ("assembler-3-carmaker", "carmaker", "the drive unit goes into a car"),
]


def commissioned(name: str) -> list[str]:
    """Identifiers that a sample document brings into being."""
    views = [
        read_event(item.event)
        for item in epcis_read.read_files([SAMPLES / f"{name}.jsonld"], strict=True).events
    ]
    made = [item for view in views for item in (view.epcs if view.action == "ADD" else view.outputs)]
    return list(dict.fromkeys(item.text for item in made))


MODULES = commissioned("chipmaker-2-moduleworks")
(DRIVE_UNIT,) = commissioned("assembler-2-drivemaker")
CROSSING_SECONDS = 40.0
AUDITED_MAX = 40


def chiptrace(*arguments: str) -> None:
    """Run a chiptrace command as a person would; its output is shown."""
    with subprocess.Popen([sys.executable, "-m", "node.cli", *arguments], cwd=ROOT) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            # It must write down what it started before it ends; then all of it can be ended.
            process.send_signal(signal.SIGINT)
            process.wait()
            raise
    if code != 0:
        raise ChiptraceError(f"`chiptrace {' '.join(arguments)}` failed (see above)")


@contextmanager
def testnet(home: Path, *options: str) -> Iterator[Path]:
    """Two chains and a relayer for as long as the block runs; the trust file. Nothing is left behind."""
    try:
        chiptrace("testnet", "up", "--dir", str(home), *options)
        yield home / "trust.json"
    finally:
        # A second Ctrl-C must not leave processes behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if testnet_layout.exists(home):
            chiptrace("testnet", "reset", "--dir", str(home))


def say(text: str) -> None:
    """A heading of the story."""
    OUT.print(Rule(f"[bold]{text}", align="left"))


def record(trust: Path, chain: str, member: str, path: Path, *, lenient: bool = False) -> list[Captured]:
    """Capture a document as a member, each event final before the next."""
    imported = epcis_read.read_files([path], strict=not lenient)
    if errors(imported.findings) and not lenient:
        raise ChiptraceError(f"{errors(imported.findings)[0]}")
    for finding in imported.findings:
        OUT.print(f"  [yellow]{finding}[/]", markup=True)
    with open_chain(trust, chain, member) as session:
        started = time.monotonic()
        done = capture(session.submitter(), imported.events, go_on=lenient, told=lambda _: None)
        refused = [item for item in done if item.error is not None]
        for item in refused:
            OUT.print(
                f"  [red]refused[/] {item.file}, event {item.index}: {item.error.code if item.error else ''} {item.error}"
            )
        if refused and not lenient:
            raise ChiptraceError(f"{path.name} was refused")
        milliseconds = (time.monotonic() - started) * 1000 / max(1, len(done))
        OUT.print(
            f"  [green]final[/] {len(done) - len(refused)} events by {member}, {milliseconds:.0f} ms each on average"
        )
    return done


def attest(trust: Path) -> None:
    """The test laboratory signs a certificate for each module."""
    with open_chain(trust, "chipmaker", "testlab") as session:
        since = session.verified.advance().latest_time_ms
        for number, module in enumerate(MODULES, 1):
            claim = Attest(
                id=f"https://testlab.example/certificates/2509-{number}",
                subject=module,
                kind="certificate",
                valid_from_ms=since,
                valid_until_ms=since + 365 * 86_400_000,
                scope="AQG 324 power cycling, 750 V",
            )
            key = bytes([number]) * 16
            session.submitter().submit([Operation(attest=claim)], key)
    OUT.print(f"  [green]final[/] {len(MODULES)} certificates attested by testlab")


def cross(trust: Path) -> None:
    """Send the modules over the bridge, one by one, and accept them on the other side."""
    started = time.monotonic()
    with open_chain(trust, "chipmaker", "chipdist") as session:
        due = session.verified.advance().latest_time_ms + 3_600_000
        for number, module in enumerate(MODULES, 1):
            send = SendPart(client="assembler", part=module, receiver="boardworks", timeout_ms=due)
            session.submitter().submit([Operation(send_part=codec.encode(send))], bytes([16 + number]) * 16)
    with open_chain(trust, "assembler", "boardworks") as session:
        waiting = [state.part_key(module) for module in MODULES]
        while True:
            session.verified.repin()
            records = [session.verified.record(key, PartRecord) for key in waiting]
            if all(item is not None and item.status == PartStatus.OFFERED for item in records):
                break
            if time.monotonic() - started > CROSSING_SECONDS:
                raise ChiptraceError(
                    "the modules did not arrive; look at the relayer's log (`chiptrace testnet status`)"
                )
            time.sleep(0.1)
    OUT.print(
        f"  [green]arrived[/] {len(MODULES)} modules, offered to boardworks, after {time.monotonic() - started:.1f} s"
    )


def audit(trust: Path, chain: str, part: str, only: dict[str, str] | None = None) -> Report:
    """Audit a part over all chains of the trust file."""
    with open_all(trust, only) as sessions:
        chains = {chain_id: session.verified for chain_id, session in sessions.items()}
        asked = next(chain_id for chain_id, one in chains.items() if one.trust.name == chain)
        return Audit(chains).run(part, asked, now_ms)


def settle(trust: Path, height: int, chain: str) -> None:
    """Wait until the state after a height can be proven."""
    with open_chain(trust, chain) as session:
        while session.verified.snapshot().height < height:
            time.sleep(0.05)
            session.verified.repin()


def story(trust: Path, home: Path) -> bool:
    """The whole story; True when the audit verified and every lie was caught."""
    for name, member, text in CHIPMAKER_STEPS:
        say(f"chipmaker: {text}")
        record(trust, "chipmaker", member, SAMPLES / f"{name}.jsonld")
        if name.startswith("chipmaker-3"):
            attest(trust)
    say("the modules cross to the assembler's chain")
    cross(trust)
    lies = demo_lies.Lies(OUT, trust, home, audit)
    with lies.old_head("assembler", "old") as old:
        last = 0
        for name, member, text in ASSEMBLER_STEPS:
            say(f"assembler: {text}")
            done = record(trust, "assembler", member, SAMPLES / f"{name}.jsonld")
            last = max(item.recorded.height for item in done if item.recorded is not None)
        settle(trust, last, "assembler")
        say("the drive unit is audited, down to the wafer")
        report = audit(trust, "assembler", DRIVE_UNIT)
        print_report(OUT, report)
        say("what fails")
        caught = [
            lies.forged_event("chipmaker", "assembler", DRIVE_UNIT),
            lies.cloned_serial("chipmaker", "chipdist", MODULES[0]),
            lies.replayed_packet("assembler", "boardworks", MODULES[0]),
            lies.hidden_event("chipmaker", "assembler", DRIVE_UNIT),
            lies.stale_head(old, "assembler", MODULES[0]),
        ]
    say("summary")
    verified = report.verdict is Verdict.VERIFIED
    OUT.print(
        f"audit of {short(DRIVE_UNIT)}: [bold]{report.verdict}[/], lies caught: {sum(caught)} of {len(caught)}"
    )
    return verified and all(caught)


def document(trust: Path, path: Path) -> bool:
    """Capture any EPCIS document, audit what it names, and export it again."""
    say(f"{path.name} is captured on chain chipmaker")
    done = record(trust, "chipmaker", "siliconfab", path, lenient=True)
    heights = [item.recorded.height for item in done if item.recorded is not None]
    settle(trust, max(heights, default=0), "chipmaker")
    imported = epcis_read.read_files([path], strict=False)
    things = list(
        dict.fromkeys(name.text for item in imported.events for name in names(read_event(item.event)))
    )
    worst = Verdict.VERIFIED
    for thing in things[:AUDITED_MAX]:
        if "*" in thing:
            continue
        say(f"audit of {short(thing)}")
        report = audit(trust, "chipmaker", thing)
        print_report(OUT, report)
        worst = max(worst, report.verdict, key=lambda verdict: verdict.exit_code)
    if len(things) > AUDITED_MAX:
        OUT.print(f"{len(things) - AUDITED_MAX} more are not shown; use `chiptrace audit`")
    say("summary")
    OUT.print(f"{len(heights)} of {len(imported.events)} events recorded; worst verdict: [bold]{worst}[/]")
    return bool(heights) and worst is not Verdict.NOT_VERIFIABLE


def main() -> int:
    """Exit 0 when everything came out as it should."""
    parser = argparse.ArgumentParser(description="chiptrace's main job on a real testnet of nine processes")
    parser.add_argument("--epcis", type=Path, help="capture and audit this EPCIS 2.0 document instead")
    chosen = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chiptrace-demo-") as folder:
        home = Path(folder) / "testnet"
        try:
            if chosen.epcis is not None:
                path = chosen.epcis.resolve()
                with testnet(home, "--grant-for", str(path)) as trust:
                    good = document(trust, path)
            else:
                with testnet(home) as trust:
                    good = story(trust, home)
        except ChiptraceError as error:
            OUT.print(f"[bold red]error[/] [bold]{error.code}[/] {error}", markup=True)
            good = False
        except KeyboardInterrupt:
            OUT.print("interrupted; everything was ended")
            return 130
    OUT.print(
        f"{'[green]done[/]' if good else '[red]FAILED[/]'} after {time.monotonic() - started:.0f} s; nothing is left running"
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
