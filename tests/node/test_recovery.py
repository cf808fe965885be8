"""A stopped node takes exactly the recovery that is for it; a running one only says which it lacks."""

import asyncio
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from bridge.relayer_plan import Update
from client import keys
from client.relay_end import RelayEnd
from ledger import recovery
from ledger.errors import ChiptraceError, Invalid, Malformed, StoreError
from ledger.leveldb import LevelKV
from ledger.limits import RECOVERY_BYTES_MAX
from node import cli_recover, config, signer
from node.config import ClientPortConfig, ConsensusPortConfig, NodeConfig, TlsConfig
from node.recovery import (
    DIRECTORY,
    MET_MAX,
    NOTE_FILE,
    Effect,
    RecoveryWatch,
    apply,
    opened_node,
    read_all,
    standing,
)
from node.signer import Signer
from proto.chiptrace.v1.consensus_pb2 import (
    FINALIZE,
    BoundaryReply,
    JournalRecord,
    PeerMessage,
    SignedHeader,
    Vote,
)
from proto.chiptrace.v1.ledger_pb2 import Reason, RecoveryDocument
from tests.bridge import recovered as bridge_recovered
from tests.bridge.two_chains import World
from tests.client.direct import DirectConnection, DirectStub, verified
from tests.ledger import recovered
from tests.ledger.chain_fixture import Chain, key_of, make_parameters
from tests.ledger.recovered import approved, document_for

MEMBERS = ("ada", "bob", "cyd", "dee")
PARAMETERS = make_parameters(governance_threshold=3)


def make_chain(heights=3, kv=None) -> Chain:
    chain = Chain(MEMBERS, kv=kv, parameters=PARAMETERS)
    for _ in range(heights):
        chain.produce()
    return chain


CHAIN = make_chain()
GOOD = approved(CHAIN, document_for(CHAIN))


class Stopped:
    """A stopped node in a directory, with as many heights as asked for (None: it never had a database)."""

    def __init__(self, home, heights=3, data=None):
        self.config = NodeConfig(
            name="n",
            genesis=home / "genesis",
            data_dir=home / "data",
            key_dir=home / "keys",
            tls=TlsConfig(ca=home / "ca", certificate=home / "crt", private_key=home / "key"),
            clients=ClientPortConfig(listen="127.0.0.1:1"),
            consensus_port=ConsensusPortConfig(listen="127.0.0.1:2"),
        )
        self.config.data_dir.mkdir()
        self.config.genesis.write_bytes(CHAIN.genesis)
        self.key = signer.create(self.config.key_dir)
        if heights is not None:
            kv = LevelKV(self.config.data_dir / "chain")
            chain = make_chain(heights if data is None else 3, kv)
            if data is not None:
                recovered.apply(chain, data)
                chain.produce()
            kv.close()

    def kept(self):
        return read_all(self.config.data_dir)

    def refuses(self, reason, data):
        before = self.kept()
        with pytest.raises(ChiptraceError) as caught:
            apply(self.config, data)
        assert caught.value.reason == reason, str(caught.value)
        assert self.kept() == before

    def votes(self, height):
        """The node's key signs a finalize there."""
        held = Signer(self.config.key_dir)
        vote = Vote(kind=FINALIZE, height=height, view=1, block_hash=bytes(32), signature=bytes(64))
        held.append([JournalRecord(height=height), JournalRecord(vote=vote)])
        held.close()

    def with_own_key(self, **changed):
        """A recovery in which this node's key stands."""
        validators = RecoveryDocument.FromString(document_for(CHAIN)).validators
        validators[0].key = self.key
        return approved(CHAIN, document_for(CHAIN, validators=validators, **changed))


@pytest.fixture
def node(tmp_path):
    return Stopped(tmp_path)


def test_at_its_height_it_is_kept_and_in_force(node):
    opened, effect = apply(node.config, GOOD)
    assert (opened.data, effect) == (GOOD, Effect.NEXT)
    assert node.kept() == [GOOD]
    assert apply(node.config, GOOD)[1] is Effect.NEXT  # again changes nothing


@pytest.mark.parametrize("heights", [None, 0, 2])
def test_behind_its_height_it_is_kept_for_later(tmp_path, heights):
    node = Stopped(tmp_path, heights)
    assert apply(node.config, GOOD)[1] is Effect.LATER
    assert node.kept() == [GOOD]


