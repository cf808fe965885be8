"""Measure a local testnet: `python3 scripts/bench.py latency|throughput [--seconds S] [--json]`.

    latency      one single-event transaction at a time on the idle chain, submit to final
    throughput   single-event transactions, signed beforehand, sent in frames to all four nodes

Both start their own testnet in a temporary folder, measure the machine in the same run (fsync, Ed25519
verification by as many processes as there are validators) and end it.
"""

from __future__ import annotations

import os
import sys

from environment import ROOT, prepare


def main() -> None:
    python = prepare("runtime")
    os.chdir(ROOT)
    os.execv(python, [python, "scripts/bench_testnet.py", *sys.argv[1:]])


if __name__ == "__main__":
    main()
