# ruff: noqa: PLC0415 (the environment comes first)
"""Explore the voting rules of consensus to the end: `python3 scripts/model.py --views 3`.

Four validators, one of them dishonest, one height: every interleaving of what they may sign in so many views, up to
the names of validators and blocks. In turn:

  rules    no state forks
  engine   in every state, consensus/safety.py signs what the rules allow and nothing else, and so does the code around
           it, given what may happen there, crashes included
  healing  from every state that can be entered the honest ones decide once they hear each other, without the other
  changes  each rule removed forks, with as few votes as told; changes that are called harmless do not
  heights  walks at random through two heights, with and without another validator set; a rule removed is found

One line for each, and one JSON object last: {"views": ..., "states": ..., "transitions": ..., "violations": ...,
"seconds": ...}, with the figures of each part. Three views take minutes and less than 1 GB. `--only` runs parts.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from environment import ROOT, VENV, prepare

Figures = dict[str, Any]


def rules(arguments: argparse.Namespace) -> Figures:
    from tests.model.exploration import explore
    from tests.model.rules import Rules

    explored = explore(Rules(views=arguments.views))
    return {
        "states": explored.states,
        "transitions": explored.transitions,
        "violations": int(explored.fork is not None),
    }


def engine(arguments: argparse.Namespace) -> Figures:
    from tests.model.engine_rules import disagreements
    from tests.model.engine_voter import Broken, play_all
    from tests.model.rules import Rules

    lawful = Rules(views=arguments.views, notarize_after_nullify=False)
    places, differing = disagreements(lawful)
    try:
        votes = play_all(lawful, each=arguments.plays)
    except Broken as broken:
        print(f"engine: {broken}")
        return {"places": places, "violations": len(differing) + 1}
    return {"places": places, "plays": votes.pop("plays"), "votes": dict(votes), "violations": len(differing)}


def healing(arguments: argparse.Namespace) -> Figures:
    from tests.model.exploration import layers
    from tests.model.healing import Entered, Healing

    checked = Healing(Entered(views=arguments.views))
    states = stuck = 0
    for layer, _ in layers(checked.rules):
        for state in layer:
            states += 1
            stuck += checked.stuck(state) is not None
    return {"states": states, "with_certificates": checked.checked, "violations": stuck}


def changes(arguments: argparse.Namespace) -> Figures:
    from tests.model.changes import FORKING, HARMLESS
    from tests.model.exploration import explore

    forking = [change for change in FORKING if change.rules.views <= max(2, arguments.views)]
    wrong = 0
    for change in (*forking, *HARMLESS):
        explored = explore(change.of_views(arguments.views))
        votes = explored.votes if explored.fork is not None else None
        print(f"  {change.name}: {'no fork' if votes is None else f'forks with {votes} votes'}", flush=True)
        wrong += votes != change.votes
    return {"forking": len(forking), "harmless": len(HARMLESS), "violations": wrong}


def heights(arguments: argparse.Namespace) -> Figures:
    from tests.model.changes import FORKING
    from tests.model.heights import SAME, SWAPS, Chain, walk_many

    walks = range(arguments.walks)
    ends = [walk_many(Chain(sets, arguments.views), walks) for sets in (SAME, *SWAPS)]
    forks = sum(each["forks"] for each in ends)
    bent = {"opens on a notarization": Chain(opens_on_notarization=True)}
    bent["the set before the swap signs on"] = Chain(SWAPS[1], old_set_counts=True)
    for change in FORKING:
        if (change.rules.validators, change.rules.dishonest, change.rules.views) == (4, 1, 2):
            bent[change.name] = Chain(changes=change.flags)
    missed = 0
    for name, chain in bent.items():
        found = walk_many(chain, walks)["forks"]
        print(f"  {name}: {found} of {len(walks)} walks fork", flush=True)
        missed += not found
    return {
        "walks": sum(each["walks"] for each in ends),
        "votes": sum(each["votes"] for each in ends),
        "decided_both": sum(each["both decided"] for each in ends),
        "violations": forks + missed,
    }


PARTS: dict[str, Callable[[argparse.Namespace], Figures]] = {
    "rules": rules,
    "engine": engine,
    "healing": healing,
    "changes": changes,
    "heights": heights,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--views", type=int, default=2, choices=(1, 2, 3), help="of the one height")
    parser.add_argument(
        "--walks", type=int, default=2_000, help="through two heights, for each validator set"
    )
    parser.add_argument("--plays", type=int, default=4, help="of the engine's code, from each place")
    parser.add_argument("--only", action="append", choices=tuple(PARTS), help="this part (may be repeated)")
    arguments = parser.parse_args()
    if Path(sys.prefix).resolve() != VENV.resolve():  # started with another interpreter: go on with ours
        return subprocess.run([prepare("dev"), *sys.argv], check=False).returncode
    sys.path.insert(0, str(ROOT))
    begun = time.monotonic()
    figures: Figures = {"views": arguments.views}
    for name in arguments.only or PARTS:
        started = time.monotonic()
        found = PARTS[name](arguments)
        found["seconds"] = round(time.monotonic() - started, 1)
        figures[name] = found
        print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in found.items()), flush=True)
    explored = figures.get("rules", {})
    figures = {
        "views": arguments.views,
        "states": explored.get("states", 0),
        "transitions": explored.get("transitions", 0),
        "violations": sum(part["violations"] for part in figures.values() if isinstance(part, dict)),
        "seconds": round(time.monotonic() - begun, 1),
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        **{name: part for name, part in figures.items() if name in PARTS},
    }
    print(json.dumps(figures))
    return 1 if figures["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