def test_past_a_height_that_the_old_validators_decided_it_would_fork(tmp_path):
    Stopped(tmp_path, 4).refuses(Reason.RECOVERY_CONFLICT, GOOD)


def test_gone_through_it_is_kept_for_the_day_the_database_is_lost(tmp_path):
    node = Stopped(tmp_path, data=GOOD)
    assert apply(node.config, GOOD)[1] is Effect.PAST
    node.refuses(Reason.RECOVERY_CONFLICT, approved(CHAIN, document_for(CHAIN, salt="two")))


def test_what_is_not_for_it_is_refused(node):
    few = approved(CHAIN, document_for(CHAIN), MEMBERS[:2])
    node.refuses(Reason.NOT_ENOUGH_APPROVALS, few)
    node.refuses(Reason.BAD_RECOVERY, approved(CHAIN, document_for(CHAIN, block_hash=bytes(32))))
    node.refuses(Reason.BAD_RECOVERY, approved(CHAIN, document_for(CHAIN, app_hash=bytes(32))))
    node.refuses(Reason.WRONG_CHAIN, approved(CHAIN, document_for(CHAIN, chain_id=bytes(32))))
    node.refuses(Reason.OVERSIZE, bytes(RECOVERY_BYTES_MAX + 1))
    node.refuses(Reason.MALFORMED, GOOD + b"\x00")


def test_of_another_chain_also_while_it_is_behind(tmp_path):
    node = Stopped(tmp_path, None)
    node.refuses(Reason.WRONG_CHAIN, approved(CHAIN, document_for(CHAIN, chain_id=bytes(32))))


def test_a_running_node_is_left_alone(node):
    running = LevelKV(node.config.data_dir / "chain")
    with pytest.raises(StoreError, match="stop the node"):
        apply(node.config, GOOD)
    running.close()
    assert node.kept() == []


def test_a_database_of_another_chain(node):
    node.config.genesis.write_bytes(Chain(MEMBERS, name="other").genesis)
    node.refuses(Reason.WRONG_CHAIN, GOOD)
    with pytest.raises(ChiptraceError), opened_node(node.config):
        pass


# ---- another decision for the same height ---------------------------------------------------------------------------


def second(first=GOOD, salt="two", **changed):
    return approved(CHAIN, document_for(CHAIN, salt=salt, **changed))


def name_of(data):
    return recovery.decode(data).hash


def test_another_one_is_refused(node):
    apply(node.config, GOOD)
    node.refuses(Reason.RECOVERY_CONFLICT, second())
    node.refuses(Reason.RECOVERY_CONFLICT, second(replaces=bytes(32)))


def test_the_same_document_with_more_approvals_is_the_same(node):
    apply(node.config, approved(CHAIN, document_for(CHAIN), MEMBERS[:3]))
    apply(node.config, GOOD)
    assert node.kept() == [GOOD]


def test_one_that_says_so_takes_its_place_with_other_keys(node):
    apply(node.config, GOOD)
    node.refuses(Reason.RECOVERY_CONFLICT, second(salt="fresh", replaces=name_of(GOOD), reason="other"))
    better = second(replaces=name_of(GOOD))
    assert apply(node.config, better)[1] is Effect.NEXT
    assert node.kept() == [better]
    node.refuses(Reason.RECOVERY_CONFLICT, GOOD)


# ---- this node's key -------------------------------------------------------------------------------------------------


def test_a_key_that_voted_above_is_no_fresh_one(node):
    data = node.with_own_key()
    node.votes(3)  # as a key of another chain might, below
    apply(node.config, data)
    (node.config.data_dir / DIRECTORY / f"{3:020}.recovery").unlink()
    (node.config.key_dir / NOTE_FILE).unlink()
    node.votes(4)
    node.refuses(Reason.BAD_RECOVERY, data)
    assert apply(node.config, GOOD)[1] is Effect.NEXT  # it does not vote there


def test_a_key_that_voted_under_it_may_go_on_after_its_data_was_lost(node):
    data = node.with_own_key()
    apply(node.config, data)
    node.votes(4)
    (node.config.data_dir / DIRECTORY / f"{3:020}.recovery").unlink()
    assert apply(node.config, data)[1] is Effect.NEXT
    # Not under another one, although nothing here remembers the first but the key's own directory.
    (node.config.data_dir / DIRECTORY / f"{3:020}.recovery").unlink()
    node.refuses(Reason.BAD_RECOVERY, node.with_own_key(reason="another"))


