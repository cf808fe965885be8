"""Draw the results of benchmarks: `python3 scripts/bench_plots.py FILE.json... [--out docs/benchmarks]`.

Each file is what `scripts/bench.py NAME --json` printed. Drawn is what they hold: of offered-load the throughput and the
latencies against what was offered and the distribution of latencies, of tree the cost as the state grows, of stages
where the CPU goes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from environment import ROOT, prepare

Result = dict[str, Any]
SIZE = (7.0, 4.2)  # inches
LEAST_US = 1.5  # of a stage that has its own bar


def _figure(title: str, found: Result) -> tuple[Any, Any, Callable[[Path], None]]:
    """A figure, its axes, and what writes it with commit and load below."""
    import matplotlib as mpl  # noqa: PLC0415 (the environment comes first)

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "chiptrace"  # the same picture from the same results
    from matplotlib import pyplot as plt  # noqa: PLC0415 (the environment comes first)

    figure, axes = plt.subplots(figsize=SIZE, layout="constrained")
    axes.set_title(title)
    axes.grid(visible=True, alpha=0.3)
    below = f"commit {found['commit']}, Python {found['machine']['python']}, load {found['load_before']} to {found['load_after']}"

    def write(path: Path) -> None:
        figure.text(0.99, -0.02, below, ha="right", va="top", fontsize=7, color="gray")
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, bbox_inches="tight", metadata=metadata)
        plt.close(figure)

    return figure, axes, write


def offered(found: Result, name: str) -> list[tuple[str, Callable[[Path], None]]]:
    """Throughput, latency and distribution of an offered-load result."""
    events, parts = found["events_per_transaction"], found["parts"]
    about = f"{events} event{'s' if events > 1 else ''} per transaction, {parts:_} parts before".replace(
        "_", " "
    )
    _, final, write_final = _figure(f"Final against offered ({about})", found)
    _, latency, write_latency = _figure(f"Submit to final against offered ({about})", found)
    _, spread, write_spread = _figure(
        f"Distribution of submit to final, n = {_first(found)} ({about})", found
    )
    most = 0.0
    for number, sweep in enumerate(found["sweeps"]):
        shares = sorted(sweep["shares"], key=lambda share: share["offered_per_s"])
        offers = [share["offered_per_s"] for share in shares]
        most = max(most, *offers)
        label = f"n = {sweep['validators']}"
        (line,) = final.plot(offers, [share["final_per_s"] for share in shares], "o-", label=label)
        latency.plot(
            offers,
            [share["latency_ms_p50"] for share in shares],
            "o-",
            color=line.get_color(),
            label=f"{label}, p50",
        )
        latency.plot(
            offers,
            [share["latency_ms_p99"] for share in shares],
            "s--",
            color=line.get_color(),
            label=f"{label}, p99",
        )
        if number == 0:
            for share in shares:
                points = {float(part): value for part, value in share["latency_ms"].items()}
                spread.plot(
                    list(points.values()),
                    [part * 100 for part in points],
                    ".-",
                    label=f"{share['share']} % of saturation",
                )
    final.plot([0, most], [0, most], ":", color="gray", label="all that is offered")
    for axes in (final, latency):
        axes.set_xlabel("offered, events/s")
        axes.legend(fontsize=8)
    final.set_ylabel("final while it was offered, events/s")
    latency.set_ylabel("ms")
    latency.set_yscale("log")
    spread.set_xscale("log")
    spread.set_xlabel("ms")
    spread.set_ylabel("% of transactions within")
    spread.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return [
        (f"{name}-throughput", write_final),
        (f"{name}-latency", write_latency),
        (f"{name}-distribution", write_spread),
    ]


def _first(found: Result) -> int:
    return int(found["sweeps"][0]["validators"])


def grown(found: Result, name: str) -> list[tuple[str, Callable[[Path], None]]]:
    """Cost against the size of the state of a tree result."""
    _, axes, write = _figure("Cost of one event as the state grows", found)
    sizes = [one["parts"] for one in found["sizes"]]
    for label, values in {
        "event, all stages": [one["warm"]["us_per_event"] for one in found["sizes"]],
        "event, right after a start": [one["after_start"]["us_per_event"] for one in found["sizes"]],
        "rules": [one["warm"]["stages_us"]["execute"] for one in found["sizes"]],
        "tree, per key": [one["warm"]["tree_us_per_key"] for one in found["sizes"]],
    }.items():
        axes.plot(sizes, values, "o-", label=label)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("parts in the state")
    axes.set_ylabel("µs of CPU")
    axes.legend(fontsize=8)
    return [(name, write)]


def staged(found: Result, name: str) -> list[tuple[str, Callable[[Path], None]]]:
    """Where the CPU goes, of a stages result."""
    title = (
        f"µs of CPU per transaction and node: {found['us_of_process']}, {found['explained']:.0%} explained"
    )
    figure, axes, write = _figure(title, found)
    rows = [row for row in found["rows"] if row["us"] >= LEAST_US][::-1]
    threads = list(dict.fromkeys(row["thread"] for row in rows[::-1]))
    colours = {thread: f"C{place}" for place, thread in enumerate(threads)}
    labels = [
        f"{row['stage'] or row['thread']}" + (f" ({row['thread']})" if row["stage"] else "") for row in rows
    ]
    bars = axes.barh(labels, [row["us"] for row in rows], color=[colours[row["thread"]] for row in rows])
    axes.bar_label(bars, fmt="%.1f", fontsize=7, padding=2)
    axes.tick_params(axis="y", labelsize=7)
    axes.set_xlabel("µs")
    axes.margins(x=0.1)
    figure.set_size_inches(SIZE[0], 1.2 + 0.2 * len(rows))
    return [(name, write)]


DRAWN = {"offered-load": offered, "tree": grown, "stages": staged}


def draw(paths: list[Path], folder: Path, kind: str) -> list[Path]:
    """The pictures of all files that hold something to draw."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for path in paths:
        found = json.loads(path.read_text().splitlines()[-1])
        if found["name"] not in DRAWN:
            print(f"{path}: nothing is drawn of {found['name']}", file=sys.stderr)
            continue
        for name, write in DRAWN[found["name"]](found, path.stem):
            written.append(folder / f"{name}.{kind}")
            write(written[-1])
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the results of benchmarks.")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks")
    parser.add_argument("--kind", choices=("svg", "png"), default="svg")
    chosen = parser.parse_args()
    python = prepare("dev")
    if os.path.realpath(sys.executable) != os.path.realpath(python) and sys.prefix == sys.base_prefix:
        os.execv(python, [python, *sys.argv])
    for path in draw(chosen.files, chosen.out, chosen.kind):
        print(path)


if __name__ == "__main__":
    main()
