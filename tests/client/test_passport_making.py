"""A passport holds what belongs to the height that was pinned last, each thing once, in its order."""

from client.audit import Audit
from client.audit_report import Verdict
from client.connection import NoAnswer
from client.passport import from_bytes, to_bytes
from client.passport_making import Keeping, keep_answers, make
from client.verified import Overtaken
from ledger import hashes
from ledger.block import decode_header, decode_transaction
from proto.chiptrace.v1.ledger_pb2 import Change, Entry, Membership, Reason, SetValidators
from proto.chiptrace.v1.node_pb2 import HeadersReply, HistoriesReply
from tests.bridge.two_chains import World
from tests.client.direct import DirectConnection, DirectStub, verified
from tests.client.passports import checked, content, told
from tests.client.test_audit_mutated import lived

WORLD, PART = lived()
HONEST, PASSPORT = told(WORLD, PART)


def test_a_line_that_keeps_is_a_line():
    plain = DirectConnection(DirectStub(WORLD["a"]))
    line = Keeping(plain)
    view = verified(WORLD["a"])
    view.connection = line
    view.snapshot()
    assert (line.endpoint, line.bytes_received) == (plain.endpoint, plain.bytes_received)
    assert [type(request).__name__ for request, _ in line.answers] == [
        "StatusRequest",
        "HeadersRequest",
        "ProveRequest",
    ]


def test_each_thing_stands_once():
    for chain in PASSPORT.chains:
        ids = [decode_transaction(chain.chain_id, data).id for data in chain.transactions]
        assert len(set(ids)) == len(ids) > 0
        pool = [chain.hashes[at : at + 32] for at in range(0, len(chain.hashes), 32)]
        assert len(set(pool)) == len(pool) > 0
        named = [Entry.FromString(data).transaction for one in chain.histories for data in one.entries]
        assert list(dict.fromkeys(name for name in named if name != hashes.ZERO)) == ids
        used = {place for value in chain.values for place in value.siblings}
        assert used | {place for leaf in chain.leaves for place in leaf.path} == set(range(len(pool)))
        entries = [Entry.FromString(data) for one in chain.histories for data in one.entries]
        assert max(entry.height for entry in entries) <= chain.opening.log_size
    chain_ids = [chain.chain_id for chain in PASSPORT.chains]
    assert chain_ids == sorted(chain.chain_id for chain in WORLD.chains.values())


def test_headers_are_those_that_lead_there_and_no_others():
    world = World("a", "b")
    part = world.commission("a", "ada")
    chain, validators = world["a"], list(world["a"].info.validators.validators)
    for turn in (1, 2, 3):
        rotated = validators[turn:] + validators[:turn]
        assert world.govern("a", Change(set_validators=SetValidators(validators=rotated))).ok
        for _ in range(3):
            chain.produce()
    report, passport = told(world, part)
    (held,) = [one for one in passport.chains if one.chain_id == chain.chain_id]
    heights = [decode_header(signed.header).height for signed in held.headers]
    assert heights == sorted(heights)
    assert heights[-1] == held.opening.log_size + 1
    assert len(heights) == 4
    assert all(signed.next_validators for signed in held.headers[:-1])
    assert content(checked(world, passport)) == content(report)


def test_an_audit_that_began_anew_has_only_its_last_height():
    """Leaves that were proven before are proven again, under the root that is pinned now."""
    world, part = lived()
    views = {chain.chain_id: verified(chain) for chain in world.chains.values()}
    lines = keep_answers(views)
    audit = Audit(views)
    walk, turns = audit._walk, []

    def overtaken(*arguments):
        subject = walk(*arguments)
        turns.append(views[world["b"].chain_id].snapshot().height)
        if len(turns) == 1:
            for chain in world.chains.values():
                chain.produce()
                chain.settle()
            raise Overtaken("as if", Reason.BAD_PROOF)
        return subject

    audit._walk = overtaken
    report = audit.run(part, world["b"].chain_id, lambda: 0)
    assert report.verdict is Verdict.VERIFIED
    assert turns[0] < turns[1]
    passport = make(part, lines)
    assert content(checked(world, passport)) == content(report)
    # Proofs of the last height alone, though some of these heights were asked for under the first one only.
    assert {chain.opening.log_size for chain in passport.chains} >= {turns[1]}
    assert to_bytes(passport) == to_bytes(told(world, part)[1])


class Repeating(DirectStub):
    """Says again what it said before, with changes at which nobody looks any more."""

    def Prove(self, request):
        reply = super().Prove(request)
        for at, signature in enumerate(reply.head.certificate.signatures):
            reply.head.certificate.signatures[at] = bytes(len(signature))
        if request.height:
            reply.opening.log_root = bytes(32)
        return reply


def test_the_copy_that_was_checked_is_the_one_in_it():
    report, passport = told(WORLD, PART, stubs={"a": Repeating(WORLD["a"])})
    assert report.verdict is Verdict.VERIFIED
    assert to_bytes(passport) == to_bytes(PASSPORT)


def test_the_first_copy_of_a_header_and_of_a_transaction_is_the_one_in_it():
    views = {chain.chain_id: verified(chain) for chain in WORLD.chains.values()}
    lines = keep_answers(views)
    Audit(views).run(PART, WORLD["b"].chain_id, lambda: 0)
    whole = to_bytes(make(PART, lines))
    for line in lines.values():
        for request, reply in list(line.answers):
            again = type(reply)()
            again.CopyFrom(reply)
            for signed in getattr(again, "headers", ()):
                signed.certificate.signatures[0] = bytes(64)
            for history in getattr(again, "histories", ()):
                for item in history.items:
                    item.transaction = item.transaction and b"another"
            if isinstance(reply, HeadersReply | HistoriesReply):
                line.answers.append((request, again))
    assert to_bytes(make(PART, lines)) == whole


class Silent(DirectConnection):
    def call(self, method, request, seconds=0.0):
        raise NoAnswer("nobody there")


def test_a_chain_that_gave_no_answer_has_no_place_in_it():
    world = World("a", "b")
    part = world.commission("a", "ada")
    world.settle()
    views = {chain.chain_id: verified(chain) for chain in world.chains.values()}
    views[world["b"].chain_id].connection = Silent(DirectStub(world["b"]))
    lines = keep_answers(views)
    report = Audit(views).run(part, world["a"].chain_id, lambda: 0)
    assert [finding.code for finding in report.findings] == ["CHAIN_NOT_ASKED"]
    passport = make(part, lines)
    assert [chain.chain_id for chain in passport.chains] == [world["a"].chain_id]
    offline = checked(world, passport)
    assert [finding.code for finding in offline.findings] == ["CHAIN_NOT_ASKED"]
    assert "holds nothing of chain b" in offline.findings[0].message


def test_what_was_shown_and_held_against_is_in_it():
    shown = [Membership(serial="b"), Membership(serial="a")]
    passport = make(PART, {}, shown, b'{"speed_kmh": 7}')
    assert [membership.serial for membership in passport.shown] == ["a", "b"]
    assert passport.profile == b'{"speed_kmh": 7}'
    assert from_bytes(to_bytes(passport)) == passport
