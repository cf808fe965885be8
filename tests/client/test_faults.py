"""Recorded faults, found and judged by who believes only the chain id; and files that prove them to anyone."""

import base64
import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client import faults
from client.trust import ChainTrust, Trust
from client.verified import NotVerifiable
from consensus.evidence import record_key
from consensus.messages import signed_vote
from ledger import codec, hashes, state
from ledger.errors import ChiptraceError
from ledger.history import append_entry
from proto.chiptrace.v1.consensus_pb2 import FINALIZE, NOTARIZE, NULLIFY, Vote
from proto.chiptrace.v1.ledger_pb2 import (
    Change,
    EntryKind,
    Evidence,
    EvidenceRecord,
    History,
    MemberRecord,
    Operation,
    ReturnOffer,
    SetValidators,
    Validator,
)
from tests.bridge.two_chains import MEMBERS, World
from tests.client.corrupt import Forged
from tests.client.direct import DirectStub, verified
from tests.ledger.chain_fixture import key_of, seed_of

A, B = sha256(b"a").digest(), sha256(b"b").digest()
LATER_MS = 10**6


def vote(chain, member, kind, height, view=1, block_hash=b"", index=None):
    """A vote of a member's validator, really signed."""
    index = MEMBERS["a"].index(member) if index is None else index
    made = Vote(kind=kind, height=height, view=view, block_hash=block_hash, signer=index)
    made.signature = hashes.sign_raw(seed_of(member, "validator"), signed_vote(chain.chain_id, made))
    return made


def evidence(first, second):
    return Evidence(height=first.height, first=codec.encode(first), second=codec.encode(second))


def accuse(world, *votes):
    result = world["a"].operate("ada", Operation(evidence=evidence(*votes)))
    assert result.ok, result


def shrink(world, *members):
    """Governance puts these validators in force."""
    validators = [Validator(member=m, key=key_of(m, "validator")) for m in members]
    world.govern("a", Change(set_validators=SetValidators(validators=validators)))
    world["a"].settle()


@pytest.fixture(scope="module")
def world():
    """Chain a: amy voted twice at height 2, and ann (with another index) after the set had changed."""
    made = World("a")
    chain = made["a"]
    while chain.height < 3:
        chain.produce()
    accuse(made, vote(chain, "amy", NOTARIZE, 2, 1, A), vote(chain, "amy", NOTARIZE, 2, 1, B))
    order = ("ann", "amy", "abe", "ada")
    shrink(made, *order)
    height = chain.height
    accuse(
        made,
        vote(chain, "ann", NULLIFY, height, 3, index=0),
        vote(chain, "ann", FINALIZE, height, 3, A, index=0),
    )
    accuse(
        made,
        vote(chain, "ann", FINALIZE, height, 4, B, index=0),
        vote(chain, "ann", FINALIZE, height, 4, A, index=0),
    )
    shrink(made, *reversed(order))
    chain.settle()
    return made


@pytest.fixture(scope="module")
def found(world):
    return faults.recorded(verified(world["a"]))


def trust_of(chain):
    return Trust((ChainTrust("here", chain.chain_id, ("nowhere:1",), Path("ca.pem"), 10_000),), ())


def now(chain):
    return chain.info.time_ms + LATER_MS


@pytest.fixture
def file(world, found, tmp_path):
    path = tmp_path / "faults.json"
    faults.write(path, found)
    return path


# ---- recorded -----------------------------------------------------------------------------------------------


def test_every_recorded_fault_is_found_with_whom_when_and_what(world, found):
    told = [(fault.member, fault.kind, fault.first.view) for fault in found]
    assert told == [
        ("amy", "notarize twice", 1),
        ("ann", "finalize and nullify", 3),
        ("ann", "finalize twice", 4),
    ]
    assert [fault.key for fault in found] == [key_of(f.member, "validator") for f in found]
    assert found[0].recorded_at == 4
    assert all(fault.recorded_ms > 0 and len(fault.transaction) == 32 for fault in found)
    # The headers lead to the set of the votes and no further.
    assert len(found[0].headers) < len(found[1].headers)


def test_a_chain_without_faults_has_none():
    made = World("a")
    made["a"].settle()
    assert faults.recorded(verified(made["a"])) == []


@pytest.mark.parametrize("lie", ["leaves", "none", "foreign", "short", "endless"])
def test_a_node_that_hides_headers_is_found_out_and_never_believed(world, lie):
    foreign = World("b")
    foreign["b"].settle()

    class Lying(DirectStub):
        def GetHeaders(self, request):
            reply = super().GetHeaders(request)
            if request.from_height or not self.walking:
                self.walking = True  # first the honest advance, then the walk
                return reply
            match lie:
                case "leaves":
                    del reply.headers[0]
                case "none":
                    del reply.headers[:]
                case "foreign":
                    reply.headers[0].CopyFrom(DirectStub(foreign["b"]).GetHeaders(request).headers[0])
                case "short":
                    del reply.headers[1:]
                case "endless":
                    reply.headers.extend([reply.headers[0]] * 10)
            return reply

        walking = False

    stub = Lying(world["a"])
    chain = verified(world["a"], stub)
    if lie == "short":  # asked again, it goes on where it ended
        assert len(faults.recorded(chain)) == 3
    else:
        with pytest.raises(NotVerifiable, match="headers"):
            faults.recorded(chain)


