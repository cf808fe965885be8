"""A passport gives the verdict of the audit it was made of; cut, changed or mixed it never gives a better one.

Every byte is changed somewhere, every thing is taken out, passports of other times and parts are put together: who
verifies it finds what the audit found, or says that it is not verifiable, or has findings more.
"""

import json
from random import Random
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.audit_profile import NO_PROFILE
from client.audit_report import Verdict
from client.passport import from_bytes, to_bytes
from client.passport_verify import check_made, verify
from client.trust import Trust
from client.verified import NotVerifiable
from ledger import codec
from ledger.errors import Malformed
from proto.chiptrace.v1.ledger_pb2 import Attest, Operation
from proto.chiptrace.v1.passport_pb2 import Passport
from tests.bridge import test_amounts as amounts
from tests.bridge.two_chains import World, object_event, packing_event, serial
from tests.client.direct import DirectStub
from tests.client.passports import checked, content, told, trusting
from tests.client.test_audit import Changing, Denying, Forging, Hiding, Uncertified, codes
from tests.client.test_audit_mutated import change, lived
from tests.client.test_serial_lists import LOT, die
from tests.client.test_serial_lists import told as lists  # noqa: F401
from tests.client.test_serials import lists_of_any_chain  # noqa: F401

ORDER = [Verdict.VERIFIED, Verdict.FINDINGS, Verdict.NOT_VERIFIABLE]
WORLD, PART = lived()
HONEST, PASSPORT = told(WORLD, PART)
RAW = codec.encode(PASSPORT)


def recalled():
    """The same part, recalled later on the chain that it came from."""
    world, part = lived()
    claim = Attest(id="https://ada.example/2", subject=part, kind="recall", valid_from_ms=1, scope="cracks")
    assert world["a"].operate("ada", Operation(attest=claim)).ok
    world.relay()
    return world, part


RECALLED_WORLD, _ = recalled()
RECALLED, RECALLED_PASSPORT = told(RECALLED_WORLD, PART)


def never_better(passport, *, world=WORLD, honest=HONEST):
    """What a changed passport leads to: the honest report, or something worse that is told in words."""
    report = checked(world, passport, part=PART)
    json.dumps(report.as_json())
    assert report.problem_code not in ("INTERNAL", "REASON_UNSPECIFIED"), report.problem
    assert ORDER.index(report.verdict) >= ORDER.index(honest.verdict), report.findings
    if report.verdict is Verdict.VERIFIED:
        assert content(report) == content(honest)
    return report


# ---- what it says ----------------------------------------------------------------------------------------------------


def test_a_passport_gives_the_verdict_of_its_audit():
    assert (HONEST.verdict, HONEST.findings) == (Verdict.VERIFIED, [])
    report = checked(WORLD, from_bytes(to_bytes(PASSPORT)))
    assert content(report) == content(HONEST)
    assert report.checked["signatures"] == HONEST.checked["signatures"]
    assert report.checked["history_entries"] == HONEST.checked["history_entries"]


def test_findings_are_the_same_too():
    assert codes(RECALLED) == {"RECALLED"}
    assert content(checked(RECALLED_WORLD, RECALLED_PASSPORT)) == content(RECALLED)


def test_an_old_passport_is_no_error_and_says_how_old_it_is():
    day_ms = 86_400_000
    report = checked(WORLD, PASSPORT, late_ms=1_000 * day_ms)
    assert content(report) == content(HONEST)
    ages = [head["age_ms"] for head in report.heads]
    newest = max(head["time_ms"] for head in report.heads)
    assert [1_000 * day_ms + newest - head["time_ms"] for head in report.heads] == ages
    assert not any(head["stale"] for head in report.heads)


def test_a_greatest_age_makes_it_a_finding():
    for head in checked(WORLD, PASSPORT).heads:
        older = checked(WORLD, PASSPORT, max_age_ms=head["age_ms"] - 1)
        assert (older.verdict, codes(older)) == (Verdict.FINDINGS, {"STALE_HEAD"})
        assert head["chain"] in {finding.chain for finding in older.findings}
    oldest = max(head["age_ms"] for head in checked(WORLD, PASSPORT).heads)
    assert checked(WORLD, PASSPORT, max_age_ms=oldest).verdict is Verdict.VERIFIED


