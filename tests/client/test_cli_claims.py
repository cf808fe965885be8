"""The commands about claims that cross, on two chains in process."""

import json
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from client import cli_claims
from tests.bridge.test_attest_port import ID, attest, moved, recall
from tests.bridge.two_chains import World
from tests.client.direct import verified
from tests.client.test_cli_rights import Line

APP = typer.Typer()
cli_claims.register(APP)


@pytest.fixture
def world(monkeypatch):
    world = World("a", "b")

    @contextmanager
    def open_chain(trust, chain, member=""):
        world[chain].settle()
        line = Line(world[chain], member or world[chain].members[0])
        yield SimpleNamespace(verified=verified(world[chain]), submitter=lambda: line)

    @contextmanager
    def open_all(trust):
        world.settle()
        yield {chain.chain_id: SimpleNamespace(verified=verified(chain)) for chain in world.chains.values()}

    monkeypatch.setattr(cli_claims, "open_chain", open_chain)
    monkeypatch.setattr(cli_claims, "open_all", open_all)
    return world


def run(*words):
    result = CliRunner().invoke(APP, words)
    assert "Traceback" not in result.output
    return result


def test_a_claim_is_sent_shown_and_seen_on_the_other_chain(world):
    part = moved(world)
    assert run("claims", part, "--chain", "b").exit_code == 0
    assert attest(world, "a", "amy", part, scope="AEC-Q100").ok
    assert run("send-attestation", ID, "--client", "b-1", "--chain", "a", "--as", "ada").exit_code == 0
    world.relay()
    shown = json.loads(run("attestation", ID, "--chain", "a", "--json").output)
    assert (shown["issuer"], shown["copied_to"], shown["waiting"]) == ("amy", ["b-1"], [])
    seen = run("claims", part, "--chain", "b", "--json")
    assert seen.exit_code == 0
    (text,) = json.loads(seen.output)["in_force"]
    assert ID in text
    assert world["a"].chain_id.hex()[:16] in text


def test_a_recall_that_came_is_seen(world):
    part = moved(world)
    assert recall(world, "a", "amy", part).ok
    world.relay()
    result = run("claims", part, "--chain", "b")
    assert (result.exit_code, "RECALLED" in result.output, "cracks" in result.output) == (1, True, True)


def test_what_is_not_there(world):
    assert run("attestation", ID, "--chain", "a").exit_code != 0
    assert run("claims", "https://a.example/1", "--chain", "c").exit_code != 0
