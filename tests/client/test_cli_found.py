"""How chains begin, by files and commands: the same bytes everywhere, nothing written of what no node would take."""

import json
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from client import cli_found, cli_govern, governance_file
from ledger.genesis import chain_id, decode_genesis
from proto.chiptrace.v1.ledger_pb2 import Change, PutMember, SetParameters
from tests.bridge.two_chains import MEMBERS, World
from tests.client.direct import verified
from tests.ledger.chain_fixture import key_of, make_parameters

APP = typer.Typer()
for _commands in (cli_govern, cli_found):
    _commands.register(APP)
FOUR = ("ada", "abe", "amy", "ann")
PARAMETERS = (
    "parameters = { governance_threshold = 3, heartbeat_ms = 1000, adoption = false, offer_expiry_ms = 1000, "
    "backdate_ms = 1000, block_bytes = 4194304 }"
)


def section(table, **fields):
    return f"[[{table}]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in fields.items())


def document(*more, members=FOUR, head=f'name = "a"\ntime_ms = 2026-11-01T00:00:00Z\n{PARAMETERS}\n'):
    made = [head]
    for name in members:
        made.append(section("members", id=name, name=name, admin_keys=[key_of(name, "admin").hex()]))
        key = key_of(name, "validator").hex()
        made.append(section("keys", key=key, member=name, role="validator"))
        made.append(section("validators", key=key, member=name))
    return "".join([*made, *more])


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*words, ok=True):
    result = CliRunner().invoke(APP, ["govern", *words, "--json"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    told = json.loads(result.stdout)
    assert (result.exit_code == 0) == ok, told
    return told


def test_the_same_file_makes_the_same_chain_everywhere():
    Path("chain.toml").write_text(document(section("grants", prefix="gs1:4012345", holder="ada")))
    told = run("genesis", "chain.toml", "-o", "one")
    assert told["chain_id"] == run("genesis", "chain.toml", "-o", "two")["chain_id"]
    data = Path("one").read_bytes()
    assert (data, chain_id(data).hex()) == (Path("two").read_bytes(), told["chain_id"])
    found = decode_genesis(data)
    assert [one.member for one in found.validators] == [one.id for one in found.members] == list(FOUR)
    assert (found.time_ms, found.grants[0].holder) == (1_793_491_200_000, "ada")
    # JSON says the same; what is there is never overwritten.
    Path("chain.json").write_text(json.dumps(told["genesis"]))
    assert run("genesis", "chain.json", "-o", "three")["chain_id"] == told["chain_id"]
    assert run("genesis", "chain.json", "-o", "one", ok=False)["error"]["code"] == "FILE"


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "missing"),
        ("[[change]]\n", "unknown field 'change'"),
        (document(members=FOUR[:3]), "allowed are 4 to 31"),
        (document().replace("threshold = 3", "threshold = 5"), "allowed are 1 to 4"),
        (document().replace(", block_bytes = 4194304", ""), "'block_bytes' is missing"),
        (document().replace("2026-11-01T00:00:00Z", "2026-11-01"), "time with its zone"),
        (document(section("grants", prefix="gs1:4012345", holder="eve")), "unknown member 'eve'"),
        (
            document(*(section("grants", prefix=f"gs1:{n}", holder="ada") for n in ("4012345", "40123456"))),
            "gs1:4012345",
        ),
        (document(section("validators", key="00" * 32, member="ada")), "no usable Ed25519 key"),
        (document().replace("time_ms", "state_version = 9\ntime_ms"), "state version 9"),
        (document().replace('"ada"', '"Ada!"'), "Ada!"),
    ],
)
def test_what_no_node_would_begin_with_is_told_and_not_written(text, said):
    Path("chain.toml").write_text(text)
    assert said in run("genesis", "chain.toml", "-o", "genesis", ok=False)["error"]["message"]
    assert not Path("genesis").exists()


def test_a_client_is_written_at_the_newest_header_with_the_admins_of_now(monkeypatch):
    world = World("a", "b")
    late = Change(put_member=PutMember(id="bob", name="Bob", admin_keys=[key_of("bob", "new")]))
    three = Change(set_parameters=SetParameters(parameters=make_parameters(governance_threshold=3)))
    assert world.govern("b", late, three).ok
    world.settle()

    @contextmanager
    def open_chain(_trust, chain):
        yield SimpleNamespace(verified=verified(world[chain]))

    monkeypatch.setattr(cli_found, "open_chain", open_chain)
    words = ("client", "--of", "b", "--id", "b-2", "--counterparty", "a-2", "-o", "client.toml")
    assert run(*words)["governance_members"] == sorted(MEMBERS["b"])
    (change,) = governance_file.read(Path("client.toml"))
    made = change.create_client
    admins = dict(zip(made.governance_members, made.governance_keys, strict=True))
    assert admins["bob"] == key_of("bob", "new")
    assert (made.chain_id, made.counterparty_client) == (world["b"].chain_id, "a-2")
    assert world.govern("a", change).ok
    assert world["a"].client("b-2").latest_height == world["b"].height
    assert run(*words, ok=False)["error"]["code"] == "FILE"


@pytest.mark.parametrize("command", ["genesis", "client"])
def test_every_command_has_help_with_an_example(command):
    result = CliRunner().invoke(APP, ["govern", command, "--help"], terminal_width=200)
    assert f"Example: chiptrace govern {command}" in " ".join(result.stdout.replace("│", " ").split())
