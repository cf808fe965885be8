"""Named benchmarks, one file each: `python3 scripts/bench.py list` names them, `scripts/bench.py NAME --json` runs one.

Reading order: result (what every benchmark answers with), limits (what this machine does at most), chains (a chain in
one process that is timed stage by stage), machine (what its processes used), prefill (chains that hold parts
before they start), networks (those as processes), offering (load, closed and open); then the benchmarks, each in the file of its name.
"""
