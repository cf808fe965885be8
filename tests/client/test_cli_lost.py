"""A client's new anchor and the end of a lost chain, from the change file to the part that is taken over."""

import json
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from client import cli_govern, cli_lost, governance_file
from ledger import hashes
from proto.chiptrace.v1.ledger_pb2 import LIVE, Reason
from proto.chiptrace.v1.node_pb2 import PacketItem, PacketsReply
from tests.bridge.test_attest_port import freeze
from tests.bridge.test_rehoming import bring_head, moved
from tests.bridge.two_chains import MEMBERS, World, packing_event
from tests.client.direct import DirectStub, verified
from tests.client.test_cli_rights import Line
from tests.ledger.chain_fixture import seed_of

APP = typer.Typer()
for _commands in (cli_govern, cli_lost):
    _commands.register(APP)


class WithPackets(DirectStub):
    def GetPackets(self, request):
        sent = self.chain.sent(request.client, request.from_sequence)
        return PacketsReply(items=[PacketItem(packet=sent)])


@pytest.fixture
def world(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    world = World("a", "b")
    for member in MEMBERS["b"]:
        seed = seed_of(member, "admin")
        (tmp_path / f"{member}.key").write_bytes(seed)
        assert hashes.public_key(seed)

    @contextmanager
    def open_chain(trust, chain, member=""):
        if chain == "a":
            world["a"].settle()
        line = Line(world[chain], member or world[chain].members[0])
        view = verified(world[chain], WithPackets(world[chain]))
        yield SimpleNamespace(verified=view, submitter=lambda: line)

    monkeypatch.setattr(cli_lost, "open_chain", open_chain)
    monkeypatch.setattr(cli_lost.consents.keys, "read_seed", lambda path: path.read_bytes())
    return world


def run(*words):
    result = CliRunner().invoke(APP, words)
    assert "Traceback" not in result.output
    assert result.exit_code == 0, result.output
    return result


def agreed(first: str, *members: str) -> str:
    """The file after these admins of b have consented, one after the other."""
    file = first
    for number, member in enumerate(members):
        run("govern", "consent", file, "--chain", "a", "--key", f"{member}.key", "-o", f"{number}.toml")
        file = f"{number}.toml"
    return file


def carried_out(world, file):
    return world.govern("a", *governance_file.read(Path(file)))


def test_a_frozen_client_gets_a_substitute(world):
    moved(world)
    freeze(world, "a", "b")
    world["b"].produce()
    made = run("govern", "substitute", "--client", "b-1", "--of", "b", "-o", "thaw.toml", "--json")
    assert json.loads(made.stdout) == {"file": "thaw.toml"}
    assert carried_out(world, agreed("thaw.toml", "bob", "ben")).reason == Reason.NOT_ENOUGH_APPROVALS
    for name in ("0.toml", "1.toml"):
        Path(name).unlink()
    assert carried_out(world, agreed("thaw.toml", "bob", "ben", "bea")).ok
    assert not world["a"].client("b-1").frozen


def test_a_lost_chain_is_given_up_and_its_parts_are_taken_over(world):
    part, box = moved(world), moved(world)
    assert world["b"].operate("bob", packing_event("ADD", box, part)).ok
    bring_head(world)
    options = ("--client", "b-1", "--of", "b", "--chain", "a", "--member", "bob=abe", "--heir")
    run("govern", "give-up", *options, "--why", "both sites burnt down", "-o", "give-up.toml")
    (change,) = governance_file.read(Path("give-up.toml"))
    assert change.rehome_chain.heir
    assert carried_out(world, agreed("give-up.toml", "bob", "ben", "bea")).ok
    for name in (part, box):
        run("rehome", name, "--of", "b", "--chain", "a", "--as", "ann")
        assert (world.part("a", name).status, world.part("a", name).holder) == (LIVE, "abe")


def test_what_was_under_way_when_the_chain_was_lost(world):
    never, taken = (world.commission("a", "ada") for _ in range(2))
    assert world.send("a", taken, "bob").ok
    world.settle()
    relayer = world.relayers["a", "b"]
    relayer.bring(world["b"], world["a"], relayer.plan().on_b)
    assert world.send("a", never, "bob").ok
    bring_head(world)
    options = ("--client", "b-1", "--of", "b", "--chain", "a", "--member", "bob=abe")
    run("govern", "give-up", *options, "--why", "both sites burnt down", "-o", "give-up.toml")
    assert carried_out(world, agreed("give-up.toml", "bob", "ben", "bea")).ok
    for name, holder in ((never, "ada"), (taken, "ada")):
        run("rehome", name, "--of", "b", "--chain", "a", "--as", "ann")
        assert (world.part("a", name).status, world.part("a", name).holder) == (LIVE, holder)


def test_consent_is_given_to_one_change_that_needs_it(world):
    Path("x.toml").write_text('[[change]]\nkind = "revoke_policy"\nid = "p"\n')
    result = CliRunner().invoke(
        APP, ["govern", "consent", "x.toml", "--chain", "a", "--key", "bob.key", "-o", "y.toml"]
    )
    assert result.exit_code != 0
    assert not Path("y.toml").exists()
