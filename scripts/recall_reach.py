"""How long the reach of a recall takes: one lot, thousands of parts made of it, packed and given to others.

python3 scripts/recall_reach.py --parts 10800
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.client.reach_world import Factory
from tests.ledger.rules_world import add, box, lot, making, packing, part, quantity, receiving, shipping

AT_ONCE = 900  # parts made by one event
IN_A_BOX = 300


def main() -> None:
    """Record everything on one chain in this process, then ask."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--parts", type=int, default=10_800)
    wanted = arguments.parse_args().parts
    factory, wafers = Factory(), lot("wafers")
    factory.event("ada", add([], [quantity(wafers, 1_000)]))
    parts = [part(number) for number in range(1, wanted + 1)]
    for start in range(0, wanted, AT_ONCE):
        factory.event("ada", making(used=[quantity(wafers, 1)], outputs=parts[start : start + AT_ONCE]))
    for start in range(0, wanted, IN_A_BOX):
        one = box(1 + start // IN_A_BOX)
        factory.event("ada", packing(one, parts[start : start + IN_A_BOX]), shipping([one], "abe"))
        factory.event("abe", receiving([one]))
    begun = time.process_time()
    report = factory.reach(wafers)
    seconds = time.process_time() - begun
    checked = report.checked
    print(
        f"{sum(report.counts().values())} parts in {seconds:.1f} s of one core: {checked['history_entries']} entries, "
        f"{checked['state_proofs']} proofs, {checked['bytes'] / 1e6:.1f} MB; complete: {not report.gaps}; "
        f"problem: {report.problem or 'none'}"
    )


if __name__ == "__main__":
    main()
