"""The short form of the benchmarks: what we do against what this machine can do, measured in the same run.

Only ratios are checked, with room for a machine that does other things too; figures are in docs/benchmarks.md.
"""

import argparse
import importlib
import json
import subprocess
import sys

import pytest

from scripts.benchmarks.named import FOLDER, names
from scripts.benchmarks.result import median, percentile, result, short

ROOT = FOLDER.parent.parent


def run(name: str, *words: str) -> dict:
    """One benchmark in this process, with these words of a command line."""
    module = importlib.import_module(f"scripts.benchmarks.{name}")
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return module.measure(parser.parse_args(words))


def test_every_kind_of_event_is_a_fair_part_of_bare_verification():
    found = run("execution", "--events", "100")
    # Alone a commissioning takes five verifications of time, a hundred to a transaction three.
    assert found["ratio"] >= 0.07
    hundreds = {name: kind for name, kind in found["kinds"].items() if name.endswith("100 per transaction")}
    assert len(hundreds) == len(found["kinds"]) / 2 >= 10
    for name, kind in hundreds.items():
        assert kind["all_per_s"] / found["limit"] >= 0.03, name
    assert hundreds["commission, 100 per transaction"]["all_per_s"] / found["limit"] >= 0.1
    # A range of 250,000 parts in one event costs no more than ten parts do.
    one, whole = (found["kinds"][name]["us"] for name in ("commission", "range of 250,000"))
    assert sum(whole.values()) <= 10 * sum(one.values())


def test_an_event_costs_little_more_where_there_is_ten_times_as_much(tmp_path):
    found = run("tree", "--sizes", "1000,10000", "--blocks", "2", "--folder", str(tmp_path))
    least = [min(size["warm"]["us_per_event_samples"]) for size in found["sizes"]]
    assert least[1] <= 1.6 * least[0]
    again = run("tree", "--sizes", "1000", "--blocks", "1", "--folder", str(tmp_path))
    assert again["sizes"][0]["filling_s"] < found["sizes"][0]["filling_s"]


def test_agreement_alone_takes_little_more_than_its_signatures():
    found = run("consensus", "--heights", "60", "--validators", "4", "--runs", "2")
    assert max(found["samples"]) / found["limit"] >= 0.15
    assert found["sizes"][0]["messages_per_height_and_node"] <= 16


def test_an_audit_of_three_times_as_many_parts_takes_three_times_as_long():
    few, many = (run("audit", "--parts", parts, "--runs", "2") for parts in ("15", "45"))
    assert min(many["samples"]) <= 5 * min(few["samples"])
    assert min(many["samples"]) / many["limit"] <= 25
    assert many["signatures"] >= 3 * 45


@pytest.mark.processes
def test_a_loaded_chain_of_processes_tells_where_its_cpu_goes():
    staged = run("stages", "--seconds", "3", "--warming", "0.5")
    assert 0.9 <= staged["explained"] <= 1.1
    assert {
        "decode",
        "verify",
        "admit",
        "gossip",
        "propose",
        "validate",
        "execute",
        "tree",
        "store",
        "reply",
    } <= set(staged["us_by_stage"])
    # About seven verifications of CPU per transaction and node on a quiet machine, one of which is the verification.
    assert staged["cpu_us_untraced"] <= 25 * staged["us_by_stage"]["verify"]
    assert staged["tracer_us"] <= 0.15 * staged["us_of_process"]


def test_every_benchmark_is_found_by_its_name():
    listed = subprocess.run(
        [sys.executable, "-m", "scripts.benchmarks", "list"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name, about in names().items():
        assert f"{name} " in listed
        assert about in listed
        module = importlib.import_module(f"scripts.benchmarks.{name.replace('-', '_')}")
        assert callable(module.measure)
        assert callable(module.add_arguments)
    assert {
        "throughput",
        "latency",
        "execution",
        "tree",
        "relay",
        "audit",
        "restart",
        "catch-up",
        "consensus",
        "testnet-start",
        "offered-load",
        "stages",
    } <= set(names())


def test_a_result_says_its_ratio_and_is_json():
    found = result(123.456, "events/s", [900, 1100], "verifications/s", [1.0, 4.0, 2.0], more="words")
    assert json.loads(json.dumps(found)) == found
    assert (found["figure"], found["limit"], found["ratio"], found["more"]) == (123.5, 1000, 0.1235, "words")
    assert found["limit_samples"] == [900, 1100]
    assert found["spread"] == {"min": 1, "median": 2, "max": 4}


@pytest.mark.parametrize(("part", "wanted"), [(0, 1), (0.25, 1), (0.5, 2), (0.51, 3), (0.99, 4), (1, 4)])
def test_percentiles(part, wanted):
    assert percentile([4, 2, 3, 1], part) == wanted


def test_digits_that_mean_something():
    assert (short(12345.6), short(1.23456), short(0.000123456), median([3, 1, 2])) == (
        12346,
        1.235,
        0.0001235,
        2,
    )
