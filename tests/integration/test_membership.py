"""A member joins with a validator, a dead validator is removed, a key is rotated: by the commands that members use.

One chain of four, alone in this module; the tests stand in the order of the story and each goes on from the last.
"""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from client import governance, keys
from client import trust as trust_file
from client.clock import OFFSET_VARIABLE, now_ms
from client.connection import Connection, NoAnswer, NodeRefused
from client.governance_file import section
from client.submit import Submitter
from consensus.certificate import signers
from ledger import codec, hashes, joining
from ledger.block import block_hash as block_hash_of
from ledger.block import decode_block
from ledger.errors import Refused
from ledger.limits import JOIN_PROOF_AGE_MS_MAX
from node import certificates, config, testnet_layout
from node.config import NodeConfig, PeerConfig
from node.processes import Processes
from node.testnet import Testnet
from node.testnet_plan import one_chain
from proto.chiptrace.v1.ledger_pb2 import (
    Change,
    JoinProof,
    PutKey,
    PutMember,
    Reason,
    RevokeKey,
    Role,
    SetValidators,
    Validator,
)
from proto.chiptrace.v1.node_pb2 import BlockAtRequest, StatusRequest
from tests.integration.testbed import Ended
from tests.node.network import until

pytestmark = pytest.mark.processes
ROOT = Path(__file__).resolve().parents[2]
CHAIN = "chipmaker"
FOUR = ("siliconfab", "moduleworks", "testlab", "chipdist")
FAB = "newfab"
LATER_MS = JOIN_PROOF_AGE_MS_MAX + 60_000


