"""Hurt test networks of real processes and judge them: `python3 scripts/perturb.py --minutes N [--seed S]`.

    --minutes N [--validators V]   generated networks (1, 4 or 7 validators), perturbations drawn one after the other
    --kills N                      so many SIGKILLs of random validators under load
    --once KIND,KIND               these perturbations of tests/perturb/perturbations.py, once each, in one network
    --wan --heights N [--streams S] 50 ms one way and 5 % loss on every link, one validator silent; how long it takes

What is drawn comes from the seed; when exactly it strikes does not. The last line is one JSON object; exit code 1 when
something happened that must not.
"""

from __future__ import annotations

import os
import sys

from environment import ROOT, prepare


def main() -> None:
    python = prepare("dev")
    os.chdir(ROOT)
    os.execv(python, [python, "-m", "tests.perturb", *sys.argv[1:]])


if __name__ == "__main__":
    main()
