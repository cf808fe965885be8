"""A fork at the first height behind a recovery is seen in what the nodes hold, and its makers are named."""

import pytest

from client import recovery_check
from client.connection import NoAnswer, NodeRefused
from consensus.certificate import form
from consensus.messages import signed_vote
from ledger import codec, hashes, recovery
from ledger.block import block_hash, recovery_mark, validators_hash
from ledger.errors import Invalid
from proto.chiptrace.v1.consensus_pb2 import FINALIZE, Certificate, Vote
from proto.chiptrace.v1.ledger_pb2 import Block, Header, Reason, Recovery
from proto.chiptrace.v1.node_pb2 import BlockAtReply
from tests.bridge.recovered import recover
from tests.bridge.two_chains import World
from tests.client.direct import DirectConnection, DirectStub
from tests.ledger.recovered import approved, document_for, fresh_seeds


class Stub(DirectStub):
    """A node that also answers for blocks."""

    def GetBlock(self, request):
        store = self.chain.app.store
        try:
            return BlockAtReply(
                block=store.block(request.height),
                certificate=Certificate.FromString(store.certificate(request.height)),
            )
        except Invalid as error:
            raise NodeRefused(str(error), error.reason) from error


class Away(Stub):
    def GetBlock(self, request):
        raise NoAnswer("away")


class Liar(Stub):
    """Holds a block for which nobody signed."""

    def GetBlock(self, request):
        reply = super().GetBlock(request)
        reply.certificate.signatures[0] = bytes(64)
        return reply


def chain_of(heights=3):
    chain = World("a", "b")["a"]
    for _ in range(heights):
        chain.produce()
    return chain


def node(stub):
    return DirectConnection(stub)


def judged(opened, *stubs, accepted=None):
    """Asked by who accepted the recovery, unless it is said what she accepted."""
    chain = stubs[0].chain
    accepted = [opened.hash] if accepted is None else accepted
    nodes = [node(stub) for stub in stubs]
    return recovery_check.check(nodes, chain.chain_id, opened, chain.info.time_ms + 60_000, accepted)


@pytest.fixture
def chain():
    return chain_of()


def test_all_went_through_it_or_are_not_there_yet(chain):
    behind = chain_of()
    opened = recover(chain)
    found = judged(opened, Stub(chain), Stub(behind), Away(chain), Liar(chain))
    assert [side.state for side in found.sides[:3]] == ["recovered", "below", "no answer"]
    assert found.sides[3].state.startswith("a false answer")
    assert found.forked_by is None


def test_where_the_old_set_went_on_the_chain_is_forked_and_its_makers_are_named(chain):
    other = chain_of()
    opened = recover(chain)
    other.produce()
    found = judged(opened, Stub(chain), Stub(other))
    assert [side.state for side in found.sides] == ["recovered", recovery_check.OLD]
    assert found.forked_by == ("abe", "ada", "amy", "ann")
    # A block that the old set did not sign makes no fork.
    assert judged(opened, Stub(chain), Liar(other)).forked_by is None


def test_two_recoveries_of_one_height_are_a_fork_too(chain):
    other = chain_of()
    opened, second = recover(chain, "one"), recover(other, "two")
    found = judged(opened, Stub(chain), Stub(other), Stub(chain))
    assert [side.state for side in found.sides] == [
        "recovered",
        f"another recovery, {second.hash.hex()}",
        "recovered",
    ]
    assert found.forked_by == ("abe", "ada", "amy", "ann")
    assert judged(second, Stub(chain), Liar(other)).forked_by is None


class MakesUpARecovery(Stub):
    """It writes a document that names honest members, with keys of its own, approved by whom it can, and a block."""

    def __init__(self, chain, approvers=(), *, false=False):
        super().__init__(chain)
        document = document_for(chain, salt="mine")
        self.recovery = approved(chain, document, approvers)
        if false:
            made = Recovery.FromString(self.recovery)
            for approval in made.approvals:
                approval.signature = bytes(64)
            self.recovery = codec.encode(made)
        seeds = fresh_seeds(chain.members, "mine")
        opened = recovery.decode(self.recovery)
        validators = opened.validators
        mark = recovery_mark(chain.chain_id, self.recovery)
        set_hash = validators_hash(chain.chain_id, validators)
        header = codec.encode(
            Header(
                chain_id=chain.chain_id,
                state_version=1,
                height=opened.height + 1,
                time_ms=chain.info.time_ms + 5,
                parent_hash=chain.info.block_hash,
                transactions_root=bytes(32),
                app_hash=chain.info.app_hash,
                validators_hash=set_hash,
                next_validators_hash=set_hash,
                recovery=mark,
            )
        )
        this_hash = block_hash(chain.chain_id, header)
        vote = Vote(kind=FINALIZE, height=opened.height + 1, view=1, block_hash=this_hash)
        signed = signed_vote(chain.chain_id, vote)
        signatures = {index: hashes.sign_raw(seed, signed) for index, seed in enumerate(seeds)}
        certificate = form(FINALIZE, vote.height, 1, this_hash, signatures, len(seeds))
        block = codec.encode(Block(header=header, recovery=self.recovery))
        self.opened, self.reply = opened, BlockAtReply(block=block, certificate=certificate)

    def GetBlock(self, request):
        return self.reply


def test_nobody_is_accused_by_a_recovery_that_a_node_made_up():
    chain = chain_of()
    liar = MakesUpARecovery(chain_of())
    # (1) Beside the true one; also with the approval of one member who approved that, too.
    also = MakesUpARecovery(chain_of(), ["ada"])
    all_falsely = MakesUpARecovery(chain_of(), chain.members, false=True)
    opened = recover(chain)
    for made in (liar, also, all_falsely):
        found = judged(opened, Stub(chain), made)
        assert found.sides[1].state == f"another recovery, {made.opened.hash.hex()}"
        assert found.forked_by == ()
    # (2) Of a chain that was never recovered, and went on.
    going = chain_of()
    going.produce()
    for accepted in ([], [opened.hash]):
        found = judged(liar.opened, Stub(going), liar, accepted=accepted)
        assert [side.state for side in found.sides] == [recovery_check.OLD, "recovered"]
        assert found.forked_by == ()


def test_who_has_accepted_no_recovery_accuses_nobody(chain):
    other = chain_of()
    opened = recover(chain)
    other.produce()
    assert judged(opened, Stub(chain), Stub(other), accepted=[]).forked_by == ()


def test_behind_an_earlier_recovery(chain):
    recover(chain)
    second = recover(chain, "again")
    assert judged(second, Stub(chain)).sides[0].state == "recovered"


def test_no_node_leads_there(chain):
    opened = recover(chain)
    with pytest.raises(Invalid) as caught:
        judged(opened, Stub(chain_of(0)))
    assert caught.value.reason == Reason.NOT_FOUND
