"""A chain of four loses two validators for good, and its members carry it on: with the commands of docs/recovery.md.

One chain, alone in this module; the tests stand in the order of the story and each goes on from the last.
"""

import dataclasses
import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from client import keys
from client.session import open_chain
from ledger import codec
from node import config
from proto.chiptrace.v1.ledger_pb2 import RecoveryDocument
from tests.integration.test_membership import CHAIN, FOUR, Consortium
from tests.integration.testbed import Signer, commissioning, serial
from tests.node.network import until

pytestmark = pytest.mark.processes
LEFT, LOST = FOUR[:2], FOUR[2:]
REASON = "the machine rooms of two members burnt down on the same day"


class Lost(Consortium):
    """The consortium, and what the story has to remember."""

    parts: list[str]
    document: str

    def commission(self) -> str:
        """A part that a surviving member records; acknowledged as final."""
        part = serial("9521001", 1)
        seed = keys.read_seed(self.network.member_directory(CHAIN, FOUR[0]) / "operator.key")
        with open_chain(self.network.trust_file, CHAIN, FOUR[0]) as session:
            Signer(session, seed).do(commissioning(part))
        return part

    def audit(self, part: str):
        return self.chiptrace("audit", part, "--chain", CHAIN, "--trust", self.network.trust_file, "--json")

    def accept(self) -> None:
        """What an auditor writes into her trust file who has compared the hash with the members'."""
        path = self.network.trust_file
        document = json.loads(path.read_text())
        document["chains"][0]["recoveries"] = [{"height": self.height_lost, "document": self.document}]
        path.write_text(json.dumps(document))

    height_lost = 0


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    found = Lost(tmp_path_factory.mktemp("recovery"))
    try:
        yield found
    finally:
        found.processes.stop(list(found.processes.running()))


def test_without_a_quorum_nothing_is_decided(group):
    group.parts = [group.commission()]
    # One survivor is away for the last blocks that there will be for long: the other alone holds them.
    group.stop(LEFT[1])
    group.grows()
    group.parts += [group.commission() for _ in range(2)]
    for member in LOST:
        group.processes.kill(group.name(member))
    for member in LOST:
        shutil.rmtree(group.place(member) / "data")
        shutil.rmtree(group.place(member) / "keys")
    group.start(LEFT[1])
    until(lambda: group.status(LEFT[1]))
    heights = {}

    def still():
        found = {member: group.status(member).height for member in LEFT}
        same = found == heights and len(set(found.values())) == 1
        heights.update(found)
        time.sleep(1)
        return same

    until(still)
    time.sleep(3)  # three heartbeats, and views that pass
    assert {member: group.status(member).height for member in LEFT} == heights
    assert not any(group.status(member).synced for member in LEFT)


def test_the_survivors_compare_where_they_stand(group):
    code = group.chiptrace("recover", "status", "--config", group.config_file(LEFT[0]), "--json")
    assert code.code == 2  # it still runs
    assert "stop the node" in code.json["error"]["message"]
    group.stop(*LEFT)
    found = [group.done("recover", "status", "--config", group.config_file(member)) for member in LEFT]
    assert found[0]["block_hash"] == found[1]["block_hash"]
    assert found[0]["height"] == found[1]["height"]
    group.height_lost = found[0]["height"]


def test_members_draw_up_sign_and_apply_it(group):
    # (1) Everyone who is to validate makes a key that the chain has never seen. One survivor makes it elsewhere, and
    #     goes on as an observer with its old key for now.
    first, second = LEFT
    made = {first: group.done("node", "rotate-key", "--config", group.config_file(first))["key"]}
    made[second] = group.done("node", "key", group.place(second) / "new-keys")["key"]
    for member in LOST:
        made[member] = group.done("node", "key", group.place(member) / "keys")["key"]
    # (2) Each writes the others' new keys into its configuration.
    for member in FOUR:
        own = group.config(member)
        peers = tuple(dataclasses.replace(peer, key=made[peer.member]) for peer in own.peers)
        config.write(group.config_file(member), dataclasses.replace(own, peers=peers))
    # (3) One draws the document up, (4) three sign it, offline.
    words = [word for member in FOUR for word in ("--validator", f"{member}={made[member]}")]
    source = ("--config", group.config_file(first))
    drawn = group.done("recover", "propose", *source, *words, "--reason", REASON, "-o", "document")
    assert (drawn["height"], drawn["members_needed"]) == (group.height_lost, 3)
    group.document = drawn["document"]
    for member in FOUR[:3]:
        admin = group.network.member_directory(CHAIN, member) / "admin.key"
        signed = group.done("recover", "sign", "document", "--key", admin, "-o", f"by.{member}")
        assert signed["document"] == group.document
    shown = group.done("recover", "show", "document", *(f"by.{member}" for member in FOUR[:3]))
    assert (shown["document"], len(shown["approvals"])) == (group.document, 3)
    # (5) Too few are refused by each node; (6) enough are kept.
    few = ("recover", "apply", "document", "by.siliconfab", "by.moduleworks", *source)
    assert group.refused(*few) == "NOT_ENOUGH_APPROVALS"
    whole = ("recover", "apply", "document", *(f"by.{member}" for member in FOUR[:3]), "--config")
    with ThreadPoolExecutor(len(FOUR)) as people:
        told = dict(
            zip(FOUR, people.map(lambda one: group.done(*whole, group.config_file(one)), FOUR), strict=True)
        )
    assert {member: found["this_node_votes"][:3] for member, found in told.items()} == {
        first: "yes",
        second: "no,",
        **dict.fromkeys(LOST, "yes"),
    }
    assert told[first]["applied"].startswith("in force")
    assert told[LOST[0]]["applied"].startswith("kept")