def test_a_new_key_is_not_bound_by_what_the_old_one_did(node):
    apply(node.config, node.with_own_key())
    node.votes(4)
    first = name_of(node.kept()[0])
    _, node.key = signer.retire_and_create(node.config.key_dir)
    validators = RecoveryDocument.FromString(document_for(CHAIN, salt="two")).validators
    validators[0].key = node.key
    apply(node.config, second(validators=validators, replaces=first))


# ---- by command -----------------------------------------------------------------------------------------------------------


def command(node, *words):
    path = node.config.data_dir.parent / "node.toml"
    if not path.exists():
        config.write(path, node.config)
    ended = CliRunner().invoke(cli_recover.recover, [*map(str, words), "--config", str(path), "--json"])
    return ended.exit_code, json.loads(ended.output.splitlines()[-1])


def test_status_tells_where_it_stands_and_what_may_be_final_above(node):
    code, told = command(node, "status")
    assert (code, told["height"], told["may_be_final"]) == (0, 3, [])
    assert told["block_hash"] == CHAIN.info.block_hash.hex()
    assert told["app_hash"] == CHAIN.info.app_hash.hex()
    node.votes(3)
    assert command(node, "status")[1]["may_be_final"] == []
    node.votes(4)
    assert command(node, "status")[1]["may_be_final"] == [bytes(32).hex()]
    apply(node.config, GOOD)
    assert command(node, "status")[1]["recoveries"] == [{"height": 3, "document": name_of(GOOD).hex()}]


def test_what_may_be_final_is_told_of_keys_retired_since(node):
    """docs/recovery.md rotates keys before the document is drawn up."""
    node.votes(4)
    signer.retire_and_create(node.config.key_dir)
    assert command(node, "status")[1]["may_be_final"] == [bytes(32).hex()]


def test_propose_refuses_what_the_chain_would_refuse(node, tmp_path):
    validators = RecoveryDocument.FromString(document_for(CHAIN)).validators
    words = [word for item in validators for word in ("--validator", f"{item.member}={item.key.hex()}")]
    out = tmp_path / "document"
    rest = ("--reason", "fire", "-o", out)
    code, told = command(node, "propose", *words, *rest)
    assert (code, told["height"], told["members_needed"], told["reason"]) == (0, 3, 3, "fire")
    signed = approved(CHAIN, out.read_bytes(), MEMBERS[:3])
    assert apply(node.config, signed)[1] is Effect.NEXT
    out.unlink()
    for wrong, reason in (
        ([*words[:6]], "BAD_VALIDATORS"),
        ([*words[:7], f"dee={key_of('dee', 'validator').hex()}"], "BAD_CHANGE"),
        ([*words[:7], "eve=" + words[7].partition("=")[2]], "UNKNOWN_MEMBER"),
        ([*words[:7], "dee"], "MALFORMED"),
        ([*words[:7], "dee=12"], "MALFORMED"),
        ([*words, "--replaces", "12"], "MALFORMED"),
    ):
        code, told = command(node, "propose", *wrong, *rest)
        assert (code, told["error"]["code"]) == (2, reason)
        assert not out.exists()


def test_an_empty_node_has_nothing_to_go_on_from(tmp_path):
    node = Stopped(tmp_path, None)
    assert command(node, "status")[1]["error"]["code"] == "NOT_FOUND"


# ---- files --------------------------------------------------------------------------------------------------------------


def test_a_damaged_file_stops_the_node_and_is_named(node):
    apply(node.config, GOOD)
    path = node.config.data_dir / DIRECTORY / f"{3:020}.recovery"
    path.write_bytes(GOOD[:-1])
    with pytest.raises(Malformed, match=str(path)):
        read_all(node.config.data_dir)


def test_nothing_was_given(tmp_path):
    assert read_all(tmp_path) == []


def test_the_key_file_is_the_one_that_is_looked_at(node):
    assert keys.public_key(node.config.key_dir / signer.KEY_FILE) == node.key


# ---- a running node -------------------------------------------------------------------------------------------------------