def test_headers_that_end_early_hide_no_later_validators():
    """Of a chain whose set changed, a node shows the way only to the change: who came in later could be hidden."""
    made = World("a")
    shrink(made, "ann", "amy", "abe", "ada")

    class Short(DirectStub):
        asked = 0

        def GetHeaders(self, request):
            self.asked += 1
            reply = super().GetHeaders(request)
            if self.asked > 1:
                del reply.headers[1 if request.from_height == 0 else 0 :]
            return reply

    with pytest.raises(NotVerifiable, match="the headers end at height"):
        faults.recorded(verified(made["a"], Short(made["a"])))


@pytest.mark.parametrize(
    "lie", ["true", "other member", "no evidence", "no operation", "honest votes", "no record"]
)
def test_a_corrupt_quorum_cannot_record_what_the_votes_do_not_show(lie):
    made = World("a", corrupt="a")
    chain = made["a"]
    chain.settle()
    forged = Forged(chain)
    votes = [vote(chain, "amy", NOTARIZE, 1, 1, block_hash) for block_hash in (A, B)]
    if lie == "honest votes":
        votes[1] = vote(chain, "amy", NULLIFY, 1, 1)
    accused = "abe" if lie == "other member" else "amy"
    operation = Operation(evidence=evidence(*votes))
    if lie == "no evidence":
        operation = Operation(return_offer=ReturnOffer(part="p"))
    checked = forged.signed("ada", operation)
    subject = state.member_key(accused)
    number = 1 if lie == "no operation" else 0
    entry = forged.entry("", checked, EntryKind.EVIDENCE, operation=number, key=subject)
    record = chain.record(subject, MemberRecord)
    history = History()
    stored = [append_entry(chain.chain_id, history, entry)[1]]
    record.history.CopyFrom(history)
    forged.put(subject, record)
    forged.histories[subject] = stored
    if lie != "no record":
        key = key_of("amy", "validator")
        place = record_key(chain.chain_id, key, 1, 1)
        forged.put(place, EvidenceRecord(member=accused, key=key, height=1, recorded_at=entry.height))
    chain.settle()
    if lie == "true":
        assert [fault.member for fault in faults.recorded(verified(chain, forged))] == ["amy"]
    else:
        with pytest.raises(NotVerifiable, match="does not hold"):
            faults.recorded(verified(chain, forged))


# ---- files --------------------------------------------------------------------------------------------------------


def test_a_file_proves_its_faults_with_nothing_but_the_trust_file(world, found, file):
    name, read = faults.read(file, trust_of(world["a"]), now(world["a"]))
    assert name == "here"
    assert [faults.said(fault) for fault in read] == [faults.said(fault) for fault in found]


def test_a_file_about_a_chain_that_is_not_trusted_proves_nothing(world, file):
    other = replace(trust_of(world["a"]).chains[0], chain_id=bytes(32))
    with pytest.raises(ChiptraceError, match="does not name"):
        faults.read(file, Trust((other,), ()), now(world["a"]))


def edited(file, change):
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


@pytest.mark.parametrize("field", ["member", "key", "height", "view", "kind"])
def test_what_a_file_says_for_people_is_what_its_votes_show(world, file, field):
    edited(file, lambda document: document["faults"][1].update({field: document["faults"][0][field]}))
    with pytest.raises(ChiptraceError):
        faults.read(file, trust_of(world["a"]), now(world["a"]))


def test_headers_that_do_not_reach_the_votes_show_no_set(world, file):
    edited(file, lambda document: document.update(headers=document["headers"][:1]))
    with pytest.raises(ChiptraceError, match="is not shown by them"):
        faults.read(file, trust_of(world["a"]), now(world["a"]))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": "chiptrace evidence 1"}', "[" * 100_000, "\xff"]
)
def test_what_is_no_evidence_file_is_refused(world, tmp_path, text):
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(ChiptraceError):
        faults.read(path, trust_of(world["a"]), now(world["a"]))


# ---- an honest validator is never shown guilty ---------------------------------------------------------------------

HONEST = ("ada", "abe")  # their keys sign what honest validators sign; the others' keys are the forger's


def honest_votes(chain, member, index):
    """What an honest validator may have signed at heights 2 and 3, where the chain's block was final in view 1: the
    block's notarize in every view, and finalize or nullify."""
    made = []
    for height in (2, 3):
        block = chain.header(height).certificate.block_hash
        for view, last in ((1, FINALIZE), (2, NULLIFY), (3, FINALIZE)):
            made.append(vote(chain, member, NOTARIZE, height, view, block, index))
            made.append(vote(chain, member, last, height, view, block if last == FINALIZE else b"", index))
    return made


