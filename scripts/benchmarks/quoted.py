"""All runs that docs/benchmarks.md quotes, one after the other: `python3 scripts/bench.py quoted --folder DIR [--only NAMES]`.

Each writes DIR/NAME.json; DIR/chains keeps the chains that were filled. To be run with nothing beside it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from scripts.benchmarks.testnets import ROOT

# name of the file: (words, words of the quick form that stand after them)
RUNS: dict[str, tuple[str, str]] = {
    "throughput-300": (
        "throughput --seconds 300 --parts 1000000 --folder {chains}",
        "--seconds 10 --parts 20000",
    ),
    "throughput-60": (
        "throughput --seconds 60 --parts 1000000 --repeats 3 --folder {chains}",
        "--seconds 5 --parts 20000 --repeats 2",
    ),
    "throughput-events": (
        "throughput --seconds 60 --parts 1000000 --events 100 --repeats 3 --folder {chains}",
        "--seconds 5 --parts 20000 --repeats 1",
    ),
    "throughput-validators": ("throughput --seconds 30 --validators 1,7,10", "--seconds 5 --validators 1,7"),
    "latency": (
        "latency --samples 300 --shares 20,50,80 --seconds 20 --parts 1000000 --folder {chains}",
        "--samples 20 --shares 80 --seconds 5 --parts 20000",
    ),
    "offered-load": (
        "offered-load --seconds 15 --shares 25,50,80,100,150,300 --parts 1000000 --folder {chains}",
        "--seconds 5 --shares 50,80,300 --parts 20000",
    ),
    "stages": ("stages --seconds 20 --parts 1000000 --folder {chains}", "--seconds 5 --parts 20000"),
    "profile": (
        "profile --seconds 20 --parts 1000000 --folder {chains} --out {folder}",
        "--seconds 5 --parts 20000",
    ),
    "execution": ("execution --events 2000", "--events 200"),
    "tree": ("tree --sizes 10000,1000000", "--sizes 1000,20000 --blocks 3"),
    "consensus": ("consensus --heights 400", "--heights 60 --runs 1"),
    "audit": ("audit --parts 1000", "--parts 30 --runs 1"),
    "passport": ("passport --parts 1000", "--parts 30 --runs 1"),
    "relay": ("relay --samples 60 --packets 1000", "--samples 6 --packets 60"),
    "restart": ("restart --runs 5 --parts 1000000 --folder {chains}", "--runs 1 --seconds 2 --parts 20000"),
    "catch-up": (
        "catch-up --runs 3 --parts 1000000 --folder {chains}",
        "--runs 1 --seconds 5 --parts 20000 --heights 300",
    ),
    "testnet-start": ("testnet-start --runs 5", "--runs 1"),
}
# Longer than the rest together, or of no budget: only where they are asked for by --only.
BESIDES: dict[str, tuple[str, str]] = {
    "throughput-sizes": (
        "throughput --seconds 60 --parts 10000,1000000,10000000 --folder {chains}",
        "--seconds 5 --parts 1000,20000",
    ),
    "tree-sizes": (
        "tree --sizes 10000,1000000,10000000 --folder {chains}/tree",
        "--sizes 1000,20000 --blocks 3",
    ),
    "query-nodes": ("query-nodes --seconds 30", "--seconds 4"),
    "scale-out": ("scale-out", "--parts 60 --seconds 4"),
    "bridge-proofs": ("bridge-proofs", "--keys 10000"),
    "epcis-hash": ("epcis-hash", "--seconds 0.2"),
}


def main(words: Sequence[str]) -> None:
    """`bench.py quoted --folder DIR [--quick] [--only NAMES]`; exit 1: one of them failed."""
    parser = argparse.ArgumentParser(prog="scripts/bench.py quoted", description="Run all that is quoted.")
    parser.add_argument("--folder", type=Path, required=True, help="for results and filled chains")
    parser.add_argument(
        "--quick", action="store_true", help="seconds instead of minutes: to see that all work"
    )
    parser.add_argument("--only", default=",".join(RUNS), help=f"of these, and {', '.join(BESIDES)}")
    chosen = parser.parse_args(words)
    known, failed = RUNS | BESIDES, []
    wanted = chosen.only.split(",")
    if unknown := set(wanted) - set(known):
        sys.exit(f"no run is named {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    folder = chosen.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    for name in wanted:
        whole, quick = known[name]
        command = f"{whole} {quick if chosen.quick else ''}".format(chains=folder / "chains", folder=folder)
        print(f"{time.monotonic() - began:6.0f} s  {command}", file=sys.stderr, flush=True)
        done = subprocess.run(
            [sys.executable, "-m", "scripts.benchmarks", *command.split(), "--json"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            (folder / f"{name}.json").write_text(done.stdout.splitlines()[-1] + "\n")
        else:
            failed.append(name)
    print(f"{time.monotonic() - began:6.0f} s  failed: {', '.join(failed) or 'none'}", file=sys.stderr)
    if failed:
        sys.exit(1)
