"""What is done to one validator while the others and the load go on. Each ends with the network whole again, as far
as hands can make it; getting back in step is the node's own task, and is what the runner waits for.

A perturbation takes (net, member, draw) and returns words for the report. `draw` is a seeded random.Random: what is
chosen can be repeated, when exactly it strikes cannot.
"""

import json
import resource
import shutil
import time

from node.signer import RECORD_FILE
from tests.perturb import membership
from tests.perturb.network import IN_STEP_SECONDS, Violation, wait_for

START_SECONDS = 20.0
STORE_WORDS = ("the node cannot start", "the node stops at once")


def kill(net, member, draw):
    """SIGKILL, and back after a moment."""
    net.kill(member)
    away = draw.choice([0.0, 0.5, 3.0])
    time.sleep(away)
    net.start(member)
    return f"killed, {away} s away"


def power_cut(net, member, draw):
    """SIGKILL for all nodes in the same moment."""
    order = sorted(net.expected)
    draw.shuffle(order)
    net.kill(*order)
    net.start(*order)
    return "all killed at once"


def pause(net, member, draw):
    """SIGSTOP, far beyond every timeout."""
    net.pause(member)
    try:
        time.sleep(net.hold)
    finally:
        net.resume(member)
    return f"paused {net.hold:.0f} s"


def restart(net, member, draw):
    """SIGTERM must end it within the grace, and it comes back."""
    forced = net.stop(member)
    if forced:
        raise Violation(f"{member} did not end on SIGTERM: {net.last_words(member)}")
    if net.log(member)[-1]["message"] != "stopped":
        raise Violation(f"{member} did not end in order: {net.last_words(member)}")
    net.start(member)
    return "SIGTERM and start"


def disconnect(net, member, draw):
    """Nobody reaches it and it reaches nobody."""
    return _ways(net, net.ways(member), f"disconnected {net.hold:.0f} s", refuse=True)


def partition(net, member, draw):
    """It hears and is not heard, or the other way round; no connection ends at once."""
    out = draw.random() < 0.5
    words = "not heard" if out else "hears nothing"
    return _ways(
        net, net.ways(member, into=not out, out=out), f"{words} for {net.hold:.0f} s", black_hole=True
    )


def halves(net, member, draw):
    """The network falls into two halves of which neither can decide (or one only just)."""
    order = list(net.members)
    draw.shuffle(order)
    half = set(order[: len(order) // 2])
    pairs = [(a, b) for a, b in net.all_ways() if (a in half) != (b in half)]
    return _ways(net, pairs, f"two halves for {net.hold:.0f} s", black_hole=True)


def slow_and_lossy(net, member, draw):
    """Every link far and lossy."""
    delay, loss = draw.choice([(20, 0.01), (50, 0.05), (100, 0.1)])
    return _ways(net, net.all_ways(), f"{delay} ms and {loss:.0%} loss", delay_ms=delay, loss=loss)


def clogged(net, member, draw):
    """Its links carry a few kilobytes a second."""
    rate = draw.choice([2_000, 20_000])
    return _ways(net, net.ways(member), f"{rate} B/s", rate=rate)


def corrupted(net, member, draw):
    """Bytes change on its way: TLS ends those streams, and new ones are made."""
    return _ways(net, net.ways(member), "bytes changed on the way", corrupt=0.02)


def clock_offset(net, member, draw):
    """Its clock goes wrong, and later right again, with a restart each time."""
    offset_ms = draw.choice([-30_000, -3_000, -400, 400, 3_000, 30_000])
    net.stop(member)
    net.offsets_ms[member] = offset_ms
    net.start(member)
    time.sleep(net.hold)
    net.stop(member)
    net.offsets_ms[member] = 0
    net.start(member)
    return f"clock {offset_ms:+} ms for {net.hold:.0f} s"


def disk_full(net, member, draw):
    """No file may grow any more: it must stop of itself, and come back once there is room."""
    net.expected.discard(member)
    pid = net.pid(member)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (draw.choice([1, 4_096, 100_000]),) * 2)
    wait_for(lambda: not net.pid(member), IN_STEP_SECONDS, f"{member} goes on with a full disk")
    net.start(member)
    return "disk full, stopped of itself"


def flipped_byte(net, member, draw):
    """A byte of its data changes while it is stopped: it refuses, or has repaired it; then it begins anew."""
    net.kill(member)
    files = sorted(
        path for path in (net.place(member) / "data").rglob("*") if path.is_file() and path.stat().st_size
    )
    path = draw.choice(files)
    with path.open("r+b") as file:
        place = draw.randrange(path.stat().st_size)
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1 << draw.randrange(8)]))
    before = len(net.log(member))
    net.start(member)
    net.expected.discard(member)

    def judged():
        if not net.pid(member):
            return "refused"
        status = net.status(member)
        return "went on" if status and status.synced else ""

    said = wait_for(
        judged, START_SECONDS, f"{member} neither starts nor refuses with a byte changed in {path.name}"
    )
    if said == "refused":
        last = net.log(member)[before:][-1]
        if last.get("message") not in STORE_WORDS or not last.get("cause"):
            raise Violation(f"{member} ended without a clear word, byte {place} of {path.name}: {last}")
        said = f"refused: {last['cause'][:80]}"
    net.kill(member)
    shutil.rmtree(net.place(member) / "data")
    net.start(member)
    return f"byte {place} of {path.name}: {said}; data wiped"


