"""Hold our check of EPCIS documents against the EPCIS 2.0 JSON schema: `python3 scripts/epcis_mutations.py --count 10000`.

Makes faulty documents from the real ones in ../shared/epcis (seeded: `--seed`), judges each by both, prints how they
judged and why ours refuses more. Exit 0: every difference has a reason, 1: some have none (they are printed).
"""

from __future__ import annotations

import os
import sys

from environment import ROOT, prepare


def main() -> None:
    python = prepare("dev")
    os.chdir(ROOT)
    os.execv(python, [python, "-m", "tests.client.epcis_mutations", *sys.argv[1:]])


if __name__ == "__main__":
    main()
