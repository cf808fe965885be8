"""Simulate seed after seed until one shows a violation: `python -m tests.mutation.seek SEEDS`.

Each seed is printed before it is run, so that one which never ends is known too; the violation, if any, comes last.
"""

import sys

from tests.simulation.run import simulate


def seek(seeds: int) -> str:
    for seed in range(seeds):
        print(seed, flush=True)
        violation = simulate(seed).violation
        if violation:
            return violation
    return ""


if __name__ == "__main__":
    found = seek(int(sys.argv[1]))
    print(found)
    sys.exit(1 if found else 0)
