"""Who gives the proof with which a validator joins: a node whose key may vote, is not in the set, and has a block."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from consensus.effects import EngineSettings
from ledger import codec, genesis, joining
from ledger.errors import ChiptraceError, Refused
from node import join_proof, signer
from node.config import ClientPortConfig, ConsensusPortConfig, NodeConfig, TlsConfig
from node.driver import Driver
from node.node_status import NodeStatus
from node.signer import Signer
from node.verifier import Verifier
from proto.chiptrace.v1.ledger_pb2 import JoinProof, Validator, ValidatorSet
from proto.chiptrace.v1.node_pb2 import StatusReply
from tests.ledger.chain_fixture import HEARTBEAT_MS, make_genesis, make_parameters

CHAIN = b"c" * 32
NOW_MS = 1_000_000
OTHERS = ValidatorSet(validators=[Validator(member="m", key=bytes([index]) * 32) for index in range(4)])


@pytest.fixture
def own(tmp_path):
    signer.create(tmp_path / "keys")
    made = Signer(tmp_path / "keys")
    yield made
    made.close()


def info(height=7, validators=OTHERS):
    return SimpleNamespace(
        chain_id=CHAIN,
        name="n",
        height=height,
        time_ms=NOW_MS,
        parameters=make_parameters(),
        block_hash=b"b" * 32,
        validators=OTHERS,
        next_validators=validators,
    )


def test_the_proof_is_of_the_tip_and_by_the_key(own):
    proof = join_proof.made(info(), own, NOW_MS)
    joining.check_signature(CHAIN, proof)
    assert (proof.height, proof.block_hash, proof.key) == (7, b"b" * 32, own.key)
    with pytest.raises(Refused):
        joining.check_signature(b"d" * 32, proof)


def test_a_key_that_need_not_or_must_not_join_gives_none(own, tmp_path):
    with_own = ValidatorSet(validators=[*OTHERS.validators, Validator(member="m", key=own.key)])
    assert join_proof.made(info(validators=with_own), own, NOW_MS) is None
    assert join_proof.made(info(height=0), own, NOW_MS) is None
    # No key, or one without its signing record: it must not vote, so it must not join.
    assert join_proof.made(info(), Signer(tmp_path / "none"), NOW_MS) is None
    signer.create(tmp_path / "lost")
    (tmp_path / "lost" / signer.RECORD_FILE).unlink()
    lost = Signer(tmp_path / "lost")
    assert join_proof.made(info(), lost, NOW_MS) is None
    lost.close()


def test_a_key_whose_record_speaks_of_a_later_height_gives_none(own, monkeypatch):
    monkeypatch.setattr(own, "_last_height", 9)
    assert join_proof.made(info(height=7), own, NOW_MS) is None
    assert join_proof.made(info(height=8), own, NOW_MS) is not None


def test_a_node_whose_tip_is_old_gives_none_whatever_it_believes(own):
    limit = NOW_MS + 3 * HEARTBEAT_MS + 5_000
    assert join_proof.made(info(), own, limit) is not None
    assert join_proof.made(info(), own, limit + 1) is None


@pytest.mark.parametrize(("behind", "reached", "given"), [(0, 3, True), (3, 3, False), (0, 2, False)])
def test_only_a_node_in_step_gives_its_word(own, run, behind, reached, given):
    """Three of four are a quorum, itself not counted: its key is in no set."""

    async def scenario():
        async def header(_height):
            return StatusReply().head

        host = SimpleNamespace(info=info(), served=None, header=header, base=1)
        peers = SimpleNamespace(
            connected=lambda: frozenset(validator.key for validator in OTHERS.validators[:reached])
        )
        verifier = Verifier(b"", 0)
        driver = Driver(host, [], own, EngineSettings(), SimpleNamespace(), verifier)
        driver._engine = SimpleNamespace(view=3, behind=behind)
        status = NodeStatus(
            host,
            [],
            driver,
            peers,
            own,
            verifier,
            b"genesis",
            lambda now: join_proof.made(now, own, NOW_MS),
        )
        reply = await status.reply()
        assert reply.synced == given
        assert reply.HasField("join_proof") == given

    run(scenario())


# ---- who asks


@pytest.fixture
def config(tmp_path, own):
    data = codec.encode(make_genesis())
    (tmp_path / "genesis").write_bytes(data)
    tls = TlsConfig(ca=tmp_path / "ca", certificate=tmp_path / "crt", private_key=tmp_path / "key")
    return NodeConfig(
        name="n",
        genesis=tmp_path / "genesis",
        data_dir=tmp_path / "data",
        key_dir=tmp_path / "keys",
        tls=tls,
        clients=ClientPortConfig(listen="127.0.0.1:1"),
        consensus_port=ConsensusPortConfig(listen="127.0.0.1:2"),
    )


def asked(config, monkeypatch, own, **changed):
    """What comes of the answer of a node that gives its proof, but for what is changed."""
    chain_id = genesis.chain_id(config.genesis.read_bytes())
    now = replace_info(chain_id)
    reply = StatusReply(chain_id=chain_id, synced=True, height=7, validators=4)
    proof = changed.pop("proof", join_proof.made(now, own, NOW_MS))
    if proof is not None:
        reply.join_proof.CopyFrom(proof)
    for name, value in changed.items():
        setattr(reply, name, value)
    monkeypatch.setattr(join_proof, "_status", lambda _config: reply)
    return join_proof.asked(config)


def replace_info(chain_id):
    now = info()
    now.chain_id = chain_id
    return now


def test_a_proof_is_checked_before_it_is_passed_on(config, monkeypatch, own, tmp_path):
    assert asked(config, monkeypatch, own).key == own.key
    with pytest.raises(ChiptraceError, match="follows chain"):
        asked(config, monkeypatch, own, chain_id=bytes(32))
    signer.create(tmp_path / "other")
    other = Signer(tmp_path / "other")
    now = replace_info(genesis.chain_id(config.genesis.read_bytes()))
    foreign = join_proof.made(now, other, NOW_MS)
    other.close()
    with pytest.raises(ChiptraceError, match="was started with the key"):
        asked(config, monkeypatch, own, proof=foreign)
    forged = JoinProof()
    forged.CopyFrom(foreign)
    forged.key = own.key
    with pytest.raises(ChiptraceError, match="not signed by the key"):
        asked(config, monkeypatch, own, proof=forged)


def test_why_there_is_no_proof(config, monkeypatch, own):
    with pytest.raises(ChiptraceError, match="not in step: it stands at height 7 and reaches 0 of 4"):
        asked(config, monkeypatch, own, proof=None, synced=False)
    with pytest.raises(ChiptraceError, match="cannot join now: lost"):
        asked(config, monkeypatch, own, proof=None, not_voting="lost")
    with pytest.raises(ChiptraceError, match="in the newest validator set"):
        asked(config, monkeypatch, own, proof=None, index=-1)
    with pytest.raises(ChiptraceError, match="it needs no proof"):
        asked(config, monkeypatch, own, proof=None, index=0)
    with pytest.raises(ChiptraceError, match="chiptrace node key"):
        join_proof.asked(replace(config, key_dir=config.key_dir / "none"))
    with pytest.raises(ChiptraceError, match="cannot be read"):
        join_proof.asked(replace(config, genesis=config.genesis / "none"))


def test_a_node_that_does_not_run_is_named(config):
    with pytest.raises(ChiptraceError, match="cannot be read"):
        join_proof.asked(config)


@pytest.mark.parametrize(
    ("listen", "called"),
    [
        ("0.0.0.0:7", "127.0.0.1:7"),
        ("[::]:7", "[::1]:7"),
        ("10.0.0.1:7", "10.0.0.1:7"),
        ("node.fab.example:7", "node.fab.example:7"),
    ],
)
def test_a_port_on_every_address_is_called_on_this_machine(listen, called):
    assert join_proof.dialled(listen) == called
