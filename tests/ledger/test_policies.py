"""What leaves only under a licence: who asks for one, what is one, and where it is looked for."""

import pytest

from ledger import history, limits, policies, state
from ledger.identifiers import canonical
from proto.chiptrace.v1.ledger_pb2 import (
    Attest,
    Change,
    EntryKind,
    Operation,
    PolicyRecord,
    PutPolicy,
    Reason,
    RevokeAttestation,
    RevokePolicy,
    Trigger,
)
from tests.ledger.rules_world import (
    World,
    add,
    box,
    lot,
    packing,
    part,
    quantity,
    receiving,
    refused,
    shipping,
    unpacking,
)

ITEM = "gs1:401234512345"  # of `part`
CLASS = canonical(part(1)).class_text
LICENCE = "https://cyd.example/licence/1"


def policy(prefix=ITEM, trigger=Trigger.ANY_SHIPPING, **more) -> Change:
    fields = {"id": "chips", "attestation": "export_licence", "issuers": ["cyd"]} | more
    return Change(put_policy=PutPolicy(prefix=prefix, trigger=trigger, **fields))


def ended(name="chips") -> Change:
    return Change(revoke_policy=RevokePolicy(id=name))


def licence(subject=CLASS, **more) -> Operation:
    return Operation(attest=Attest(**({"id": LICENCE, "kind": "export_licence", "subject": subject} | more)))


def under(*licences: str) -> dict:
    rows = [{"type": "cert", "bizTransaction": text} for text in licences]
    return {"bizTransactionList": rows} if rows else {}


@pytest.fixture
def world() -> World:
    world = World()
    world.event("ada", add([part(n) for n in range(1, 6)], [quantity(lot("L"), 100)]))
    world.change(policy())
    return world


def test_export_without_licence(world):
    with refused(Reason.LICENCE_MISSING, "policy chips .* export_licence of cyd, .* none is named"):
        world.event("ada", shipping([part(1)], "bob"))
    world.act("cyd", licence())
    # It stands on the chain, and the shipping does not name it; or names something else.
    with refused(Reason.LICENCE_MISSING, "none is named"):
        world.event("ada", shipping([part(1)], "bob"))
    with refused(Reason.LICENCE_MISSING, "none is named"):
        world.event("ada", shipping([part(1)], "bob", **under("order 7", "https://cyd.example/licence/2")))
    assert world.status(part(1)) == "LIVE"
    world.event("ada", shipping([part(1)], "bob", **under("order 7", LICENCE)))
    assert world.status(part(1)) == "OFFERED"
    world.event("bob", receiving([part(1)]))
    # It binds every holder, and not the observing of a shipping to oneself.
    with refused(Reason.LICENCE_MISSING):
        world.event("bob", shipping([part(1)], "dee"))
    world.event("bob", shipping([part(1)], "bob"))


def test_export_without_licence_to_whoever_is_no_member(world):
    """Custody stays by the ledger's rules; the claim that it left is refused all the same."""
    with refused(Reason.LICENCE_MISSING):
        world.event("ada", shipping([part(1)], "https://elsewhere.example/7"))
    with refused(Reason.LICENCE_MISSING):
        world.event("ada", shipping([part(1)]))
    world.act("cyd", licence(destinations=["https://elsewhere.example/7"]))
    with refused(Reason.LICENCE_MISSING, "it is for https://elsewhere.example/7"):
        world.event("ada", shipping([part(1)], **under(LICENCE)))
    world.event("ada", shipping([part(1)], "https://elsewhere.example/7", **under(LICENCE)))


def test_licence_expired(world):
    begin, end = world.time_ms + 1_000, world.time_ms + 2_000
    world.act("cyd", licence(valid_from_ms=begin, valid_until_ms=end))
    with refused(Reason.LICENCE_MISSING, "not valid yet"):
        world.event("ada", shipping([part(1)], "bob", **under(LICENCE)), wait_ms=begin - 1 - world.time_ms)
    world.event("ada", shipping([part(1)], "bob", **under(LICENCE)), wait_ms=1)
    world.event("ada", shipping([part(2)], "bob", **under(LICENCE)), wait_ms=end - world.time_ms)
    with refused(Reason.LICENCE_MISSING, "it has expired"):
        world.event("ada", shipping([part(3)], "bob", **under(LICENCE)), wait_ms=1)


def test_licence_revoked(world):
    world.act("cyd", licence())
    world.act("cyd", Operation(revoke_attestation=RevokeAttestation(id=LICENCE)))
    with refused(Reason.LICENCE_MISSING, "it is revoked"):
        world.event("ada", shipping([part(1)], "bob", **under(LICENCE)))


