"""Draw the results of benchmarks: `python3 scripts/bench_plots.py FILE.json... [--out docs/benchmarks]`.

Each file is what `scripts/bench.py NAME --json` printed. Drawn is what they hold: of offered-load the throughput and the
latencies against what was offered and the distribution of latencies, of latency the distribution idle and loaded, of
throughput the rate against the size of the state or the number of validators, of tree the cost as the state grows, of
stages where the CPU goes, of scale-out what several chains reach.
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
    axes.set_title(title, fontsize=11)
    axes.grid(visible=True, alpha=0.3)
    below = (
        f"commit {found['commit']}, Python {found['machine']['python']}, {found['machine']['cores']} cores, "
        f"load {found['load_before']} to {found['load_after']}"
    )

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
    latency.set_ylabel("submit to final, ms")
    latency.set_yscale("log")
    _plain_numbers(latency.yaxis)
    _of_milliseconds(spread)
    return [
        (f"{name}-throughput", write_final),
        (f"{name}-latency", write_latency),
        (f"{name}-distribution", write_spread),
    ]


def _first(found: Result) -> int:
    return int(found["sweeps"][0]["validators"])


def waited(found: Result, name: str) -> list[tuple[str, Callable[[Path], None]]]:
    """Distributions of a latency result: idle, and under each share of saturation."""
    _, axes, write = _figure("Submit to final, idle and loaded", found)
    of_load = {f"{share['share']} % of saturation": share["latency_ms"] for share in found["shares"]}
    for label, points in ({"idle, one at a time": found["latency_ms"]} | of_load).items():
        axes.plot(list(points.values()), [float(part) * 100 for part in points], ".-", label=label)
    _of_milliseconds(axes)
    return [(name, write)]


def _of_milliseconds(axes: Any) -> None:
    axes.set_xscale("log")
    _plain_numbers(axes.xaxis)
    axes.set_xlabel("submit to final, ms")
    axes.set_ylabel("% of transactions within")
    axes.legend(fontsize=8, loc="upper left")


def _plain_numbers(axis: Any) -> None:
    """1,000 instead of 10³, and nothing between the decades but 2 and 5."""
    from matplotlib import ticker  # noqa: PLC0415 (the environment comes first)

    axis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(ticker.NullFormatter())


def rated(found: Result, name: str) -> list[tuple[str, Callable[[Path], None]]]:
    """Rates of a throughput result of several sizes or numbers of validators, with their spread; of one: second by second."""
    rows = found["rows"]
    by = next((each for each in ("parts", "validators") if len({row[each] for row in rows}) > 1), None)
    _, axes, write = _figure(
        "Transactions final per second"
        if found["events_per_transaction"] == 1
        else "Events final per second",
        found,
    )
    if by is None:
        for number, run in enumerate(found["runs"], 1):
            windows = run["per_5_s"]
            axes.plot([5 * place for place in range(len(windows))], windows, label=f"run {number}")
        axes.set_xlabel("s")
    else:
        middle = [row["final_per_s"]["median"] for row in rows]
        spread = [
            [abs(row["final_per_s"][end] - row["final_per_s"]["median"]) for row in rows]
            for end in ("min", "max")
        ]
        axes.errorbar(
            [row[by] for row in rows],
            middle,
            yerr=spread,
            fmt="o-",
            capsize=4,
            label="median, least and most",
        )
        axes.set_xlabel("parts in the state" if by == "parts" else "validators on two cores")
        if by == "parts":
            axes.set_xscale("log")
        else:
            axes.set_xticks([row[by] for row in rows])
    axes.set_ylim(bottom=0)
    axes.set_ylabel("final per second")
    axes.legend(fontsize=8, loc="lower right")
    return [(name, write)]


def bridged(found: Result, name: str) -> list[tuple[str, Callable[[Path], None]]]:
    """Simulated rates of several chains of a scale-out result."""
    _, axes, write = _figure("Chains on a core each, in multiples of one (simulated)", found)
    alone = next(one["events_per_s"] for one in found["chains_simulated"] if one["chains"] == 1)
    for part in sorted({one["crossing"] for one in found["chains_simulated"]}):
        some = [one for one in found["chains_simulated"] if one["crossing"] == part]
        chains = [one["chains"] for one in some]
        axes.plot(
            chains, [one["events_per_s"] / alone for one in some], "o-", label=f"{part:.0%} of events cross"
        )
    axes.set_xticks(chains)
    axes.set_xlabel("chains")
    axes.set_ylabel("times one chain's events/s")
    axes.legend(fontsize=8, loc="upper left")
    return [(name, write)]


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


DRAWN = {
    "offered-load": offered,
    "latency": waited,
    "throughput": rated,
    "tree": grown,
    "stages": staged,
    "scale-out": bridged,
}


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