def test_the_chain_goes_on_from_there(group):
    group.start(*FOUR)
    group.in_step(*FOUR)
    group.grows()
    head = group.status(LEFT[1])
    assert head.index == -1  # its old key does not vote
    assert "not in the validator set" in head.not_voting
    group.parts.append(group.commission())
    # The observer takes its new key, and votes with it: three of four were enough until now.
    second = LEFT[1]
    group.stop(second)
    own = dataclasses.replace(group.config(second), key_dir=group.place(second) / "new-keys")
    config.write(group.config_file(second), own)
    group.start(second)
    group.in_step(second)
    group.votes(FOUR.index(second), 4)


def test_an_audit_says_so_or_says_nothing(group):
    found = group.audit(group.parts[0])
    assert found.code == 2, found
    assert found.json["problem_code"] == "RECOVERED"
    assert group.document in found.json["problem"]
    group.accept()
    for part in group.parts[-2:]:  # the last that was acknowledged before is there, and what came after
        found = group.audit(part)
        assert found.code == 1, found
        assert [finding["code"] for finding in found.json["findings"]] == ["RECOVERED"]
        message = found.json["findings"][0]["message"]
        assert f"recovered after height {group.height_lost}" in message
        assert REASON in message
        assert "siliconfab" in message
        assert found.json["subject"]["steps"]


def test_it_is_one_chain(group):
    found = group.done("recover", "check", "--chain", CHAIN)
    assert set(found["nodes"].values()) == {"recovered"}
    assert (found["document"], found["forked_by"]) == (group.document, None)


def test_a_node_without_it_stops_there_and_says_which_it_lacks(group):
    member = LOST[1]
    group.stop(member)
    shutil.rmtree(group.place(member) / "data")
    group.start(member)

    def lacks():
        found = group.status(member)
        return found is not None and found.recovery_lacked.hex() == group.document

    until(lacks)
    assert group.status(member).height == group.height_lost
    assert not group.status(member).synced
    log = (group.place(member) / "log.jsonl").read_text()
    told = [json.loads(line) for line in log.splitlines() if "others went through a recovery" in line]
    assert told[0]["document"] == group.document
    assert f"stands before the recovery {group.document}" in group.chiptrace("chain", "status", "--json").text
    # Its operator fetches the document, compares its hash, and applies it.
    group.stop(member)
    fetched = group.done("recover", "fetch", "--chain", CHAIN, "-o", "fetched")
    assert fetched["document"] == group.document
    approvals = [f"fetched.approval-{number}" for number in (1, 2, 3)]
    group.done("recover", "apply", "fetched", *approvals, "--config", group.config_file(member))
    group.start(member)
    group.in_step(member)


def test_no_other_decision_is_taken_for_that_height(group):
    member = LEFT[0]
    group.stop(member)
    data = (group.home / "document").read_bytes()
    other = RecoveryDocument.FromString(data)
    other.reason = "another reason"
    (group.home / "other").write_bytes(codec.encode(other))
    for name in FOUR[:3]:
        admin = group.network.member_directory(CHAIN, name) / "admin.key"
        group.done("recover", "sign", "other", "--key", admin, "-o", f"other.{name}")
    words = ("recover", "apply", "other", *(f"other.{name}" for name in FOUR[:3]))
    assert group.refused(*words, "--config", group.config_file(member)) == "RECOVERY_CONFLICT"
    group.start(member)
    group.in_step(*FOUR)
    group.grows()
