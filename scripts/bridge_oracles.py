"""Bring the bridge's verifiers what no honest party makes, in full counts: `python3 scripts/bridge_oracles.py`.

The oracles of tests/bridge/oracles.py: every flipped bit and every cut of every kind of accepted proof and header,
100,000 pairs of proof and claim, 10,000 trees against their definition, and 1,000,000 hostile inputs, each of which must
be refused by the verifier's own error, or be what was accepted before, in work that its bytes bound. Another seed gives
other inputs. One JSON object last, with the times on the wall beside the counts.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from environment import ROOT, VENV, prepare


def fuzzed(count: int, seed: int) -> dict[str, int]:
    """One share of the hostile inputs, in a process of its own."""
    sys.path.insert(0, str(ROOT))
    from tests.bridge import oracles  # noqa: PLC0415 (the environment comes first)

    return oracles.inputs(count, seed)


def whole_messages() -> dict[str, int]:
    """How many flips and cuts were brought, and how many of them were taken."""
    from tests.bridge import oracles  # noqa: PLC0415 (the environment comes first)

    brought = taken = 0
    for item in oracles.accepted():
        for data in (*oracles.flips(item.data), *oracles.cuts_and_additions(item.data)):
            brought += 1
            taken += not item.refuses(data)
    return {"brought": brought, "taken": taken}


def run(arguments: argparse.Namespace) -> dict[str, object]:
    from tests.bridge import oracles  # noqa: PLC0415 (the environment comes first)

    figures: dict[str, object] = {"seed": arguments.seed, "flips and cuts": whole_messages()}
    taken, pairs = oracles.pairs(arguments.pairs, arguments.seed)
    figures["pairs"] = {"brought": pairs, "taken, all of them true": taken}
    figures["trees"] = {"trees": arguments.trees, "proofs": oracles.trees(arguments.trees, arguments.seed)}
    started = time.monotonic()
    shares = [arguments.inputs // arguments.jobs] * arguments.jobs
    tally: dict[str, int] = {}
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for share in pool.map(fuzzed, shares, range(arguments.seed, arguments.seed + arguments.jobs)):
            for name, count in share.items():
                tally[name] = tally.get(name, 0) + count
    seconds = time.monotonic() - started
    each = 1_000_000 * seconds * arguments.jobs / max(1, sum(tally.values()))
    figures["inputs"] = {**tally, "seconds": round(seconds, 1), "microseconds for each": round(each, 1)}
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--trees", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    arguments = parser.parse_args()
    if Path(sys.prefix).resolve() != VENV.resolve():  # started with another interpreter: go on with ours
        return subprocess.run([prepare("dev"), *sys.argv], check=False).returncode
    sys.path.insert(0, str(ROOT))
    figures = run(arguments)
    print(json.dumps(figures))
    return 1 if figures["flips and cuts"]["taken"] else 0  # type: ignore[index]


if __name__ == "__main__":
    sys.exit(main())
