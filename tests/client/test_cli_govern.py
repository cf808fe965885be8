"""Members change their rules by files and commands; a real chain's rules stand behind, without a node."""

import json
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from client import cli_govern, keys, trust
from client.governance_file import section
from client.session import ChainSession
from client.submit import Recorded
from client.trust import ChainTrust, Identity, Trust
from ledger import codec, hashes, joining
from ledger.errors import Refused
from proto.chiptrace.v1.ledger_pb2 import (
    Change,
    GovernanceProposal,
    PutKey,
    Reason,
    RevokeKey,
    Role,
    SetValidators,
    Signature,
    Validator,
)
from tests.bridge.two_chains import MEMBERS, World
from tests.client.direct import verified
from tests.ledger.chain_fixture import key_of, seed_of

APP = typer.Typer()
cli_govern.register(APP)
SEED = b"j" * 32
KEY = hashes.public_key(SEED)
COMMANDS = ("key", "propose", "show", "sign", "submit", "current")


def run(*words, ok=True):
    result = CliRunner().invoke(APP, ["govern", *map(str, words), "--json"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    told = json.loads(result.stdout)
    assert ("error" not in told) == ok, told
    return told if ok else f"{told['error']['code']}: {told['error']['message']}"


def joins(*members):
    chosen = [Validator(key=key_of(name, "validator"), member=name) for name in members]
    return [
        Change(put_key=PutKey(key=KEY, member="ann", role=Role.VALIDATOR)),
        Change(set_validators=SetValidators(validators=[*chosen, Validator(key=KEY, member="ann")])),
    ]


@pytest.fixture
def chain(tmp_path, monkeypatch):
    """The commands see chain a through its proofs; what they submit is a block of its own."""
    monkeypatch.chdir(tmp_path)
    world = World("a", "b")
    chain = world["a"]
    chain.produce()
    chain.seeds[KEY] = SEED
    known = [
        ChainTrust(one.name, one.chain_id, ("n:1",), tmp_path / "ca", 1_000) for one in (chain, world["b"])
    ]
    identities = [
        Identity(one.name, "ada", tmp_path / "key", tmp_path / "crt", tmp_path / "tls", "operator")
        for one in known
    ]
    trust.write(tmp_path / "trust.json", Trust(tuple(known), tuple(identities)))
    monkeypatch.setenv("CHIPTRACE_TRUST", str(tmp_path / "trust.json"))
    monkeypatch.setattr(cli_govern, "now_ms", lambda: chain.info.time_ms)
    for member in MEMBERS["a"]:
        path = tmp_path / f"{member}.key"
        path.touch(0o600)
        path.write_text(f"{keys.HEADER} {seed_of(member, 'admin').hex()}\n")

    class Session(ChainSession):
        def submitter(self):
            def submit(operations, _key):
                result = chain.operate("ada", *operations)
                if not result.ok:
                    raise Refused("refused", result.reason)
                return Recorded(result.transaction, chain.height, 0, result.reason)

            return SimpleNamespace(submit=submit)

    @contextmanager
    def opened(_path, name, _member=""):
        one = world[name]
        one.settle()
        view = verified(one)
        yield Session(view.trust, None, view.connection, view)

    monkeypatch.setattr(cli_govern, "open_chain", opened)
    return chain


def propose(*changes, name="p", chain="a"):
    Path("change.toml").write_text("\n".join(map(section, changes)), encoding="utf-8")
    return run("propose", "change.toml", "-o", name, "--chain", chain)


def approve(*members, name="p"):
    for member in members:
        run("sign", name, "--key", f"{member}.key", "-o", f"{name}.{member}")
    return [f"{name}.{member}" for member in members]


def prove(chain, seed=SEED, name="join", **changed):
    chain.produce()
    proof = chain.join_proof(seed)
    for field, value in changed.items():
        setattr(proof, field, value)
    Path(name).write_bytes(codec.encode(proof))
    return name


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command):
    result = CliRunner().invoke(APP, ["govern", command, "--help"], terminal_width=200)
    assert f"Example: chiptrace govern {command} " in " ".join(result.stdout.replace("│", " ").split())
    assert "--json" in result.stdout


def test_from_a_file_to_a_changed_chain(chain):
    made = propose(*joins(*MEMBERS["a"]))
    assert [change["kind"] for change in made["changes"]] == ["put_key", "set_validators"]
    approvals = approve("ada", "abe", "amy")
    seen = run("show", "p", *approvals, "--chain", "a")["preview"]
    assert (seen["refused"], seen["joining"], seen["approved"]) == ("", [KEY.hex()], ["abe", "ada", "amy"])
    assert "validators: 4 -> 5, of which 4 are a quorum" in seen["differences"]
    assert f"validator ann {KEY.hex()} joins" in seen["differences"]
    assert f"new key {KEY.hex()}" in seen["differences"]
    assert "JOIN_PROOF_MISSING" in run("submit", "p", *approvals, "--chain", "a", "--as", "ada", ok=False)
    assert len(chain.info.next_validators.validators) == 4
    done = run("submit", "p", *approvals, "--join-proof", prove(chain), "--chain", "a", "--as", "ada")
    assert done["proposal"] == made["proposal"]
    assert [validator.key for validator in chain.info.next_validators.validators][-1] == KEY
    assert "carried out at height" in run_show_refused("p")
    assert "PROPOSAL_REPEATED" in run(
        "submit", "p", *approvals, "--join-proof", prove(chain), "--chain", "a", "--as", "ada", ok=False
    )


def test_the_preview_tells_what_the_chain_would_refuse(chain):
    propose(Change(revoke_key=RevokeKey(key=key_of("ada", "validator"))))
    result = CliRunner().invoke(APP, ["govern", "show", "p", "--chain", "a", "--json"])
    assert result.exit_code == 1
    seen = json.loads(result.stdout)["preview"]
    assert seen["refused"].startswith("change 1: BAD_CHANGE: key ")
    assert (seen["differences"], seen["approved"]) == ([], [])
    text = CliRunner().invoke(APP, ["govern", "show", "p", "--chain", "a"])
    assert text.exit_code == 1


def test_the_preview_tells_that_the_time_is_over(chain):
    propose(*joins(*MEMBERS["a"]))
    chain.clock.now_ms += 4 * 86_400_000
    chain.produce()
    assert "PROPOSAL_EXPIRED" in run_show_refused("p")


def test_the_present_state_is_a_change_file_that_changes_nothing(chain):
    text = CliRunner().invoke(APP, ["govern", "current", "--chain", "a"]).stdout
    Path("now.toml").write_text(text, encoding="utf-8")
    made = run("propose", "now.toml", "-o", "now", "--chain", "a")
    told = run("current", "--chain", "a")
    assert made["changes"] == told["change"]
    seen = run_show_refused("now")
    assert "NOTHING_TO_DO" in seen


def run_show_refused(name):
    result = CliRunner().invoke(APP, ["govern", "show", name, "--chain", "a", "--json"])
    return json.loads(result.stdout)["preview"]["refused"]


def test_signing_asks_nobody_and_never_writes_over(chain, monkeypatch):
    propose(*joins(*MEMBERS["a"]))
    monkeypatch.delenv("CHIPTRACE_TRUST")
    monkeypatch.setattr(cli_govern, "open_chain", None)
    monkeypatch.setattr(trust, "read", None)
    told = run("sign", "p", "--key", "ada.key", "-o", "p.ada")
    assert told["approvals"] == [key_of("ada", "admin").hex()]
    before = Path("p.ada").read_bytes()
    assert "FILE: p.ada" in run("sign", "p", "--key", "abe.key", "-o", "p.ada", ok=False)
    assert Path("p.ada").read_bytes() == before
    assert CliRunner().invoke(APP, ["govern", "show", "p", "p.ada"]).exit_code == 0


def test_a_key_is_made_once(chain):
    made = run("key", "new.key")
    assert made["key"] == keys.public_key(Path("new.key")).hex()
    assert "FILE" in run("key", "new.key", ok=False)


def test_a_proposal_is_unlike_any_other_and_for_its_chain(chain):
    first = propose(*joins(*MEMBERS["a"]))
    second = propose(*joins(*MEMBERS["a"]), name="q")
    assert first["proposal"] != second["proposal"]
    assert "FILE" in run("propose", "change.toml", "-o", "p", "--chain", "a", ok=False)
    propose(*joins(*MEMBERS["a"]), name="b", chain="b")
    approvals = approve("ada", name="b")
    assert "is for chain" in run("submit", "b", *approvals, "--chain", "a", "--as", "ada", ok=False)
    assert "is for chain" in run("show", "b", "--chain", "a", ok=False)


def test_files_that_are_not_what_they_should_be(chain):
    made = propose(*joins(*MEMBERS["a"]))
    good = Path("p").read_bytes()
    content = GovernanceProposal.FromString(good)
    for bad in (b"", b"\xff", good + b"\0", good[:-1], b"x" * 300_000):
        Path("bad").write_bytes(bad)
        assert "bad" in run("show", "bad", ok=False)
    for change in ({"chain_id": b"x"}, {"nonce": b"x"}):
        other = GovernanceProposal.FromString(good)
        for name, value in change.items():
            setattr(other, name, value)
        Path("bad").write_bytes(codec.encode(other))
        assert "wrong length" in run("show", "bad", ok=False)
    del content.changes[:]
    Path("bad").write_bytes(codec.encode(content))
    assert "it has 0 changes" in run("show", "bad", ok=False)
    assert "FILE" in run("show", "none", ok=False)
    assert made["changes"]


def test_an_approval_that_is_not_of_this_proposal(chain):
    propose(*joins(*MEMBERS["a"]))
    propose(*joins(*MEMBERS["a"]), name="q")
    (other,) = approve("ada", name="q")
    on = ("--chain", "a", "--as", "ada")
    assert "does not approve p" in run("submit", "p", other, *on, ok=False)
    Path("bad").write_bytes(codec.encode(Signature(key=key_of("ada", "admin"), signature=bytes(64))))
    assert "does not approve p" in run("submit", "p", "bad", *on, ok=False)
    Path("bad").write_bytes(b"x" * 2_000)
    assert "larger than 1024" in run("submit", "p", "bad", *on, ok=False)
    assert "p is " in run("submit", "p", "p", *on, ok=False)


def test_a_join_proof_that_is_not_of_this_proposal(chain):
    propose(*joins(*MEMBERS["a"]))
    approvals = approve("ada", "abe")
    on = (*approvals, "--chain", "a", "--as", "ada", "--join-proof")
    assert "WRONG_CHAIN: elsewhere" in run(
        "submit", "p", *on, prove(chain, name="elsewhere", chain_id=bytes(32)), ok=False
    )
    assert "BAD_SIGNATURE: forged" in run("submit", "p", *on, prove(chain, name="forged", height=1), ok=False)
    stranger = prove(chain, b"o" * 32, name="stranger")
    assert "makes no validator" in run("submit", "p", *on, stranger, ok=False)
    assert "is not a join proof" in run("submit", "p", *on, approvals[0], ok=False)
    # The chain itself judges the rest: a height it has not decided, signed by the right key.
    ahead = joining.prove(chain.chain_id, 10**6, bytes(32), KEY, lambda data: hashes.sign_raw(SEED, data))
    Path("ahead").write_bytes(codec.encode(ahead))
    assert Reason.Name(Reason.JOIN_PROOF_MISMATCH) in run("submit", "p", *on, "ahead", ok=False)
    assert len(chain.info.next_validators.validators) == 4
