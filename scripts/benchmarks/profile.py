"""Where a loaded chain's threads are, by py-spy: folded stacks, a flame graph, and the ten largest costs.

All nodes but the last are sampled for folded stacks, the last one for the flame graph, at the same time under the same
load. A sample is a thread that runs or wants to; so shares mean something, microseconds are stages' affair. The figure is the
largest stage's share; its limit is all of it.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from node.stages import CALLBACKS, CALLS, GRPC, LOOP, OTHER, STEPS
from scripts.benchmarks.limits import verifications_by_processes
from scripts.benchmarks.networks import Loaded, network
from scripts.benchmarks.offering import WARMING_S, saturated
from scripts.benchmarks.result import Result, result, short
from scripts.benchmarks.testnets import ROOT

PY_SPY = Path(sys.executable).parent / "py-spy"
TEN = 10
LEAST_PART = 0.001  # of all samples: rarer stacks are left out of what is kept
# Where a thread waits for work: py-spy takes some that do for running.
WAITING = ("Condition.wait", "EpollSelector.select", "_worker", "Thread.run")
_TITLE = re.compile(r'(<text id="title"[^>]*>)[^<]*')
_THREAD = re.compile(r"^thread \(\w+\): ?")
_FRAME = re.compile(r"^(?P<name>.*) \((?P<file>[^()]*?)(?::\d+)?\)$")
_STAGES = CALLBACKS | {
    f"{where.__name__}.{name}" if isinstance(where, type) else name: stage
    for where, name, stage in (*CALLS, *STEPS)
}
_PROGRAM = ("node/cli", "node/server")  # under every stack of the event loop
_OF_US = ("node/", "ledger/", "consensus/", "bridge/", "client/", "proto/")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=20.0, help="of sampling, under full load")
    parser.add_argument("--warming", type=float, default=WARMING_S, help="seconds of load before that")
    parser.add_argument("--rate", type=int, default=50, help="samples per second")
    parser.add_argument("--validators", type=int, default=4, help="two or more")
    parser.add_argument("--events", type=int, default=1, help="events per transaction")
    parser.add_argument("--parts", type=int, default=0, help="that are there before; these are observed")
    parser.add_argument("--folder", type=Path, help="keep filled chains here, and use what is there")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks", help="for the two files")


def recording(process: int, form: str, path: Path, chosen: argparse.Namespace) -> subprocess.Popen[bytes]:
    """py-spy at work on one process."""
    words = [str(PY_SPY), "record", "--pid", str(process), "--format", form, "--output", str(path)]
    words += ["--duration", str(round(chosen.seconds)), "--rate", str(chosen.rate), "--threads", "--function"]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def record(chain: Loaded, chosen: argparse.Namespace, folder: Path) -> tuple[Counter[str], Path]:
    """Folded stacks of all nodes but the last, and the flame graph of that one."""
    *folded, drawn = chain.nodes.items()
    svg, raws = folder / "flame.svg", [folder / f"{name}.folded" for name, _ in folded]
    spies: list[subprocess.Popen[bytes]] = []

    def begin() -> None:
        spies.extend(recording(pid, "raw", raw, chosen) for (_, pid), raw in zip(folded, raws, strict=True))
        spies.append(recording(drawn[1], "flamegraph", svg, chosen))

    timer = threading.Timer(chosen.warming, begin)
    timer.start()
    saturated(chain, chosen.warming + chosen.seconds + 1, chosen.events, warming=chosen.warming)
    timer.join()
    for spy in spies:
        _, said = spy.communicate(timeout=60)
        if spy.returncode != 0:
            raise SystemExit(f"py-spy failed; it needs to be root or CAP_SYS_PTRACE: {said.decode()[-300:]}")
    stacks: Counter[str] = Counter()
    for raw in raws:
        for line in raw.read_text().splitlines():
            stack, _, count = line.rpartition(" ")
            if not stack.rpartition(";")[2].startswith(WAITING):
                stacks[plain(stack)] += int(count)
    return stacks, svg


def plain(stack: str) -> str:
    """A stack with its thread's name first, and files as they are named in the project."""
    thread, *frames = stack.split(";")
    return ";".join(
        [
            _THREAD.sub("", thread).replace("MainThread", "event loop"),
            *(frame.replace(f"{ROOT}/", "") for frame in frames),
        ]
    )


