"""Named benchmarks, one file each: `python3 scripts/bench.py list` names them, `scripts/bench.py NAME --json` runs one.

Reading order: result (what every benchmark answers with), limits (what this machine does at most), machine (what it is,
and what it and our processes did meanwhile), chains (a chain in one process that is timed stage by stage), testnets and prefill (chains of
processes, and chains that hold parts before they start), networks (those, loaded), offering (load, closed and open); then the benchmarks, each in
the file of its name; then named (one run, with the machine around it), budgets (what was asked for, judged from
results) and quoted (all that docs/benchmarks.md quotes, one after the other).
"""
