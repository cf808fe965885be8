"""Set up and pass every check and test: `python3 scripts/test.py`.

Steps are run in order, all of them even when one fails; the last lines are a summary. One needs nothing but processors
and runs beside the last, which mostly waits for real processes. Any argument is handed to pytest and then only pytest
runs.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time

from environment import ROOT, prepare, say

SECONDS_MAX = 1_500
BESIDE = "the bridge driven by seeds"
OUT_OF_TIME = "FAILED (out of time)"


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
        (BESIDE, [python, "scripts/bridge_model.py", "--jobs", workers]),
        ("tests with real processes", [python, "-m", "pytest", "-m", "processes"]),
    ]


class Beside:
    """A step that runs while others do, and gives way to them; it says what it has to say when it is waited for."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self.begun = time.monotonic()
        self.said = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as this is)
        self.running = subprocess.Popen(
            ["nice", "-n", "19", *command], cwd=ROOT, stdout=self.said, stderr=subprocess.STDOUT
        )

    def ended(self, seconds: float) -> tuple[str, str, float]:
        """Its row of the summary, at the latest after so many seconds."""
        try:
            outcome = passed(self.running.wait(seconds))
        except subprocess.TimeoutExpired:
            self.stop()
            outcome = OUT_OF_TIME
        self.said.seek(0)
        say(f"{self.name}: {self.said.read().decode(errors='replace')}")
        return self.name, outcome, time.monotonic() - self.begun

    def stop(self) -> None:
        """As Ctrl-C does, so that its own processes end too."""
        self.running.send_signal(signal.SIGINT)
        try:
            self.running.wait(30)
        except subprocess.TimeoutExpired:
            self.running.kill()


def passed(code: int) -> str:
    return "passed" if code == 0 else "ran no test" if code == 5 else f"FAILED (exit {code})"


def main() -> int:
    started = time.monotonic()
    python = prepare("dev")
    chosen = [("tests", [python, "-m", "pytest", *sys.argv[1:]])] if sys.argv[1:] else steps(python)
    rows: list[tuple[str, str, float]] = []
    beside: Beside | None = None
    for name, command in chosen:
        say(f"{name} ...")
        if name == BESIDE:
            beside = Beside(name, command)
            continue
        begun = time.monotonic()
        try:
            left = max(SECONDS_MAX - (begun - started), 1)
            outcome = passed(subprocess.run(command, cwd=ROOT, timeout=left, check=False).returncode)
        except subprocess.TimeoutExpired:
            outcome = OUT_OF_TIME
        rows.append((name, outcome, time.monotonic() - begun))
    if beside is not None:
        rows.append(beside.ended(max(SECONDS_MAX - (time.monotonic() - started), 1)))
    say(f"summary after {time.monotonic() - started:.0f} s")
    for name, outcome, seconds in rows:
        print(f"  {outcome:<24}{name:<32}{seconds:6.1f} s")
    failed = sum(outcome != "passed" for _, outcome, _ in rows)
    print(f"checks: {len(rows) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
