"""Measure: `python3 scripts/bench.py latency|throughput|epcis-hash [--seconds S] [--json]`.

    latency      one single-event transaction at a time on the idle chain, submit to final
    throughput   single-event transactions, signed beforehand, sent in frames to all four nodes
    epcis-hash   event hashes of CBV 2.0 per second of one core's CPU time, over the documents of ../shared/epcis

The first two start their own testnet in a temporary folder, measure the machine in the same run (fsync, Ed25519
verification by as many processes as there are validators) and end it.
"""

from __future__ import annotations

import os
import sys

from environment import ROOT, prepare


def main() -> None:
    python = prepare("runtime")
    os.chdir(ROOT)
    if sys.argv[1:2] == ["epcis-hash"]:
        os.execv(python, [python, "scripts/bench_epcis.py", *sys.argv[2:]])
    os.execv(python, [python, "scripts/bench_testnet.py", *sys.argv[1:]])


if __name__ == "__main__":
    main()