class Consortium:
    """The chain, its nodes, and members who act through commands."""

    def __init__(self, home: Path):
        self.home = home
        self.directory = home / ".chiptrace"
        self.offset_ms = 0  # of all clocks
        self.network = Testnet(self.directory).up(None, [], lambda _: None, one_chain(len(FOUR)))
        self.processes = Processes(self.directory)
        self.trust = trust_file.read(self.network.trust_file)
        self.chain = self.trust.chain(CHAIN)
        self.identity = self.trust.identity(CHAIN, FOUR[0], "operator")

    # ---- people

    def chiptrace(self, *words) -> Ended:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), OFFSET_VARIABLE: str(self.offset_ms)}
        ended = subprocess.run(
            [sys.executable, "-m", "node.cli", *map(str, words)],
            cwd=self.home,
            env=environment,
            capture_output=True,
            timeout=90,
            check=False,
            text=True,
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    def done(self, *words) -> dict:
        ended = self.chiptrace(*words, "--json")
        assert ended.code == 0, (words, ended)
        return ended.json

    def refused(self, *words) -> str:
        ended = self.chiptrace(*words, "--json")
        assert ended.code, ended
        return ended.json["error"]["code"]

    def approved(self, name: str, *changes: Change, by=FOUR[:3]) -> list[str]:
        """The proposal and its approvals, as files."""
        (self.home / f"{name}.toml").write_text("\n".join(map(section, changes)))
        self.done("govern", "propose", f"{name}.toml", "-o", name, "--chain", CHAIN)
        for member in by:
            key = self.network.member_directory(CHAIN, member) / "admin.key"
            self.done("govern", "sign", name, "--key", key, "-o", f"{name}.{member}")
        return [name, *(f"{name}.{member}" for member in by)]

    def submit(self, files, *more) -> dict:
        return self.done("govern", "submit", *files, *more, "--chain", CHAIN, "--as", FOUR[0])

    def send(self, files, *proofs: JoinProof) -> "Reason.ValueType":
        """What the chain says of an approved proposal with these very proofs, whatever they are."""
        proposal = governance.read_proposal(self.home / files[0])
        approvals = [governance.read_approval(self.home / name, proposal) for name in files[1:]]
        operation = governance.operation(proposal, approvals, proofs)
        with closing(Connection(self.chain, self.identity)) as connection:
            submitter = Submitter(self.chain, self.identity, connection, lambda: now_ms() + self.offset_ms)
            try:
                submitter.submit([operation], hashes.sha256(codec.encode(operation))[:16])
            except Refused as error:
                return error.reason
        return Reason.REASON_UNSPECIFIED

    # ---- nodes

    def name(self, member: str) -> str:
        return f"{CHAIN}-{member}"

    def place(self, member: str) -> Path:
        return self.network.node_directory(self.name(member))

    def config_file(self, member: str) -> Path:
        return self.place(member) / "node.toml"

    def config(self, member: str) -> NodeConfig:
        return config.read(self.config_file(member), NodeConfig)

    def start(self, *members: str) -> None:
        for member in members:
            arguments = ["node", "run", "--config", str(self.config_file(member))]
            environment = {OFFSET_VARIABLE: str(self.offset_ms)}
            log = self.place(member) / "log.jsonl"
            self.processes.start(self.name(member), arguments, log, environment=environment)

    def stop(self, *members: str) -> None:
        self.processes.stop([self.name(member) for member in members])

    def key(self, member: str) -> bytes:
        return keys.public_key(self.config(member).key_dir / "validator.key")

    def entry(self, member: str) -> PeerConfig:
        mine = self.config(member)
        pin = certificates.pin(mine.tls.certificate.read_bytes())
        address = mine.consensus_port.listen
        return PeerConfig(member=member, key=self.key(member).hex(), address=address, pin=pin)

    def introduce(self, member: str, *others: str) -> None:
        """Others put the member's entry into their files and tell their nodes to read them again."""
        entry = self.entry(member)
        for other in others:
            theirs = self.config(other)
            peers = (*(peer for peer in theirs.peers if peer.member != member), entry)
            config.write(self.config_file(other), dataclasses.replace(theirs, peers=peers))
            process = self.processes.running().get(self.name(other))
            if process is not None:
                os.kill(process.pid, signal.SIGHUP)

    def ask(self, member: str, method, request):
        with closing(Connection(self.chain, self.identity, self.config(member).clients.listen)) as connection:
            return connection.call(method, request, 2.0)

    def status(self, member: str):
        try:
            return self.ask(member, lambda stub: stub.GetStatus, StatusRequest())
        except (NoAnswer, NodeRefused):
            return None

    def in_step(self, *members: str, seconds=90) -> None:
        for member in members:
            until(lambda member=member: (found := self.status(member)) and found.synced, seconds)

    def height(self) -> int:
        return self.status(FOUR[0]).height

    def grows(self, by: int = 3) -> None:
        target = self.height() + by
        until(lambda: self.height() >= target)

    def signed(self, height: int, validators: int) -> tuple[int, ...]:
        """Who signed a height, by index."""
        reply = self.ask(FOUR[0], lambda stub: stub.GetBlock, BlockAtRequest(height=height))
        return signers(reply.certificate, validators)

    def votes(self, index: int, validators: int) -> None:
        """Waits for a certificate that carries this validator's signature."""
        until(lambda: index in self.signed(self.height(), validators))


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    found = Consortium(tmp_path_factory.mktemp("membership"))
    try:
        yield found
    finally:
        found.processes.stop(list(found.processes.running()))


def validator(group, member) -> Validator:
    return Validator(key=group.key(member), member=member)


def set_of(group, *members) -> Change:
    return Change(set_validators=SetValidators(validators=[validator(group, member) for member in members]))


def prove(group, seed, chain_id=None, height=0, block_hash=None) -> JoinProof:
    """A proof such as a node makes, from a seed that only its node should have."""
    head = group.status(FOUR[0])
    known = group.ask(FOUR[0], lambda stub: stub.GetBlock, BlockAtRequest(height=height or head.height))
    real = block_hash_of(group.chain.chain_id, decode_block(known.block).header)
    return joining.prove(
        chain_id or group.chain.chain_id,
        height or head.height,
        block_hash or real,
        hashes.public_key(seed),
        lambda data: hashes.sign_raw(seed, data),
    )


def test_a_fifth_validator_joins_and_votes(group):
    # (1) The newcomer makes its keys and certificate, and writes its configuration.
    place = group.place(FAB)
    group.done("node", "key", place / "keys")
    authority = group.directory / "chains" / CHAIN
    made = ("node", "certificate", place / "node.pem", "--authority", authority, "--name", FAB)
    group.done(*made, "--host", "127.0.0.1", "--host", "localhost")
    first, ports = group.config(FOUR[0]), testnet_layout._free_ports(2)
    own = dataclasses.replace(
        first,
        name=group.name(FAB),
        data_dir=place / "data",
        key_dir=place / "keys",
        tls=dataclasses.replace(
            first.tls, certificate=place / "node.pem", private_key=place / "node-key.pem"
        ),
        clients=dataclasses.replace(first.clients, listen=f"127.0.0.1:{ports[0]}"),
        consensus_port=dataclasses.replace(first.consensus_port, listen=f"127.0.0.1:{ports[1]}"),
        peers=tuple(group.entry(member) for member in FOUR),
    )
    config.write(group.config_file(FAB), own)
    proof = ("node", "join-proof", "--config", group.config_file(FAB), "-o", "join")
    assert group.refused(*proof) == "NOT_SYNCED"  # it does not run
    group.start(FAB)
    # (2) Nobody knows it yet, so it follows nobody: it is not in step and gives no proof.
    until(lambda: group.status(FAB))
    assert group.refused(*proof) == "NOT_SYNCED"
    # (3) The others add its [[peers]] entry, without a restart; it follows.
    group.introduce(FAB, *FOUR)
    group.in_step(FAB)
    assert group.status(FAB).index == -1
    # (4) The members approve.
    admin = group.done("govern", "key", place / "admin.key")["key"]
    files = group.approved(
        "join-newfab",
        Change(put_member=PutMember(id=FAB, name="New Fab", admin_keys=[bytes.fromhex(admin)])),
        Change(put_key=PutKey(key=group.key(FAB), member=FAB, role=Role.VALIDATOR)),
        set_of(group, *FOUR, FAB),
    )
    # (5) Without a proof, or with one that is none, nothing changes.
    words = ("govern", "submit", *files, "--chain", CHAIN, "--as", FOUR[0])
    assert group.refused(*words) == "JOIN_PROOF_MISSING"
    seed, other = keys.read_seed(place / "keys" / "validator.key"), os.urandom(32)
    good = prove(group, seed)
    by_other = prove(group, other)
    by_other.key = good.key
    elsewhere = prove(group, seed, chain_id=bytes(32))
    posing = prove(group, seed, chain_id=bytes(32))
    posing.chain_id = group.chain.chain_id
    forked = prove(group, seed, block_hash=bytes(32))
    for wrong, reason in (
        ((by_other,), Reason.BAD_SIGNATURE),
        ((elsewhere,), Reason.WRONG_CHAIN),
        ((posing,), Reason.BAD_SIGNATURE),
        ((forked,), Reason.JOIN_PROOF_MISMATCH),
        ((good, prove(group, other)), Reason.JOIN_PROOF_UNUSED),
    ):
        assert group.send(files, *wrong) == reason
    stale = prove(group, seed)
    assert group.status(FOUR[0]).validators == 4
    # (6) Half an hour later, by every clock, a proof of before says nothing any more.
    everyone = (*FOUR, FAB)
    group.stop(*everyone)
    group.offset_ms = LATER_MS
    group.start(*everyone)
    group.in_step(*everyone)
    group.grows(2)
    assert group.send(files, stale) == Reason.JOIN_PROOF_STALE
    assert group.status(FOUR[0]).validators == 4
    # (7) The running node's own, fresh: it joins, and votes.
    group.done(*proof)
    told = group.submit(files, "--join-proof", "join")
    until(lambda: group.status(FOUR[0]).validators == 5)
    group.votes(index=4, validators=5)
    assert group.status(FAB).index == 4
    assert group.signed(told["height"], 4)  # by the old set, whose bitmap has no fifth place
    assert group.refused(*proof) == "NOTHING_TO_DO"


def test_a_dead_validator_is_removed_and_the_others_go_on_with_their_own_quorum(group):
    dead = FOUR[3]
    group.processes.kill(group.name(dead))
    files = group.approved("remove-chipdist", set_of(group, *FOUR[:3], FAB))
    done = group.submit(files)
    until(lambda: group.status(FOUR[0]).validators == 4)
    # Of five two may not be missing; of the four that are left, one may.
    group.stop(FOUR[2])
    group.grows()
    height = group.height()
    assert height > done["height"] + 2
    assert set(group.signed(height, 4)) == {0, 1, 3}
    group.start(FOUR[2])
    group.in_step(FOUR[2])
    # Who was removed follows and answers, and signs nothing.
    group.start(dead)
    found = until(
        lambda: (status := group.status(dead)) and status.height >= height and status.synced and status
    )
    assert found.index == -1
    assert "not in the validator set" in found.not_voting


def test_a_validator_rotates_its_key(group):
    member, others = FOUR[1], (FOUR[0], FOUR[2], FAB, FOUR[3])
    old = group.key(member)
    group.stop(member)
    made = group.done("node", "rotate-key", "--config", group.config_file(member))
    assert made["old"] == old.hex()
    assert group.key(member).hex() == made["key"]
    group.introduce(member, *others)
    group.start(member)
    group.in_step(member)
    files = group.approved(
        "rotate-moduleworks",
        Change(put_key=PutKey(key=group.key(member), member=member, role=Role.VALIDATOR)),
        set_of(group, *FOUR[:3], FAB),
        Change(revoke_key=RevokeKey(key=old)),
    )
    words = ("govern", "submit", *files, "--chain", CHAIN, "--as", FOUR[0])
    assert group.refused(*words) == "JOIN_PROOF_MISSING"
    group.done("node", "join-proof", "--config", group.config_file(member), "-o", "rotated")
    group.submit(files, "--join-proof", "rotated")
    group.votes(index=1, validators=4)
    said = json.loads(group.chiptrace("govern", "current", "--chain", CHAIN, "--json").text)
    assert made["key"] in {item["key"] for item in said["change"][0]["validators"]}
