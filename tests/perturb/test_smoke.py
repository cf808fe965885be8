"""Each kind of perturbation once, on real processes under load, in two networks: one of honest nodes, one with a liar.

The long run is scripts/perturb.py; here what is held is held for shorter.
"""

import dataclasses
import random

import pytest

from tests.perturb import invariants, perturbations, runner
from tests.perturb.network import Violation

pytestmark = pytest.mark.processes
HOLD_SECONDS = 2.0
HONEST = (
    perturbations.kill,
    perturbations.partition,
    perturbations.flipped_byte,
    perturbations.disk_full,
    perturbations.record_restored,
    perturbations.join_and_leave,
    perturbations.corrupted,
    perturbations.clock_offset,
)
BESIDE_A_LIAR = (
    perturbations.pause,
    perturbations.wiped,
    perturbations.disconnect,
    perturbations.power_cut,
    perturbations.slow_and_lossy,
    perturbations.restart,
)


@pytest.mark.parametrize(
    "kinds, acts",
    [(HONEST, ()), (BESIDE_A_LIAR, ("conflict", "equivocate", "withhold", "sync"))],
    ids=["honest", "beside a liar"],
)
def test_a_network_gets_over_whatever_is_done_to_it(kinds, acts):
    run = runner.Run()
    runner.one_network(run, random.Random(20260401), 4, acts, 0, HOLD_SECONDS, kinds)
    assert not run.violations
    assert sum(run.done.values()) == len(kinds)
    assert run.figures["acknowledged"] > 20
    assert run.figures["votes_read"] > 100


def test_what_judges_can_see():
    """One acknowledgement too many, one outcome turned round, one accused too few: each is told."""
    run = runner.Run()
    with runner.network(run, 1) as net:
        net.start(*net.members)
        net.in_step(30)
        with runner.load_of(net) as load:
            load.goes_on(10)
        runner.judge(run, net, load)
        transaction, said = next(iter(load.acknowledged.items()))
        for changed in ({bytes(32): said}, {transaction: dataclasses.replace(said, ok=not said.ok)}):
            before = dict(load.acknowledged)
            load.acknowledged |= changed
            with pytest.raises(Violation):
                invariants.one_chain(net, load)
            load.acknowledged = before
        with pytest.raises(Violation, match="not in evidence"):
            invariants.one_chain(net, load, convicted=[net.members[0]])
        net.processes.kill(net.name(net.members[0]))
        with pytest.raises(Violation, match="ended on its own"):
            net.in_step(1)
        net.start(*net.members)
    assert not run.violations
