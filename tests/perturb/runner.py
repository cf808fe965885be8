"""Draws networks and what is done to them, does it under load, and judges. Run it through scripts/perturb.py.

The draws come from a seed; moments do not: two runs with one seed do the same things at slightly other times.
"""

import contextlib
import dataclasses
import json
import random
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from node.config import SnapshotConfig
from proto.chiptrace.v1.node_pb2 import BlockAtRequest
from tests.perturb import byzantine_node, invariants, perturbations
from tests.perturb.load import MEMBER, Load
from tests.perturb.network import IN_STEP_SECONDS, Net, Violation, wait_for

NETWORK_SECONDS = 150.0  # of perturbations, in one network
GOES_ON_SECONDS = 20.0
TWO_AT_ONCE = 0.25  # of the draws
BETWEEN_SECONDS = (0.0, 3.0)
WAN_HEARTBEAT_MS = 10_000  # a consortium's, not a test's


def say(text):
    print(text, flush=True)


class Run:
    """What was done, and what went wrong."""

    def __init__(self):
        self.began = time.monotonic()
        self.done = Counter()
        self.violations = []
        self.networks = 0
        self.figures = Counter()
        self.slowest = 0.0  # to be in step again

    def violated(self, text):
        self.violations.append(text)
        say(f"  VIOLATION: {text}")

    def report(self, **more) -> int:
        """The last line; the exit code."""
        minutes = round((time.monotonic() - self.began) / 60, 2)
        result = {
            "minutes": minutes,
            "networks": self.networks,
            "perturbations": sum(self.done.values()),
            "kinds": dict(sorted(self.done.items())),
            "slowest_in_step_seconds": round(self.slowest, 1),
            **self.figures,
            **more,
            "violations": len(self.violations),
        }
        print(json.dumps(result))
        return 1 if self.violations else 0


@contextlib.contextmanager
def network(run, validators, *, byzantine=(), **more):
    """A network in a temporary directory; kept for a look when something went wrong."""
    home = Path(tempfile.mkdtemp(prefix="chiptrace-perturb-"))
    before = len(run.violations)
    net = None
    try:
        net = Net(home / "net", validators, **more)
        if byzantine:
            net.byzantine[net.members[validators - 1]] = list(byzantine)
        yield net
        stubborn = net.stop(*sorted(net.expected))
        if set(stubborn) - {net.name(member) for member in net.byzantine}:
            run.violated(f"{stubborn} did not end on SIGTERM")
        run.figures["votes_read"] += invariants.no_double_sign(net)
        invariants.no_traceback(net)
    except Exception as error:  # what was not foreseen counts as well
        run.violated(f"{type(error).__name__}: {error}")
    finally:
        if net is not None:
            net.close()
        run.networks += 1
        if len(run.violations) == before:
            shutil.rmtree(home)
        else:
            say(f"  everything is kept in {home}")


def load_of(net, **more):
    return Load(lambda: net.open(MEMBER), net.seed_of(MEMBER), **more)


def whole_again(run, net, load):
    """After a perturbation: in step within 20 s, nobody ended of itself, and the load goes on."""
    took = net.in_step(IN_STEP_SECONDS)
    run.slowest = max(run.slowest, took)
    load.goes_on(5, GOES_ON_SECONDS)
    if load.troubles:
        raise Violation(f"the chain refused what it must take: {load.troubles[:2]}")
    return took


def judge(run, net, load):
    """The end: all that was acknowledged is everywhere, and the same."""
    top = load.top
    wait_for(
        lambda: min(net.heights(net.honest()).values()) >= top,
        IN_STEP_SECONDS,
        f"not all are at height {top}",
    )
    liars = {member: bool(set(acts) & byzantine_node.PROVABLE) for member, acts in net.byzantine.items()}
    convicted = [member for member, provable in liars.items() if provable]
    found = invariants.one_chain(net, load, convicted=convicted, spared=list(liars))
    for name, value in found.items():
        run.figures[name] += value
    return found


def perturb(run, seconds, seed, validators=None, hold=10.0):
    """Generated networks, one after the other, until the time is over."""
    draw = random.Random(seed)
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        size = validators or draw.choice([1, 4, 4, 4, 7])
        acts = draw.choice(
            [(), ("conflict", "equivocate"), ("withhold", "sync", "mute"), byzantine_node.ACTS]
        )
        one_network(
            run, draw, size, acts if size >= 4 else (), min(ends, time.monotonic() + NETWORK_SECONDS), hold
        )


