"""Find a fitting Python, make the virtual environment `.venv` and install the pinned packages into it.

Used by scripts/demo.py and scripts/test.py before anything is imported that is not in the standard library.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
FITTING = ((3, 12), (3, 11))
# By which files what is asked for is there: every pin of runtime.txt stands in dev.txt too. profile.txt comes on top.
HOLDS = {"runtime": ("runtime", "dev"), "dev": ("dev",), "profile": ("profile",)}


def say(text: str) -> None:
    """Tell the person in front of the screen what is being done."""
    print(f"[chiptrace] {text}", flush=True)


def version_of(python: str) -> tuple[int, int] | None:
    """Major and minor version of an interpreter that can make virtual environments; None if it cannot."""
    probe = "import sys, venv, ensurepip; print(sys.version_info[0], sys.version_info[1])"
    try:
        done = subprocess.run([python, "-c", probe], capture_output=True, text=True, timeout=30, check=True)
        major, minor = done.stdout.split()
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return int(major), int(minor)


def find_python() -> str:
    """Path of a Python 3.11 or 3.12: this one if it fits, else one that is installed."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [sys.executable]
    for major, minor in FITTING:
        name = f"python{major}.{minor}"
        candidates += [
            path for path in (shutil.which(name), f"/usr/bin/{name}", f"/usr/local/bin/{name}") if path
        ]
        candidates += [str(path) for path in sorted(pyenv.glob(f"{major}.{minor}*/bin/python"))]
    for candidate in candidates:
        if version_of(candidate) in FITTING:
            return candidate
    seen = f"{sys.version_info[0]}.{sys.version_info[1]}"
    sys.exit(
        f"chiptrace needs Python 3.11 or 3.12 with the venv module (plyvel ships no wheels above); this is {seen} and "
        "no other was found. Install one (Debian: apt install python3 python3-venv) and run this command again."
    )


def _digest(requirements: str) -> str:
    return hashlib.sha256((ROOT / "requirements" / f"{requirements}.txt").read_bytes()).hexdigest()


def _stamp(requirements: str) -> Path:
    return VENV / f"{requirements}.installed"


def _is_installed(requirements: str) -> bool:
    stamp = _stamp(requirements)
    return stamp.exists() and stamp.read_text().strip() == _digest(requirements)


def prepare(requirements: str) -> str:
    """Make `.venv` hold exactly what `requirements/<requirements>.txt` pins; returns its Python.

    A stamp with the hash of the file says that nothing has to be done.
    """
    wanted = ROOT / "requirements" / f"{requirements}.txt"
    python = VENV / "bin" / "python"
    if any(_is_installed(name) for name in HOLDS[requirements]) and version_of(str(python)) in FITTING:
        return str(python)
    started = time.monotonic()
    if version_of(str(python)) not in FITTING:
        base = find_python()
        say(f"making the virtual environment {VENV.name} with {base}")
        shutil.rmtree(VENV, ignore_errors=True)
        subprocess.run([base, "-m", "venv", str(VENV)], check=True)
    say(f"installing the packages pinned in requirements/{requirements}.txt")
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    pinned = ["--require-hashes", "--only-binary", ":all:", "-r", str(wanted)]
    command = ["--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
    for arguments in (pinned, command):
        if subprocess.run([*pip, *arguments], cwd=ROOT, check=False).returncode != 0:
            sys.exit(
                f"Installing {wanted.name} failed (see above). Check the network or proxy, then run this again."
            )
    _stamp(requirements).write_text(_digest(requirements))
    say(f"environment ready after {time.monotonic() - started:.0f} s")
    return str(python)