def test_licence_of_another_issuer(world):
    world.act("dee", licence())
    with refused(Reason.LICENCE_MISSING, "it is of issuer dee"):
        world.event("ada", shipping([part(1)], "bob", **under(LICENCE)))


def test_a_licence_of_another_kind(world):
    world.act("cyd", licence(kind="certificate"))
    with refused(Reason.LICENCE_MISSING, "it is of kind certificate"):
        world.event("ada", shipping([part(1)], "bob", **under(LICENCE)))


def test_a_licence_is_for_its_subject(world):
    world.act("cyd", licence(part(1)))
    world.event("ada", shipping([part(1)], "bob", **under(LICENCE)))
    with refused(Reason.LICENCE_MISSING, "it is about"):
        world.event("ada", shipping([part(1 + 1)], "bob", **under(LICENCE)))
    # Each thing that ships needs one; several may be named.
    second = "https://cyd.example/licence/2"
    world.act("cyd", licence(part(2), id=second))
    with refused(Reason.LICENCE_MISSING):
        world.event("ada", shipping([part(2), part(3)], "bob", **under(LICENCE, second)))
    world.event("ada", shipping([part(2)], "bob", **under(LICENCE, second)))


def test_a_licence_is_for_its_destinations(world):
    world.act("cyd", licence(destinations=["dee", "bob"]))
    with refused(Reason.LICENCE_MISSING, "it is for dee, bob"):
        world.event("ada", shipping([part(1)], "cyd", **under(LICENCE)))
    world.event("ada", shipping([part(1)], "bob", **under(LICENCE)))


def test_amounts_of_a_lot(world):
    world.change(ended(), policy("gs1:4012345", id="lots"))
    with refused(Reason.LICENCE_MISSING):
        world.event("ada", shipping([], "bob", [quantity(lot("L"), 10)]))
    world.act("cyd", licence(lot("L")))
    world.event("ada", shipping([], "bob", [quantity(lot("L"), 10)], **under(LICENCE)))
    world.event("ada", add([], [quantity(lot("M"), 100)]))
    with refused(Reason.LICENCE_MISSING):
        world.event("ada", shipping([], "bob", [quantity(lot("M"), 10)], **under(LICENCE)))
    world.act("cyd", licence(canonical(lot("M")).class_text, id="https://cyd.example/licence/class"))
    world.event(
        "ada", shipping([], "bob", [quantity(lot("M"), 10)], **under("https://cyd.example/licence/class"))
    )


def test_what_is_in_a_container_is_seen(world):
    """Also two boxes deep, and an amount; a licence for one part tells nothing of a manifest's count."""
    world.event("ada", packing(box(1), [part(1)]))
    world.event("ada", packing(box(2), [box(1)]))
    with refused(Reason.LICENCE_MISSING, CLASS):
        world.event("ada", shipping([box(2)], "bob"))
    world.act("cyd", licence(part(1)))
    with refused(Reason.LICENCE_MISSING):
        world.event("ada", shipping([box(2)], "bob", **under(LICENCE)))
    whole = "https://cyd.example/licence/class"
    world.act("cyd", licence(id=whole))
    world.event("ada", shipping([box(2)], "bob", **under(whole)))
    world.change(policy(canonical_prefix(lot("L")), id="lots"))
    world.event("ada", packing(box(3), [], [quantity(lot("L"), 5)]))
    with refused(Reason.LICENCE_MISSING, "policy lots"):
        world.event("ada", shipping([box(3)], "bob"))
    world.event("ada", unpacking(box(3)))
    world.event("ada", shipping([box(3)], "bob"))


def canonical_prefix(text: str) -> str:
    return "gs1:" + canonical(text).gs1_key_digits[:12]


def test_a_policy_goes_by_position(world):
    """Not by the digits wherever they stand (prefix_substring), nor for another item of the company."""
    other = canonical("urn:epc:id:sgtin:4012345.054321." + ITEM[4:]).text
    world.event("ada", add([other, box(7)]))
    world.event("ada", shipping([other, box(7)], "bob"))


def test_among_the_members_of_a_region(world):
    world.change(ended(), policy(id="region", trigger=Trigger.SHIPPING_OUTSIDE, members=["ada", "bob"]))
    world.give("ada", "bob", part(1))
    for outside in ("dee", "https://elsewhere.example/7", ""):
        with refused(Reason.LICENCE_MISSING, "policy region"):
            world.event("bob", shipping([part(1)], outside))
    world.act("cyd", licence(destinations=["dee"]))
    world.event("bob", shipping([part(1)], "dee", **under(LICENCE)))


def test_over_the_bridge_only(world):
    world.change(ended(), policy(id="abroad", trigger=Trigger.OVER_BRIDGE))
    world.event("ada", shipping([part(1)], "bob"))


