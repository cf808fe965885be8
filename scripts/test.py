"""Set up and pass every check and test: `python3 scripts/test.py`.

Steps are run in order, all of them even when one fails; the last lines are a summary. Any argument is handed
to pytest and then only pytest runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from environment import ROOT, prepare, say

SECONDS_MAX = 1_500


def steps(python: str) -> list[tuple[str, list[str]]]:
    """Name and command of each check."""
    workers = str(max(2, min(4, os.cpu_count() or 2)))
    return [
        ("generated code is fresh", [python, "scripts/generate_proto.py", "--check"]),
        ("golden vectors are fresh", [python, "scripts/generate_vectors.py", "--check"]),
        ("format", [python, "-m", "ruff", "format", "--check", "--quiet", "."]),
        ("lint", [python, "-m", "ruff", "check", "--quiet", "."]),
        ("types", [python, "-m", "mypy", "--no-error-summary"]),
        (
            "imports",
            [python, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"],
        ),
        ("tests", [python, "-m", "pytest", "-n", workers, "--dist", "worksteal", "-m", "not processes"]),
        ("the bridge driven by seeds", [python, "scripts/bridge_model.py", "--jobs", workers]),
        ("tests with real processes", [python, "-m", "pytest", "-m", "processes"]),
    ]


def main() -> int:
    started = time.monotonic()
    python = prepare("dev")
    chosen = [("tests", [python, "-m", "pytest", *sys.argv[1:]])] if sys.argv[1:] else steps(python)
    rows: list[tuple[str, str, float]] = []
    for name, command in chosen:
        say(f"{name} ...")
        begun = time.monotonic()
        left = SECONDS_MAX - (begun - started)
        try:
            code = subprocess.run(command, cwd=ROOT, timeout=max(left, 1), check=False).returncode
            outcome = "passed" if code == 0 else "ran no test" if code == 5 else f"FAILED (exit {code})"
        except subprocess.TimeoutExpired:
            outcome = "FAILED (out of time)"
        rows.append((name, outcome, time.monotonic() - begun))
    say(f"summary after {time.monotonic() - started:.0f} s")
    for name, outcome, seconds in rows:
        print(f"  {outcome:<24}{name:<32}{seconds:6.1f} s")
    failed = sum(outcome != "passed" for _, outcome, _ in rows)
    print(f"checks: {len(rows) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