class Watched:
    """A watch over a chain that stands at height 3, and what it passed on."""

    def __init__(self, chain=CHAIN):
        self.chain = chain
        self.passed = []
        host = SimpleNamespace(info=chain.info, read=self.read)
        self.host = host
        self.watch = RecoveryWatch(host, self.receive)
        self.questions = 0

    async def read(self, question):
        self.questions += 1
        return question(self.chain.app.store)

    async def receive(self, sender, message):
        self.passed.append(message)

    def hears(self, *recoveries, sender=b"p" * 32):
        headers = [SignedHeader(header=b"h", recovery=data) for data in recoveries]
        message = PeerMessage(boundary_reply=BoundaryReply(headers=headers))
        asyncio.run(self.watch.receive(sender, message))
        assert self.passed[-1] is message


def test_it_says_which_recovery_it_lacks(caplog):
    watched = Watched()
    watched.hears(b"", GOOD)
    assert watched.watch.lacked() == name_of(GOOD)
    assert name_of(GOOD).hex() in str(vars(caplog.records[-1]))
    assert "ada, bob, cyd, dee" in str(vars(caplog.records[-1]))
    watched.hears(GOOD, sender=b"q" * 32)
    assert len(caplog.records) == 1


def test_it_believes_no_peer_that_has_no_approvals():
    watched = Watched()
    few = approved(CHAIN, document_for(CHAIN), MEMBERS[:2])
    for number, data in enumerate([few, b"\x01", GOOD + b"\x00", GOOD[:-1]]):
        watched.hears(data, sender=bytes([number]) * 32)
    assert watched.watch.lacked() == b""


def test_another_height_is_not_what_it_lacks():
    ahead = make_chain(5)
    watched = Watched()
    watched.hears(approved(ahead, document_for(ahead)))
    assert (watched.watch.lacked(), watched.questions) == (b"", 0)


def test_once_it_moves_on_or_has_one_it_lacks_nothing():
    chain = make_chain()
    watched = Watched(chain)
    watched.hears(approved(chain, document_for(chain)))
    assert watched.watch.lacked()
    opened = recovered.apply(chain, GOOD)
    watched.host.info = chain.info
    assert watched.watch.lacked() == b""
    chain.produce()
    watched.host.info = chain.info
    assert (watched.watch.lacked(), opened.data) == (b"", GOOD)


def test_a_peer_costs_one_look_a_second():
    watched = Watched()

    async def flood(sender, count):
        for number in range(count):
            few = approved(CHAIN, document_for(CHAIN, signed_ms=number + 1), MEMBERS[:1])
            reply = BoundaryReply(headers=[SignedHeader(recovery=few)])
            await watched.watch.receive(sender, PeerMessage(boundary_reply=reply))

    asyncio.run(flood(b"p" * 32, 50))
    assert watched.questions == 1
    # What many make up does not hide what one honest peer shows.
    for number in range(MET_MAX + 20):
        few = approved(CHAIN, document_for(CHAIN, signed_ms=1_000 + number), MEMBERS[:1])
        watched.hears(few, sender=number.to_bytes(32, "big"))
    watched.hears(GOOD, sender=b"q" * 32)
    assert watched.watch.lacked() == name_of(GOOD)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_no_flipped_byte_is_taken_for_what_it_lacks(place, flip):
    flipped = bytearray(GOOD)
    flipped[place] ^= flip
    watched = Watched()
    watched.hears(bytes(flipped))
    assert watched.watch.lacked() == b""


# ---- the relayer ----------------------------------------------------------------------------------------------------------


def test_a_relayer_brings_nothing_of_behind_a_recovery():
    world = World("a", "b")
    chain = world["a"]
    chain.produce()
    height = chain.height
    connection = DirectConnection(DirectStub(chain))
    trust = replace(verified(chain).trust, endpoints=(connection.endpoint, "another-node"))
    end = RelayEnd(trust, connection, bytes(32), "b-1", "a-1")
    below = end._headers(Update("a-1", 1, height))
    assert [item.certificate.height for item in below] == [height]
    bridge_recovered.recover(chain)
    with pytest.raises(Invalid) as caught:
        end._headers(Update("a-1", 1, height + 1))
    assert caught.value.reason == Reason.RECOVERED
    assert connection.endpoint == "another-node"  # is asked next


def test_where_it_stands_is_what_a_document_is_drawn_up_for():
    here = standing(CHAIN.info)
    assert recovery.preview(CHAIN.app.store, here, recovery.decode(GOOD)).height == 3