def function(frame: str) -> str:
    """The function and, of ours, the file."""
    found = _FRAME.match(frame)
    if found is None:
        return frame
    file = found["file"]
    return f"{found['name']} ({file if file.startswith(_OF_US) else Path(file).name})"


def stage(frames: Iterable[str]) -> str:
    """The innermost stage of node/stages.py that a stack is in; of what is in none, whose code runs."""
    files = []
    for frame in reversed(list(frames)):
        found = _FRAME.match(frame)
        if found is not None and found["file"].startswith(_OF_US) and found["name"] in _STAGES:
            return _STAGES[found["name"]]
        files.append(found["file"] if found is not None else "")
    if any("grpc" in file for file in files[:-1]):
        return GRPC
    return OTHER if any(file.startswith(_OF_US) and not file.startswith(_PROGRAM) for file in files) else LOOP


def costs(stacks: Counter[str]) -> dict[str, Any]:
    """Shares of all samples, by thread, by stage, by function alone and with what it calls."""
    total = sum(stacks.values())
    by: dict[str, Counter[str]] = {name: Counter() for name in ("thread", "stage", "alone", "with_calls")}
    for stack, count in stacks.items():
        thread, *frames = stack.split(";")
        by["thread"][thread] += count
        by["stage"][stage(frames)] += count
        by["alone"][function(frames[-1] if frames else thread)] += count
        by["with_calls"].update(dict.fromkeys(map(function, frames), count))

    def shares(found: Counter[str], most: int) -> dict[str, float]:
        return {name: short(count / total) for name, count in found.most_common(most)}

    return {
        "samples_taken": total,
        "threads": shares(by["thread"], 99),
        "stages": shares(by["stage"], 99),
        "ten_functions": shares(by["alone"], TEN),
        "functions_with_calls": shares(
            Counter(
                {
                    name: count
                    for name, count in by["with_calls"].items()
                    if name.partition("(")[2].startswith(_OF_US)
                }
            ),
            3 * TEN,
        ),
    }


def keep(stacks: Counter[str], svg: Path, out: Path) -> list[str]:
    """Writes both files; their names. Stacks that were hardly ever seen are left out."""
    out.mkdir(parents=True, exist_ok=True)
    least = sum(stacks.values()) * LEAST_PART
    lines = [f"{stack} {count}\n" for stack, count in sorted(stacks.items()) if count >= least]
    (out / "profile.folded").write_text("".join(lines))
    drawn = _TITLE.sub(r"\1One node of a loaded chain, all threads", svg.read_text())
    (out / "profile.svg").write_text(drawn.replace(f"{ROOT}/", ""))
    return ["profile.folded", "profile.svg"]


def measure(chosen: argparse.Namespace) -> Result:
    if not PY_SPY.exists():
        raise SystemExit(
            "py-spy is not installed; `python3 scripts/bench.py profile` installs what requirements/profile.txt pins"
        )
    limits = [verifications_by_processes(chosen.validators)]
    with tempfile.TemporaryDirectory(prefix="chiptrace-bench-") as folder:
        with network(chosen.validators, chosen.parts, folder=chosen.folder) as chain:
            stacks, svg = record(chain, chosen, Path(folder))
        files = keep(stacks, svg, chosen.out)
    limits.append(verifications_by_processes(chosen.validators))
    found = costs(stacks)
    for name, share in (found["stages"] | found["ten_functions"]).items():
        print(f"{share:>8.1%}  {name}", file=sys.stderr)
    return result(
        max(found["stages"].values()),
        f"of all samples in the largest stage, {next(iter(found['stages']))}",
        [1.0, 1.0],
        "all samples",
        list(found["stages"].values()),
        files=files,
        verifications_per_s_each=[short(limit) for limit in limits],
        **found,
    )
