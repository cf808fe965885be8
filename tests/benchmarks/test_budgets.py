"""Budgets are judged by the runs that count for them, and what was not measured is said."""

import json

import pytest

from scripts.benchmarks.budgets import BUDGETS, table
from scripts.benchmarks.named import names
from scripts.benchmarks.profile import costs, plain
from scripts.benchmarks.quoted import BESIDES, RUNS
from scripts.benchmarks.result import result

USED = {"resident_mib": {"own": 500, "mapped": 900}}


def throughput(figure: float, ratio: float = 0.4, **more) -> dict:
    run = {"parts": 10**6, "final_per_s": {"median": figure}, "used": USED}
    found = result(figure, "transactions/s", [figure / ratio] * 2, "verifications/s", [figure])
    found |= {
        "name": "throughput",
        "events_per_transaction": 1,
        "validators": 4,
        "parts": 10**6,
        "seconds": 300.0,
    }
    return found | {"rows": [run], "runs": [run]} | more


def judged(tmp_path, *found: dict) -> dict[str, str]:
    """The word of the table on each budget that something was said of."""
    files = []
    for place, one in enumerate(found):
        files.append(tmp_path / f"{place}.json")
        files[-1].write_text("what was said before\n" + json.dumps(one) + "\n")
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table(files)][2:]
    assert len(lines) >= len(BUDGETS)
    return {cells[0]: cells[5] for cells in lines if cells[2] != "not measured"}


SUSTAINED = "signed single-event transactions, 5 minutes, 10⁶ random keys"


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (throughput(2_500), "yes"),
        (throughput(2_499), "**no**"),
        (throughput(3_000, ratio=0.32), "**no**"),
        (throughput(3_000, seconds=60.0), None),
        (throughput(3_000, parts=999_999), None),
        (throughput(3_000, events_per_transaction=100), None),
        (throughput(3_000, validators=1), None),
    ],
)
def test_only_the_run_that_was_asked_for_counts(tmp_path, found, word):
    assert judged(tmp_path, found).get(SUSTAINED) == word


def sizes(last: float, own: int) -> dict:
    rows = [
        {"parts": parts, "final_per_s": {"median": rate}, "used": {"resident_mib": {"own": own, "mapped": 9}}}
        for parts, rate in ((10**4, 1_000), (10**7, last))
    ]
    return throughput(1_000, seconds=60.0, rows=rows, runs=rows)


@pytest.mark.parametrize(
    ("last", "own", "fall", "memory"), [(800, 1_024, "yes", "yes"), (799, 1_025, "**no**", "**no**")]
)
def test_throughput_and_memory_as_the_state_grows(tmp_path, last, own, fall, memory):
    found = judged(tmp_path, sizes(last, own))
    assert found["throughput at 10⁷ keys, of that at 10⁴"] == fall
    assert found["memory per node at 10⁷ keys"] == memory


@pytest.mark.parametrize(
    ("p99", "refused", "final", "loaded", "over"),
    [
        (1_000, 5, 500, "yes", "yes"),
        (1_001, 5, 499, "**no**", "**no**"),
        (1, 0, 900, "yes", "**no**"),
    ],
)
def test_load_at_four_fifths_and_at_three_times(tmp_path, p99, refused, final, loaded, over):
    shares = [
        {"share": 80, "latency_ms_p99": p99},
        {"share": 300, "latency_ms_p99": 9, "final_per_s": final, "refused": {"POOL_FULL": refused}},
    ]
    found = {"name": "offered-load", "sweeps": [{"saturation": {"final_per_s": 1_000}, "shares": shares}]}
    words = judged(tmp_path, found)
    assert words["submit → final at 80 % of saturation, swept"] == loaded
    assert words["three times what saturates"] == over


@pytest.mark.parametrize(
    ("p50", "p99", "word"), [(20.5, 50.5, "yes"), (20.6, 50, "**no**"), (20, 50.6, "**no**")]
)
def test_an_idle_chain_is_judged_by_both_percentiles(tmp_path, p50, p99, word):
    found = result(p50, "ms", [0.5, 0.5], "ms", [p50], latency_ms_p99=p99, budget=20.5, budget_p99=50.5)
    assert judged(tmp_path, found | {"name": "latency", "shares": []})["submit → final, idle chain"] == word


@pytest.mark.parametrize(
    ("ratio", "parts", "word"), [(1.5, 1_000, "yes"), (1.6, 1_000, "**no**"), (1, 999, None)]
)
def test_an_audit_is_judged_by_its_ratio(tmp_path, ratio, parts, word):
    found = result(ratio, "s", [1.0, 1.0], "s", [ratio], parts=parts) | {"name": "audit"}
    assert judged(tmp_path, found).get("audit of a device with 1,000 parts over two chains") == word


def test_each_budget_has_a_benchmark_and_a_quoted_run():
    assert {budget.name for budget in BUDGETS} <= set(names())
    run = {words[0].split()[0] for words in (RUNS | BESIDES).values()}
    assert run == set(names())


def test_shares_of_a_profile_are_by_thread_stage_and_function():
    stacks = {
        "thread (12): writer;execute_block (ledger/execute.py:1);Application.commit (ledger/application.py:9);sha (x/y.py:3)": 3,
        "thread (0x7f): MainThread;Engine.step (consensus/engine.py:5)": 1,
    }
    found = costs({plain(stack): count for stack, count in stacks.items()})
    assert found["threads"] == {"writer": 0.75, "event loop": 0.25}
    assert found["stages"] == {"rows": 0.75, "agreement": 0.25}
    assert found["ten_functions"] == {"sha (y.py)": 0.75, "Engine.step (consensus/engine.py)": 0.25}