def test_a_clock_that_is_behind_the_passport_verifies_nothing():
    report = checked(WORLD, PASSPORT, late_ms=-3_600_000)
    assert report.verdict is Verdict.NOT_VERIFIABLE
    assert "Is the clock of this machine right?" in report.problem


def test_the_same_audit_makes_the_same_bytes():
    again, passport = told(WORLD, PART)
    assert content(again) == content(HONEST)
    assert to_bytes(passport) == to_bytes(PASSPORT)


class Batched(DirectStub):
    """Answers in other portions than an honest node's usual ones."""

    def GetHistories(self, request):
        reply = super().GetHistories(request)
        for history in reply.histories[1:]:
            del history.items[:]
            history.more = True
        return reply

    def GetHistory(self, request):
        request.limit = 1
        return super().GetHistory(request)


def test_how_the_questions_were_cut_makes_no_other_bytes(monkeypatch):
    stubs = {name: Batched(chain) for name, chain in WORLD.chains.items()}
    assert to_bytes(told(WORLD, PART, stubs=stubs)[1]) == to_bytes(PASSPORT)
    monkeypatch.setattr("client.verified.PROVE_KEYS_MAX", 1)
    monkeypatch.setattr("client.verified.LOG_LEAVES_MAX", 2)
    monkeypatch.setattr("client.histories.HISTORIES_PER_REPLY_MAX", 1)
    assert to_bytes(told(WORLD, PART)[1]) == to_bytes(PASSPORT)
    # And who asks in these portions finds everything in one that was made in others.
    assert content(checked(WORLD, PASSPORT)) == content(HONEST)


def test_what_came_after_the_height_is_not_in_it():
    world, part = lived()
    _, before = told(world, part)

    class Going(DirectStub):
        """A chain that goes on while it is asked."""

        gone = False

        def GetHistories(self, request):
            if not self.gone:
                event = object_event("OBSERVE", "inspecting", part, number=90)
                self.gone = self.chain.operate("bob", event).ok
            return super().GetHistories(request)

    going = Going(world["b"])
    report, passport = told(world, part, stubs={"b": going})
    assert (going.gone, report.verdict) == (True, Verdict.VERIFIED)
    assert to_bytes(passport) == to_bytes(before)
    assert to_bytes(told(world, part)[1]) != to_bytes(before)