@pytest.fixture(scope="module")
def material(world):
    chain = world["a"]
    votes = [v for index, member in enumerate(HONEST) for v in honest_votes(chain, member, index)]
    for index, member in ((2, "amy"), (3, "ann")):
        votes += [
            vote(chain, member, kind, height, view, block_hash, index)
            for kind, block_hash in (
                (NOTARIZE, A),
                (NOTARIZE, B),
                (FINALIZE, A),
                (FINALIZE, B),
                (NULLIFY, b""),
            )
            for height in (2, 3)
            for view in (1, 3)
        ]
    # Finalizations are votes as well: those in the headers' certificates.
    for height in (1, 2, 3):
        certificate = chain.header(height).certificate
        for index in range(4):
            votes.append(
                Vote(
                    kind=FINALIZE,
                    height=height,
                    view=certificate.view,
                    block_hash=certificate.block_hash,
                    signer=index,
                    signature=certificate.signatures[index],
                )
            )
    return votes


FIELDS = ("kind", "height", "view", "signer", "block_hash", "signature")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_forged_file_shows_an_honest_validator_guilty(world, material, tmp_path, data):
    """Any two votes there are, with fields of any others put into them, shown at any height, with headers left out,
    doubled or swapped: what is accepted convicts a key that the forger holds."""
    chain = world["a"]
    first = data.draw(st.sampled_from(material))
    of_same = [item for item in material if item.signer == first.signer]
    pair = [Vote(), Vote()]
    pair[0].CopyFrom(first)
    pair[1].CopyFrom(
        data.draw(st.one_of(st.just(first), st.sampled_from(of_same), st.sampled_from(material)))
    )
    for made in pair:
        for name in data.draw(st.lists(st.sampled_from(FIELDS), max_size=1)):
            setattr(made, name, getattr(data.draw(st.sampled_from(material)), name))
    if data.draw(st.booleans()):
        pair[1].block_hash = data.draw(st.sampled_from([A, B]))
    if data.draw(st.booleans()):
        name = data.draw(st.sampled_from(("height", "view", "signer")))
        chosen = getattr(data.draw(st.sampled_from(material)), name)
        for made in pair:
            setattr(made, name, chosen)
    whole = chain.headers_above(0)
    headers = data.draw(
        st.one_of(st.just(whole), st.just(whole), st.lists(st.sampled_from(whole), max_size=len(whole) + 1))
    )
    height = data.draw(st.sampled_from([pair[0].height, pair[0].height, 1, 2, 3, 9]))
    text = lambda item: base64.b64encode(codec.encode(item)).decode()
    member = MEMBERS["a"][pair[0].signer]  # of the genesis' set, which is in force at these heights
    key = key_of(member, "validator")
    kinds = sorted({faults.VoteKind.Name(item.kind).lower() for item in pair if item.kind in (1, 2, 3)})
    document = {
        "format": faults.FORMAT,
        "chain_id": chain.chain_id.hex(),
        "faults": [
            {
                "member": member,
                "key": key.hex(),
                "height": height,
                "view": pair[0].view,
                "kind": f"{kinds[0]} twice" if len(kinds) == 1 else " and ".join(kinds),
                "first": text(pair[0]),
                "second": text(pair[1]),
            }
        ],
        "genesis": base64.b64encode(chain.genesis).decode(),
        "headers": [text(signed) for signed in headers],
    }
    path = tmp_path / "forged"
    path.write_text(json.dumps(document))
    try:
        _, (fault,) = faults.read(path, trust_of(chain), now(chain))
    except ChiptraceError:
        return
    assert fault.member not in HONEST
    assert fault.key == key_of(fault.member, "validator")


def test_the_forger_of_that_test_does_convict_himself(world, material, tmp_path):
    """So that the property above is not true of nothing."""
    chain = world["a"]
    way = faults.Way(trust_of(chain).chains[0], chain.genesis, chain.headers_above(0), now(chain))
    shown = evidence(*(vote(chain, "amy", NOTARIZE, 3, 1, block_hash) for block_hash in (A, B)))
    assert faults.judge(way, shown).member == "amy"


def test_a_genesis_of_the_forgers_own_is_another_chain(world, file):
    other = World("b")["b"]

    def swap(document):
        document["genesis"] = base64.b64encode(other.genesis).decode()

    edited(file, swap)
    with pytest.raises(ChiptraceError, match="not the one of the chain id"):
        faults.read(file, trust_of(world["a"]), now(world["a"]))


def test_headers_certified_by_a_set_that_was_not_in_force_show_nothing(world, file):
    """The forger's two keys out of four are no quorum: a header that only they certify leads nowhere."""
    chain = world["a"]
    signed = chain.headers_above(0)[0]
    while len(signed.certificate.signatures) > 2:
        signed.certificate.signatures.pop(0)
    signed.certificate.signers = bytes([0b00110000])
    text = base64.b64encode(codec.encode(signed)).decode()
    edited(file, lambda document: document["headers"].__setitem__(0, text))
    with pytest.raises(ChiptraceError):
        faults.read(file, trust_of(chain), now(chain))
