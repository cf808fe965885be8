"""Run by scripts/perturb.py, which says what for."""

import argparse
import random
import sys

from tests.perturb import perturbations, runner


def main() -> int:
    parser = argparse.ArgumentParser(prog="perturb.py")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--validators", type=int)
    parser.add_argument("--kills", type=int)
    parser.add_argument("--wan", action="store_true")
    parser.add_argument("--heights", type=int, default=1_000)
    parser.add_argument("--streams", type=int, default=2, help="streams_per_validator in --wan")
    parser.add_argument("--once", metavar="KIND,KIND", help="these perturbations, once each, in one network")
    chosen = parser.parse_args()
    run = runner.Run()
    if chosen.kills:
        runner.kills(run, chosen.kills, chosen.seed, chosen.validators or 4)
    if chosen.wan:
        runner.wan(run, chosen.heights, chosen.seed, streams=chosen.streams)
    if chosen.once:
        kinds = [getattr(perturbations, name) for name in chosen.once.split(",")]
        runner.one_network(run, random.Random(chosen.seed), chosen.validators or 4, (), 0, 10.0, kinds)
    if chosen.minutes:
        runner.perturb(run, chosen.minutes * 60, chosen.seed, chosen.validators)
    if not (chosen.kills or chosen.wan or chosen.minutes or chosen.once):
        parser.error("--minutes, --kills, --wan or --once")
    return run.report(seed=chosen.seed)


if __name__ == "__main__":
    sys.exit(main())
