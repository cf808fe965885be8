"""Hunting one mutant: a copy of the tree with one guard removed, and the tests of consensus on it, the general ones
first, until one of them fails."""

from __future__ import annotations

import hashlib
import re
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.mutation.mutants import Mutant

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("proto", "ledger", "consensus", "bridge", "client", "node", "tests", "pyproject.toml")
SECONDS_MAX = 900  # for one means; what never ends is caught, too
BYTES_MAX = 4 << 30  # of memory, for what grows without end

PYTEST = ("-m", "pytest", "-x", "-q", "--tb=no", "-rfE")
MEANS: dict[str, tuple[str, ...]] = {
    "seeds": (),
    "model": (
        *PYTEST,
        *(
            f"tests/model/test_engine_{name}"
            for name in (
                "rules.py::test_what_the_engine_signs_is_what_the_rules_allow",
                "rules.py::test_what_the_engine_calls_a_proof_is_what_the_rules_call_one",
                "voter.py::test_the_voter_signs_what_the_model_allows",
            )
        ),
    ),
    "scenarios": (
        *PYTEST,
        "tests/simulation",
        "--ignore=tests/simulation/test_seeds.py",  # seeds are run, and counted, before
        "--ignore=tests/simulation/test_oracle_sees.py",  # has mutants of its own
        "--ignore=tests/simulation/test_determinism.py",  # compares a run with itself
    ),
    "unit tests": (*PYTEST, "tests/consensus"),
}
MODELLED = {"safety", "voter", "tally", "quorum", "schedule", "presence", "journal", "outbox", "bodies"}


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant. `caught_by` is one of MEANS, or empty; `seeds` were run, the catching one included."""

    name: str
    caught_by: str
    shown: str
    seeds: int
    seconds: float

    def row(self) -> str:
        seeds = (
            str(self.seeds) if self.caught_by == "seeds" else f"none of {self.seeds}" if self.seeds else ""
        )
        return (
            f"| {self.name} | {self.caught_by or 'NOTHING'} | {seeds} | {self.seconds:.1f} | {self.shown} |"
        )

    def entry(self) -> dict[str, object]:
        return asdict(self)


def copy_tree(to: Path) -> None:
    """The packages and tests, as they are now."""
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, to / name, ignore=ignore)
        else:
            shutil.copy(source, to / name)


def digest(tree: Path) -> str:
    """Of all that decides how a mutant fares: with another tree, earlier outcomes say nothing."""
    value = hashlib.sha256()
    for name in (
        "proto",
        "ledger",
        "consensus",
        "node",
        "tests/simulation",
        "tests/model",
        "tests/consensus",
    ):
        for path in sorted((tree / name).rglob("*.py")):
            value.update(path.read_bytes())
    return value.hexdigest()[:16]


def mutated(text: str, mutant: Mutant) -> str:
    """The file's text without the guard. Raises ValueError when the guard is not there, or more than once."""
    if text.count(mutant.old) != 1:
        raise ValueError(f"{mutant.name}: its text occurs {text.count(mutant.old)} times in {mutant.file}.py")
    return text.replace(mutant.old, mutant.new)


def hunt(tree: Path, mutant: Mutant | None, seeds: int, means: tuple[str, ...] = tuple(MEANS)) -> Outcome:
    """Apply the mutant to the tree, look for what catches it, and undo it. None: the tree as it is."""
    if mutant is None:
        return search(tree, "nothing removed", seeds, means)
    path = tree / "consensus" / f"{mutant.file}.py"
    original = path.read_text()
    path.write_text(mutated(original, mutant))
    try:
        fitting = [each for each in means if each != "model" or mutant.file in MODELLED]
        return search(tree, mutant.name, seeds, tuple(fitting))
    finally:
        path.write_text(original)


def search(tree: Path, name: str, seeds: int, means: tuple[str, ...]) -> Outcome:
    started, ran = time.monotonic(), 0
    for each in means:
        if each == "seeds":
            ran, shown = seek(tree, seeds)
        else:
            shown = run_tests(tree, MEANS[each])
        if shown:
            return Outcome(name, each, shown, ran, time.monotonic() - started)
    return Outcome(name, "", "", ran, time.monotonic() - started)


def seek(tree: Path, seeds: int) -> tuple[int, str]:
    """How many seeds were run, and what the last of them showed."""
    code, output = execute(tree, "-m", "tests.mutation.seek", str(seeds))
    lines = output.splitlines()
    ran = 0
    while ran < len(lines) and lines[ran] == str(ran):
        ran += 1
    if code is None:
        return ran, "never ends"
    return ran, short(lines[ran:]) if code else ""


def run_tests(tree: Path, arguments: tuple[str, ...]) -> str:
    """The first test that fails."""
    code, output = execute(tree, *arguments)
    if code is None:
        return "never ends"
    if code == 0:
        return ""
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
    return f"`{failed[1]}`" if failed else short(output.splitlines())


def execute(tree: Path, *arguments: str) -> tuple[int | None, str]:
    """Python with these arguments: exit code (None: it did not end) and all that it said."""
    command = [sys.executable, "-B", *arguments]
    with subprocess.Popen(
        command, cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        resource.prlimit(process.pid, resource.RLIMIT_AS, (BYTES_MAX, BYTES_MAX))
        try:
            output, _ = process.communicate(timeout=SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            return None, process.communicate()[0]
        return process.returncode, output


def short(lines: list[str]) -> str:
    """One line that tells the violation: of a traceback its last, of a message its first."""
    told = [line.strip() for line in lines if line.strip()] or ["ended without a word"]
    line = told[-1] if told[0].startswith(("honest replica raised", "Traceback")) else told[0]
    line = re.sub(r"b'[^']*'|b\"[^\"]*\"|[0-9a-f]{16,}", "...", line).replace("|", "/")
    return line if len(line) <= 100 else line[:97] + "..."