# ---- changed ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turn", range(8))
def test_no_changed_byte_gives_a_better_verdict(turn):
    """All regions of the bytes, a place of each eighth in every turn, a random change at each."""
    random, step = Random(turn), max(1, len(RAW) // 400)
    outcomes = set()
    for place in range(turn * step // 8, len(RAW), step):
        changed = bytearray(RAW)
        changed[place] ^= random.choice([1, 2, 4, 8, 16, 32, 64, 128, 255])
        try:
            passport = codec.decode(Passport, bytes(changed), len(RAW) + 1)
            passport = from_bytes(to_bytes(passport))
        except Malformed:
            continue
        report = never_better(passport)
        outcomes.add(report.verdict)
    assert Verdict.NOT_VERIFIABLE in outcomes


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_no_changed_field_gives_a_better_verdict(seed):
    random, passport = Random(seed), Passport()
    passport.CopyFrom(PASSPORT)
    for _ in range(random.choice([1, 1, 2, 5])):
        change(random, passport)
    never_better(passport)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_no_change_hides_a_finding(seed):
    random, passport = Random(seed), Passport()
    passport.CopyFrom(RECALLED_PASSPORT)
    change(random, passport)
    never_better(passport, world=RECALLED_WORLD, honest=RECALLED)


# ---- cut -------------------------------------------------------------------------------------------------------------


def without(path, place):
    """The passport less one thing of the first or second chain."""
    passport = Passport()
    passport.CopyFrom(PASSPORT)
    number, name = path
    del getattr(passport.chains[number], name)[place]
    return passport


@pytest.mark.parametrize("name", ["values", "histories", "transactions", "leaves"])
@pytest.mark.parametrize("number", [0, 1])
def test_whatever_is_taken_out_is_missed_by_name(number, name):
    things = getattr(PASSPORT.chains[number], name)
    assert things
    for place in range(len(things)):
        report = checked(WORLD, without((number, name), place), part=PART)
        assert (report.verdict, report.problem_code) == (Verdict.NOT_VERIFIABLE, "NOT_IN_PASSPORT"), (
            report.problem
        )
        assert "the passport lacks" in report.problem


def test_every_entry_is_missed():
    for number, chain in enumerate(PASSPORT.chains):
        for at, history in enumerate(chain.histories):
            for place in range(len(history.entries)):
                passport = Passport()
                passport.CopyFrom(PASSPORT)
                del passport.chains[number].histories[at].entries[place]
                report = checked(WORLD, passport)
                assert report.verdict is Verdict.NOT_VERIFIABLE
                assert report.problem_code in ("NOT_IN_PASSPORT", "BAD_PROOF"), report.problem


@pytest.mark.parametrize("number", [0, 1])
def test_without_its_headers_or_its_genesis_nothing_is_known(number):
    for name in ("headers", "genesis", "opening", "hashes"):
        passport = Passport()
        passport.CopyFrom(PASSPORT)
        passport.chains[number].ClearField(name)
        assert never_better(passport).verdict is Verdict.NOT_VERIFIABLE


@pytest.mark.parametrize("number", [0, 1])
def test_without_a_chain_it_is_not_verifiable(number):
    passport = Passport()
    passport.CopyFrom(PASSPORT)
    del passport.chains[number]
    assert never_better(passport).verdict is Verdict.NOT_VERIFIABLE


def test_without_any_chain_that_is_trusted_it_says_which_it_has():
    for world, passport, has in (
        (World("a"), Passport(asked=PART), "no chain at all"),
        (World("c"), PASSPORT, WORLD["a"].chain_id.hex()),
    ):
        report = checked(world, passport)
        assert (report.verdict, report.problem_code) == (Verdict.NOT_VERIFIABLE, "WRONG_CHAIN")
        assert has in report.problem


# ---- mixed -----------------------------------------------------------------------------------------------------------


def test_of_another_part():
    _, other = told(WORLD, serial(9000))
    report = checked(WORLD, other, part=PART)
    assert (report.verdict, report.problem_code) == (Verdict.NOT_VERIFIABLE, "NOT_IN_PASSPORT")
    assert PART in report.problem
    # Its name on a passport of something else: what it needs is not there.
    other.asked = PART
    assert never_better(other).verdict is Verdict.NOT_VERIFIABLE


@pytest.mark.parametrize("names", [["a"], ["b"], ["a", "b"]])
def test_the_chains_of_two_times(names):
    """Each chain as it was is no lie; but that the part was recalled, one that is new enough to show it does not hide."""
    passport = Passport(asked=PART)
    for name in ("a", "b"):
        source = PASSPORT if name in names else RECALLED_PASSPORT
        chain_id = WORLD[name].chain_id
        passport.chains.extend(chain for chain in source.chains if chain.chain_id == chain_id)
    passport.chains.sort(key=lambda chain: chain.chain_id)
    report = checked(RECALLED_WORLD, passport, part=PART)
    heights = {head["chain"]: head["height"] for head in report.heads}
    of = {
        name: {head["chain"]: head["height"] for head in which.heads}
        for name, which in (("old", HONEST), ("new", RECALLED))
    }
    for name in ("a", "b"):
        assert heights[name] == of["old" if name in names else "new"][name]
    if names == ["a", "b"]:
        assert content(report) == content(HONEST)
    if names == ["b"]:
        assert report.verdict is not Verdict.VERIFIED


def test_a_chain_that_is_far_behind_what_the_other_has_seen_of_it_is_stale():
    world, part = lived()
    _, old = told(world, part)
    world.clock.now_ms += 100_000
    another = world.commission("a", "ada")
    assert world.send("a", another, "bob").ok
    world.relay()
    _, new = told(world, part)
    home = world["a"].chain_id
    mixed = Passport(asked=part)
    mixed.chains.extend(chain for chain in old.chains if chain.chain_id == home)
    mixed.chains.extend(chain for chain in new.chains if chain.chain_id != home)
    mixed.chains.sort(key=lambda chain: chain.chain_id)
    assert checked(world, new).verdict is Verdict.VERIFIED
    assert codes(checked(world, mixed)) == {"STALE_HEAD"}


@pytest.mark.parametrize("packed", [False, True])
def test_where_it_went_to_is_not_shown_as_of_before_it_went(packed):
    """Else it were on its way for ever, whatever became of it there: found where it left from, and nowhere else."""
    world = World("a", "b")
    part, box = world.commission("a", "ada"), world.commission("a", "ada")
    if packed:
        assert world["a"].operate("ada", packing_event("ADD", box, part, number=90)).ok
    sent = box if packed else part
    world.relay()
    _, before = told(world, part)
    world.clock.now_ms += 100_000
    assert world.send("a", sent, "bob").ok
    world.relay()
    assert world.accept("b", sent, "bob").ok
    world.relay()
    _, after = told(world, part)
    gone_to = world["b"].chain_id
    mixed = Passport(asked=part)
    mixed.chains.extend(chain for chain in after.chains if chain.chain_id != gone_to)
    mixed.chains.extend(chain for chain in before.chains if chain.chain_id == gone_to)
    mixed.chains.sort(key=lambda chain: chain.chain_id)
    assert checked(world, after).verdict is Verdict.VERIFIED
    report = checked(world, mixed)
    assert (codes(report), report.findings[0].chain) == ({"STALE_HEAD"}, "b"), report.subject


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("on", [False, True])
def test_where_it_left_from_is_not_shown_as_of_before_it_left(packed, on):
    """Where another chain shows that it was there, and left there too: else it were where it began, all that came after
    left out."""
    world = World("a", "b", "c")
    part, box = world.commission("a", "ada"), world.commission("a", "ada")
    if packed:
        assert world["a"].operate("ada", packing_event("ADD", box, part, number=90)).ok
    _, before = told(world, part)
    if packed:
        assert world["a"].operate("ada", packing_event("DELETE", box, part, number=91)).ok
    for source, to, receiver in (("a", "b", "bob"), ("b", "a", "ada"), ("a", "c", "cyd"))[: 3 if on else 2]:
        world.clock.now_ms += 100_000
        assert world.send(source, part, receiver, to=to).ok
        world.relay()
        assert world.accept(to, part, receiver).ok
        world.relay()
    _, after = told(world, part)
    assert checked(world, before).subject.chain == "a"
    assert checked(world, after).verdict is Verdict.VERIFIED
    mixed, home = Passport(asked=part), world["a"].chain_id
    mixed.chains.extend(chain for chain in before.chains if chain.chain_id == home)
    mixed.chains.extend(chain for chain in after.chains if chain.chain_id == world["b"].chain_id)
    mixed.chains.sort(key=lambda chain: chain.chain_id)
    report = checked(world, mixed, "a", "b")
    assert report.verdict is Verdict.NOT_VERIFIABLE
    assert "it left since" in report.problem


@pytest.mark.parametrize(
    "field", ["headers", "opening", "values", "histories", "transactions", "leaves", "hashes"]
)
@pytest.mark.parametrize("number", [0, 1])
def test_pieces_of_two_times(number, field):
    mixed = Passport()
    mixed.CopyFrom(RECALLED_PASSPORT)
    target, source = mixed.chains[number], PASSPORT.chains[number]
    if getattr(target, field) == getattr(source, field):
        return
    target.ClearField(field)
    target.MergeFrom(_only(source, field))
    never_better(mixed, world=RECALLED_WORLD, honest=RECALLED)


def _only(chain, field):
    made = type(chain)()
    made.CopyFrom(chain)
    for other in chain.DESCRIPTOR.fields:
        if other.name != field:
            made.ClearField(other.name)
    return made


@pytest.mark.parametrize("number", [0, 1])
def test_a_header_stands_once(number):
    passport = Passport()
    passport.CopyFrom(PASSPORT)
    headers = passport.chains[number].headers
    headers.append(headers[-1])
    report = checked(WORLD, passport)
    assert (report.verdict, report.problem_code) == (Verdict.NOT_VERIFIABLE, "MALFORMED")
    assert "headers are not each once" in report.problem


def test_one_chain_said_to_be_the_other():
    passport = Passport()
    passport.CopyFrom(PASSPORT)
    first, second = passport.chains
    first_id, second_id = first.chain_id, second.chain_id
    swapped = Passport(asked=PART)
    second.chain_id, first.chain_id = first_id, second_id
    swapped.chains.extend([second, first])
    assert never_better(swapped).verdict is Verdict.NOT_VERIFIABLE


# ---- whom one believes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lie", [Forging, Hiding, Denying, Changing, Uncertified])
def test_the_answers_of_a_lying_node_make_no_passport(lie):
    world, part = lived()
    report, passport = told(world, part, stubs={"b": lie(world["b"])}, begin="b")
    assert report.verdict is Verdict.NOT_VERIFIABLE
    with pytest.raises(NotVerifiable):
        check_made(passport, trusting(world), lambda: world.clock.now_ms, report, NO_PROFILE)
    assert never_better(passport, world=world).verdict is Verdict.NOT_VERIFIABLE


def test_a_verifier_with_fewer_chains_is_told_what_she_does_not_trust():
    report = checked(WORLD, PASSPORT, "b")
    assert (report.verdict, codes(report)) == (Verdict.FINDINGS, {"CHAIN_NOT_TRUSTED"})


def test_a_verifier_with_more_chains_is_told_what_is_missing():
    wide, part = lived_of_three()
    _, narrow = told(wide, part, chains={"a", "b"})
    assert checked(wide, narrow, "a", "b").verdict is Verdict.VERIFIED
    report = checked(wide, narrow)
    assert (report.verdict, report.problem_code) == (Verdict.NOT_VERIFIABLE, "NOT_IN_PASSPORT")
    assert "names fewer chains" in report.problem


def lived_of_three():
    world = World("a", "b", "c")
    part = world.commission("a", "ada")
    assert world.send("a", part, "bob", to="b").ok
    world.relay()
    assert world.accept("b", part, "bob").ok
    world.relay()
    return world, part


@pytest.mark.parametrize("order", [1, -1])
def test_in_whatever_order_a_trust_file_names_the_chains(order):
    """Of a lot, which is on both, one finds the same."""
    world = World("a", "b")
    assert world["a"].operate("ada", amounts.quantity_event(world, "ADD", "commissioning", 100)).ok
    assert amounts.send_amount(world, "a", amounts.LOT, 30, "bob", member="ada").ok
    world.relay()
    assert amounts.accept_amount(world, "b", "bob").ok
    claim = Attest(id="https://b.example/1", subject=amounts.LOT, kind="recall", valid_from_ms=1, scope="x")
    assert world["b"].operate("bob", Operation(attest=claim)).ok
    honest, passport = told(world, amounts.LOT)
    trust = Trust(trusting(world).chains[::order], ())
    report = verify(passport, trust, lambda: world.clock.now_ms)
    assert (report.problem, codes(report)) == ("", {"RECALLED"})
    assert report.findings == honest.findings


def test_a_serial_that_nobody_touched_is_shown_by_the_passport_itself(lists):  # noqa: F811
    world = SimpleNamespace(chains={lists.chain.name: lists.chain}, settle=lambda: None)
    name = die(12)
    honest, passport = told(world, name, shown={name: lists.kept.membership(name)})
    assert codes(honest) == {"EXCLUSIVITY_NOT_PROVEN"}
    assert content(checked(world, passport)) == content(honest)
    for change_one in (
        lambda shown: shown.ClearField("path"),
        lambda shown: setattr(shown, "place", 13),
        lambda shown: setattr(shown, "serial", die(13)),
        lambda shown: setattr(shown, "lot", LOT.replace("R1", "L1")),
    ):
        other = Passport()
        other.CopyFrom(passport)
        change_one(other.shown[0])
        assert checked(world, other).verdict is Verdict.NOT_VERIFIABLE
    del passport.shown[:]
    assert checked(world, passport).verdict is not Verdict.VERIFIED


def test_who_makes_one_finds_out_if_it_does_not_hold():
    def check(passport, report):
        check_made(passport, trusting(WORLD), lambda: WORLD.clock.now_ms, report, NO_PROFILE)

    check(PASSPORT, HONEST)
    for passport, report in ((without((0, "values"), 0), HONEST), (PASSPORT, RECALLED)):
        with pytest.raises(NotVerifiable):
            check(passport, report)