def test_every_policy_asks(world):
    world.change(policy("gs1:4012345", id="second", issuers=["dee"]))
    world.act("cyd", licence())
    with refused(Reason.LICENCE_MISSING, "policy second"):
        world.event("ada", shipping([part(1)], "bob", **under(LICENCE)))
    second = "https://dee.example/licence"
    world.act("dee", licence(id=second))
    world.event("ada", shipping([part(1)], "bob", **under(LICENCE, second)))


def test_a_policy_ends_and_its_history_says_so(world):
    world.change(ended())
    world.event("ada", shipping([part(1)], "bob"))
    record = world.record(state.policy_key("chips"), PolicyRecord)
    assert (record.put_at, record.revoked_at) == (2, 3)
    entries = world.entries[state.policy_key("chips")]
    history.verify_history(world.chain_id, record.history, entries)
    assert [entry.kind for entry in world.told(state.policy_key("chips"))] == [EntryKind.GOVERNED] * 2
    with refused(Reason.NOTHING_TO_DO):
        world.change(ended())
    with refused(Reason.BAD_CHANGE, "used once"):
        world.change(policy())


@pytest.mark.parametrize(
    "change, reason",
    [
        (policy(id="Chips"), Reason.BAD_CHANGE),
        (policy(id=""), Reason.BAD_CHANGE),
        (policy("gs1:401", id="x"), Reason.IDENTIFIER_INVALID),
        (policy(id="x", trigger=0), Reason.BAD_CHANGE),
        (policy(id="x", trigger=9), Reason.BAD_CHANGE),
        (policy(id="x", members=["ada"]), Reason.BAD_CHANGE),
        (policy(id="x", attestation="letter"), Reason.BAD_CHANGE),
        (policy(id="x", issuers=[]), Reason.BAD_CHANGE),
        (policy(id="x", issuers=["cyd", "cyd"]), Reason.BAD_CHANGE),
        (policy(id="x", issuers=["nobody"]), Reason.UNKNOWN_MEMBER),
        (policy(id="x", trigger=Trigger.SHIPPING_OUTSIDE, members=["nobody"]), Reason.UNKNOWN_MEMBER),
        (ended("x"), Reason.BAD_CHANGE),
    ],
)
def test_a_wrong_policy_is_refused(world, change, reason):
    with refused(reason):
        world.change(change)


def test_policies_of_a_prefix_are_bounded(world):
    more = [policy(id=f"p{n}") for n in range(limits.POLICIES_PER_PREFIX_MAX - 1)]
    with refused(Reason.BAD_CHANGE, "no more fit"):
        world.change(*more, policy(id="last"))
    world.change(*more)
    world.change(ended(), policy(id="last"))


def test_documents_are_looked_at_in_bounds(world):
    world.act("cyd", licence())
    many = [f"https://x.example/{n}" for n in range(limits.LICENCES_NAMED_MAX)]
    with refused(Reason.LICENCE_MISSING):
        world.event("ada", shipping([part(1)], "bob", **under(*many, LICENCE)))
    world.event("ada", shipping([part(1)], "bob", **under(*many[1:], LICENCE)))


@pytest.mark.parametrize("destinations", [["bob", "bob"], [""], ["a\nb"], [f"m{n}" for n in range(65)]])
def test_wrong_destinations_are_refused(world, destinations):
    with refused(Reason.ATTESTATION_INVALID):
        world.act("cyd", licence(destinations=destinations))


def test_only_whole_classes_are_attested_without_a_record(world):
    with refused(Reason.UNKNOWN_PART):
        world.act("cyd", licence(lot("unknown")))
    with refused(Reason.UNKNOWN_PART):
        world.act("cyd", licence(part(99)))
    with refused(Reason.UNKNOWN_PART):
        world.act("cyd", licence(kind="recall"))


def test_licences_are_looked_up_once_whatever_lies_in_a_box(world, monkeypatch):
    """Else a full manifest and a long list of documents cost a fifth of a second in one event."""
    names = [lot(f"L{number}") for number in range(60)]
    world.event("ada", add([], [quantity(name, 2) for name in names]))
    world.event("ada", packing(box(1), [], [quantity(name, 1) for name in names]))
    world.change(policy(prefix="gs1:4012345", id="all"))
    documents = []
    for name in names:
        documents.append(f"https://cyd.example/licence/{name.rsplit('/', 1)[1]}")
        world.act("cyd", licence(name, id=documents[-1]))
    asked = []
    kept = policies.claims
    monkeypatch.setattr(policies, "claims", lambda *words: asked.append(words) or kept(*words))
    world.event("ada", shipping([box(1)], "bob", **under(*documents)))
    assert len(asked) == len(documents)
    assert world.status(box(1)) == "OFFERED"