def wiped(net, member, draw):
    """Its data is gone, its signing record is not: it follows until it has caught up, then votes."""
    net.kill(member)
    shutil.rmtree(net.place(member) / "data")
    net.start(member)
    _until_in_step(net, member)
    wait_for(lambda: _index(net, member) >= 0, IN_STEP_SECONDS, f"{member} caught up and does not vote")
    return "data wiped, votes again"


def record_lost(net, member, draw):
    """Its signing record is gone (its data perhaps too): it observes and says so, and gets a new key."""
    net.kill(member)
    (net.place(member) / "keys" / RECORD_FILE).unlink()
    with_data = draw.random() < 0.5
    if with_data:
        shutil.rmtree(net.place(member) / "data")
    net.start(member)
    _observes(net, member)
    net.stop(member)
    height = membership.rotate(net, member)
    return f"signing record gone{', data too' if with_data else ''}: observed, new key at height {height}"


def record_restored(net, member, draw):
    """Its signing record is put back from a copy, as from a backup: it sees that, observes, and gets a new key."""
    record = net.place(member) / "keys" / RECORD_FILE
    net.stop(member)
    copy = record.read_bytes()
    net.start(member)
    net.in_step()
    height = net.status(member).height
    wait_for(lambda: net.status(member).height > height + 3, IN_STEP_SECONDS, "no heights go by")
    net.kill(member)
    record.write_bytes(copy)
    net.start(member)
    _observes(net, member)
    net.stop(member)
    height = membership.rotate(net, member)
    return f"old signing record put back: observed, new key at height {height}"


def join_and_leave(net, member, draw):
    """A node that follows becomes a validator; it may go again later, and the one drawn may be down meanwhile."""
    outside = next(other for other in net.members if _index(net, other) == -1)
    down = draw.random() < 0.5
    joined = membership.join(net, outside)
    if down:
        net.kill(member)
    try:
        left = membership.leave(net, outside)
    finally:
        if down:
            net.start(member)
    return f"{outside} joined at {joined} and left at {left}{f', {member} down' if down else ''}"


def _observes(net, member):
    _until_in_step(net, member)
    if _index(net, member) != -1:
        raise Violation(f"{member} votes without the record of what it has signed")
    if not any("must not vote" in json.dumps(line) for line in net.log(member)):
        raise Violation(f"{member} does not say that it only follows: {net.last_words(member)}")


def _ways(net, pairs, words, **conditions):
    net.link(pairs, **conditions)
    try:
        time.sleep(net.hold)
    finally:
        net.link(pairs, **{name: type(value)(0) for name, value in conditions.items()})
    return words


def _index(net, member):
    status = net.status(member)
    return -2 if status is None else status.index


def _until_in_step(net, member):
    def there():
        status = net.status(member)
        top = max(net.heights(net.honest()).values())
        return status is not None and status.synced and status.height >= top - 3

    wait_for(there, IN_STEP_SECONDS, f"{member} does not catch up from nothing")


ALONE = (kill, pause, restart, clock_offset, disk_full, power_cut)  # what one validator alone gets over
ALL = (
    *ALONE,
    disconnect,
    partition,
    halves,
    slow_and_lossy,
    clogged,
    corrupted,
    flipped_byte,
    wiped,
    record_lost,
    record_restored,
    join_and_leave,
)
# The chain has to go on without the one drawn, and governs meanwhile: nobody else may be missing.
GOVERNED = (record_lost, record_restored, join_and_leave)
# What can be done to two at the same time: no hands are needed that wait for the network meanwhile.
TOGETHER = (
    kill,
    pause,
    restart,
    clock_offset,
    disk_full,
    disconnect,
    partition,
    slow_and_lossy,
    clogged,
    corrupted,
)