def one_network(run, draw, size, acts, ends, hold, kinds=None):
    """One network: perturbations until a moment, or each of `kinds` once; then the judgement."""
    late = draw.random() < 0.5 and size >= 4
    every = draw.choice([0, 20, 200])
    say(
        f"network {run.networks + 1}: {size} validators, byzantine: {', '.join(acts) or 'none'}, "
        f"{'one starts late, ' if late else ''}{f'a snapshot every {every} heights' if every else 'no snapshots'}"
    )
    with network(run, size, seed=draw.randrange(2**32), joining=1, byzantine=acts) as net:
        net.hold = hold
        net.configure(lambda own: dataclasses.replace(own, snapshots=SnapshotConfig(every_heights=every)))
        first = net.members[1:] if late else net.members
        net.start(*first)
        wait_for(lambda: all(net.statuses().values()), 30, "not all answer at first")
        net.in_step(30)
        with load_of(net) as load:
            load.goes_on(10, 30)
            if late:  # one that was never there joins when the chain is well under way
                net.start(net.members[0])
                say(
                    f"  {net.members[0]} starts late, at height {load.top}: in step in {whole_again(run, net, load):.1f} s"
                )
            pool = perturbations.ALONE if size == 1 else perturbations.ALL
            if acts and size == 4:
                pool = [kind for kind in pool if kind not in perturbations.GOVERNED]
            queue = list(kinds or ())
            while queue if kinds else time.monotonic() < ends:
                honest = [m for m in net.members[:size] if m not in net.byzantine]
                chosen = [queue.pop(0) if kinds else draw.choice(pool)]
                if not kinds and size > 1 and draw.random() < TWO_AT_ONCE:
                    chosen = draw.choices(perturbations.TOGETHER, k=2)
                members = draw.sample(honest, len(chosen))
                began = time.monotonic()
                for kind, member, words in _do(net, chosen, members, draw):
                    run.done[kind.__name__] += 1
                    say(f"  {kind.__name__:15} {member:12} {words}")
                took = whole_again(run, net, load)
                say(f"{'':31}in step after {took:.1f} s, {time.monotonic() - began:.1f} s in all")
                time.sleep(draw.uniform(*BETWEEN_SECONDS) * hold / 10)
        whole = net.in_step()
        found = judge(run, net, load)
        say(f"  judged after {whole:.1f} s: {found}, {load.unanswered} unanswered")


def _do(net, kinds, members, draw):
    """One perturbation, or two at the same time; what came of each."""
    with ThreadPoolExecutor(len(kinds)) as hands:
        at_work = [
            hands.submit(kind, net, member, random.Random(draw.random()))
            for kind, member in zip(kinds, members, strict=True)
        ]
        words = [work.result() for work in at_work]
    return list(zip(kinds, members, words, strict=True))


def kills(run, count, seed, validators=4):
    """SIGKILL for validators drawn one after the other, sometimes two, under load."""
    draw = random.Random(seed)
    with network(run, validators, seed=seed) as net:
        net.start(*net.members)
        net.in_step(30)
        with load_of(net, writers=4) as load:
            load.goes_on(10, 30)
            while run.done["kill"] < count:
                victims = draw.sample(net.members, draw.choice([1, 1, 1, 1, 2]))
                time.sleep(draw.uniform(0, 1.0))
                for victim in victims:
                    net.kill(victim)
                    run.done["kill"] += 1
                    time.sleep(draw.choice([0, 0.2]))
                net.start(*victims)
                took = whole_again(run, net, load)
                if run.done["kill"] % 10 < len(victims):
                    heights = max(net.heights().values())
                    say(
                        f"  {run.done['kill']} kills, height {heights}, {len(load.acknowledged)} acknowledged, last in step in {took:.1f} s"
                    )
        net.in_step()
        found = judge(run, net, load)
        say(f"  judged: {found}, {load.unanswered} unanswered")
        run.figures["unanswered"] = load.unanswered


def wan(run, heights, seed, *, delay_ms=50, loss=0.05, size=4, streams=2):
    """Every link far and lossy, one validator silent: heights keep coming, and how long a transaction takes."""
    with network(run, size, seed=seed, heartbeat_ms=WAN_HEARTBEAT_MS) as net:
        net.configure(lambda own: _with_streams(own, streams))
        net.start(*net.members)
        net.in_step(30)
        net.link(net.all_ways(), delay_ms=delay_ms, loss=loss)
        silent = net.members[-1]
        net.pause(silent)
        net.expected.discard(silent)
        time.sleep(10)  # until all have noticed
        with load_of(net, writers=2, pause=0.3, never=[net.nodes[silent].clients]) as load:
            load.goes_on(5, 60)
            start, begun = load.top, len(load.acknowledged)
            began = time.monotonic()
            while load.top < start + heights:
                load.goes_on(1, 30)
            took = time.monotonic() - began
        said = list(load.acknowledged.values())[begun:]
        times = sorted(item.seconds for item in said)
        say(f"  by view of the height: {_by_view(net, said)}")
        net.link(net.all_ways(), delay_ms=0, loss=0.0)
        net.resume(silent)
        net.expected.add(silent)
        net.in_step(IN_STEP_SECONDS)
        judge(run, net, load)
        run.figures.update(
            streams_per_validator=streams,
            wan_heights=load.top - start,
            wan_seconds=round(took),
            transactions=len(times),
            unanswered=load.unanswered,
            p50_ms=round(1_000 * times[len(times) // 2]),
            p99_ms=round(1_000 * times[int(len(times) * 0.99)]),
            max_ms=round(1_000 * times[-1]),
        )
        run.figures.update({f"proxy_{name}": value for name, value in net.tell_proxy({}).items()})


def _with_streams(own, streams):
    port = dataclasses.replace(own.consensus_port, streams_per_validator=streams)
    return dataclasses.replace(own, consensus_port=port)


def _by_view(net, said):
    """Milliseconds from submission to final, (how many, median, longest) by the view in which the height was final."""
    connection = net.connection(net.members[0])
    stub = connection.stub(connection.endpoint)
    by_view = defaultdict(list)
    for item in said:
        reply = stub.GetBlock(BlockAtRequest(height=item.height), timeout=20)
        by_view[reply.certificate.view].append(round(1_000 * item.seconds))
    connection.close()
    return {
        view: (len(times), sorted(times)[len(times) // 2], max(times))
        for view, times in sorted(by_view.items())
    }
