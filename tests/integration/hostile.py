"""A chain that is about to be told bad things, and the proof that none of them moves its state."""

import os
from contextlib import contextmanager
from types import SimpleNamespace

from tests.integration.testbed import Signer, commissioning, serial, settle

CHAIN, HOLDER, OTHER = "assembler", "boardworks", "drivemaker"
UNKNOWN_FIELD = b"\xfa\x07\x01x"  # number 127, one byte long
U64 = 2**64 - 1


@contextmanager
def told(bed):
    """A chain with a part of HOLDER's; who may sign there, and who may not."""
    bed.in_step(CHAIN)
    with bed.open(CHAIN, HOLDER) as session:
        found = SimpleNamespace(bed=bed, session=session)
        found.holder = Signer(session, bed.seed(CHAIN, HOLDER))
        found.other = Signer(session, bed.seed(CHAIN, OTHER))
        found.relayer = Signer(session, bed.seed(CHAIN, HOLDER, "relayer"))
        found.stranger = Signer(session, os.urandom(32))
        found.part = serial("9525001")
        found.holder.do(commissioning(found.part))
        found.pids = pids(bed)
        yield found


def pids(bed):
    return {name: item.pid for name, item in bed.processes.running().items() if name.startswith(CHAIN)}


def proven_root(world):
    """The state root after everything that is decided now, certified by the header of the height after it."""
    settle(world.session, world.holder.nothing().height - 1)
    return world.session.verified.snapshot().opening.state_root


@contextmanager
def unmoved_state(world):
    """Whatever happens inside, state and nodes are as before."""
    before = proven_root(world)
    yield
    assert proven_root(world) == before
    nodes = world.bed.nodes(CHAIN)
    assert all(status and status.synced for status in nodes.values()), nodes
    assert pids(world.bed) == world.pids
