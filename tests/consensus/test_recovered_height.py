"""The height at which a recovery's set begins may have been voted on by the set before: why its keys must be fresh,
and how far a node that is behind is led."""

import itertools

import pytest

from consensus.bodies import check_body
from consensus.boundaries import Horizon
from consensus.certificate import form, verify_certificate
from consensus.effects import Received
from consensus.messages import signed_vote
from consensus.patience import Patience
from consensus.quorum import quorum
from ledger import codec, hashes
from ledger.block import block_hash, recovery_mark
from ledger.errors import Invalid
from ledger.limits import VALIDATORS_MAX
from ledger.merkle import EMPTY_ROOT
from proto.chiptrace.v1.consensus_pb2 import NOTARIZE, BoundaryReply, PeerMessage, Vote, VoteKind
from proto.chiptrace.v1.ledger_pb2 import Block, Reason, Validator, ValidatorSet
from tests.bridge.certified import CHAIN, Keys, make_header, signed_header
from tests.consensus import chain
from tests.consensus.lone import Lone

HEIGHT = 40  # the first lost one
LOST_BLOCK = b"\x01" * 32  # proposed by the old set, names the old set, never final


def notarize(seed: bytes) -> bytes:
    vote = Vote(kind=NOTARIZE, height=HEIGHT, view=1, block_hash=LOST_BLOCK)
    return hashes.sign_raw(seed, signed_vote(CHAIN, vote))


def new_set(seeds: list[bytes]) -> ValidatorSet:
    validators = [Validator(key=hashes.public_key(seed), member=str(n)) for n, seed in enumerate(seeds)]
    return ValidatorSet(in_force_from=HEIGHT, validators=validators)


def certificate_of_old_votes(voters: list[bytes], validators: ValidatorSet):
    """What whoever kept the old votes can show to the new set: a notarization, if its keys signed enough of them."""
    indexes = {validator.key: index for index, validator in enumerate(validators.validators)}
    signatures = {
        indexes[hashes.public_key(seed)]: notarize(seed)
        for seed in voters
        if hashes.public_key(seed) in indexes
    }
    return form(NOTARIZE, HEIGHT, 1, LOST_BLOCK, signatures, len(validators.validators))


def test_with_old_keys_the_votes_of_the_lost_height_make_a_certificate_of_the_new_set():
    """Seven validators, quorum five. Four survive, and had all voted for one block, rightly: it was not notarized.
    As a set of four, quorum three, the very same votes are a notarization of a block that names another set."""
    survivors = Keys("abcdefg").seeds[:4]
    assert len(survivors) < quorum(7)
    validators = new_set(survivors)
    verify_certificate(CHAIN, validators, certificate_of_old_votes(survivors, validators))


def test_with_fresh_keys_they_make_nothing():
    survivors = Keys("abcdefg").seeds
    validators = new_set(Keys("abcd", salt="fresh").seeds)
    with pytest.raises(Invalid):
        verify_certificate(CHAIN, validators, certificate_of_old_votes(survivors, validators))
    # Nor put beside each other in any order: a signature is of its key.
    signatures = {index: notarize(seed) for index, seed in enumerate(survivors[:4])}
    with pytest.raises(Invalid):
        verify_certificate(CHAIN, validators, form(NOTARIZE, HEIGHT, 1, LOST_BLOCK, signatures, 4))


def test_the_engine_of_the_new_set_hears_nothing_in_what_the_old_set_signed():
    """Validators 0 to 3 are the recovery's. Keys 4 to 10 were the old set, and all of them had voted at this height:
    notarized, nullified and even finalized. Whoever kept those votes and certificates shows them, in every disguise."""
    lone = Lone(0, 4)
    journal = list(lone.journal)
    for kind, view in itertools.product((VoteKind.NOTARIZE, VoteKind.NULLIFY, VoteKind.FINALIZE), (1, 2)):
        block_hash = b"" if kind == VoteKind.NULLIFY else LOST_BLOCK
        signatures = {}
        for place, key in enumerate(range(4, 11)):
            vote = Vote(kind=kind, height=1, view=view, block_hash=block_hash, signer=place % 4)
            vote.signature = chain.sign(key, signed_vote(chain.CHAIN_ID, vote))
            signatures[place] = vote.signature
            for sender in (chain.key(key), chain.key(place % 4)):
                lone.step(Received(sender, PeerMessage(vote=vote)))
        for count, size in ((5, 7), (3, 4), (4, 4)):
            some = {index: signatures[index] for index in range(count)}
            certificate = form(kind, 1, view, block_hash, some, size)
            lone.step(Received(chain.key(1), PeerMessage(certificate=certificate)))
    assert lone.journal == journal
    assert (lone.engine.height, lone.engine.view, lone.engine.finalization) == (1, 1, None)
    # It is not deaf: its own set's nullifications bring it to the next view.
    lone.step(Received(chain.key(1), PeerMessage(certificate=lone.certificate(VoteKind.NULLIFY, 1, b""))))
    assert lone.engine.view == 2


def harms(old: int, survivors: int, new: int, kept: int, *, remembers: bool) -> set[str]:
    """What can go wrong in one view of the first height, all of the new set honest: `survivors` of `old` voted for
    the lost block, `kept` of their keys are in the `new` set. `remembers`: a kept key stands by its old vote."""
    needed = quorum(new)
    found = set()
    if kept >= needed:
        found.add("the lost block is notarized")  # without any vote of the new set
    voting = new - kept if remembers else new
    if kept >= 1 and not remembers:
        found.add("an honest key signs two notarizes")
    if kept >= needed and voting >= needed:
        found.add("two blocks are notarized in one view")
    if voting < needed:
        found.add("nothing else can be notarized in that view")
    return found


def all_cases():
    for old, new in itertools.product(range(4, 14), repeat=2):
        for survivors in range(1, quorum(old)):
            for kept in range(min(survivors, new) + 1):
                yield old, survivors, new, kept


@pytest.mark.parametrize("remembers", [False, True])
def test_over_all_small_sets_only_fresh_keys_do_no_harm(remembers):
    seen = set()
    for old, survivors, new, kept in all_cases():
        found = harms(old, survivors, new, kept, remembers=remembers)
        if kept == 0:
            assert not found
        seen |= found
    # Remembering old votes does not help: the smaller quorum reads them as a certificate all the same.
    assert "the lost block is notarized" in seen
    assert ("two blocks are notarized in one view" in seen) is not remembers
    assert VALIDATORS_MAX >= 13


@pytest.mark.parametrize("carried", [b"", b"\x08" * 40, b"\x07" * 39])
def test_a_body_whose_recovery_is_not_the_headers_is_another_body(carried):
    """A peer that hands out a certified block cannot leave the recovery away, nor its approvals."""
    whole = b"\x07" * 40
    header = make_header(HEIGHT, NEW, recovery=recovery_mark(CHAIN, whole), transactions_root=EMPTY_ROOT)
    this_hash = block_hash(CHAIN, header)
    good = codec.encode(Block(header=header, recovery=whole))
    assert check_body(CHAIN, good, this_hash).height == HEIGHT
    with pytest.raises(Invalid) as caught:
        check_body(CHAIN, codec.encode(Block(header=header, recovery=carried)), this_hash)
    assert caught.value.reason == Reason.BAD_ROOT


# ---- a node that is behind ------------------------------------------------------------------------------------------

OLD = Keys("abcd")
NEW = Keys("abcd", HEIGHT, salt="recovered")
LAST = signed_header(HEIGHT - 1, OLD)
FIRST = signed_header(HEIGHT, NEW, recovery=b"\x07" * 32)
PEER = b"\x09" * 32


def claim(keys: Keys, height: int):
    return signed_header(height, keys).certificate


def horizon() -> Horizon:
    return Horizon(CHAIN, None, hashes.verify_raw, OLD.set, Patience(500))


def asked(found: Horizon, now_ms: int) -> list[bytes]:
    return [peer for peer, _ in found.requests(now_ms)]


def test_it_is_led_to_the_last_height_of_the_old_set_and_not_beyond():
    found = horizon()
    found.told(PEER, claim(NEW, HEIGHT + 60))
    assert found.target == 0
    assert asked(found, 0) == [PEER]
    found.answered(PEER, BoundaryReply(headers=[LAST, FIRST]), 1)
    assert found.target == HEIGHT - 1
    assert found.validators == OLD.set
    # What is claimed of behind is not believed, and whoever claims it again is heard again.
    found.told(PEER, claim(NEW, HEIGHT + 61))
    assert asked(found, 2) == [PEER]


def test_with_the_recovery_applied_the_height_opens_with_its_set_and_it_goes_on():
    found = horizon()
    found.told(PEER, claim(NEW, HEIGHT + 60))
    assert asked(found, 0) == [PEER]
    found.answered(PEER, BoundaryReply(headers=[LAST, FIRST]), 1)
    found.opened(HEIGHT, NEW.set)
    assert found.validators == NEW.set
    found.told(PEER, claim(NEW, HEIGHT + 61))
    assert found.target == HEIGHT + 61


@pytest.mark.parametrize("went_on", [False, True])
def test_a_recovery_of_a_chain_that_died_as_its_set_changed_opens_with_its_set_too(went_on):
    """The set that was to follow never got to its feet, and is what the last header names: who fetches the chain from its
    beginning has proven it, and perhaps (some of its validators came back, nobody told them) a set that follows that."""
    dead, later = Keys("efgh", HEIGHT), Keys("ijkl", HEIGHT + 2)
    last = signed_header(HEIGHT - 1, OLD, dead)
    found = horizon()
    found.told(PEER, claim(NEW, HEIGHT + 60))
    assert asked(found, 0) == [PEER]
    beyond = [signed_header(HEIGHT + 1, dead, later)] if went_on else []
    found.answered(PEER, BoundaryReply(headers=[last, *beyond, FIRST]), 1)
    assert found.target == HEIGHT - 1 + 2 * went_on
    assert found.validators == (later if went_on else dead).set
    for height in range(2, HEIGHT):
        found.opened(height, OLD.set)  # what it executes meanwhile is nothing new
        assert found.target >= HEIGHT - 1
    found.opened(HEIGHT, NEW.set)
    assert found.validators == NEW.set
    assert found.target == HEIGHT + 60  # what was claimed is proven by the set that goes on
    found.told(PEER, claim(NEW, HEIGHT + 61))
    assert found.target == HEIGHT + 61


@pytest.mark.parametrize("lie", ["other set", "few", "other height"])
def test_no_height_is_believed_that_the_old_set_did_not_make_final(lie):
    found = horizon()
    found.told(PEER, claim(NEW, HEIGHT + 60))
    assert asked(found, 0) == [PEER]
    header = {
        "other set": signed_header(HEIGHT - 1, NEW),
        "few": signed_header(HEIGHT - 1, OLD, signers=[0]),
        "other height": signed_header(HEIGHT - 1, OLD),
    }[lie]
    if lie == "other height":
        header.certificate.CopyFrom(claim(OLD, HEIGHT - 2))
    found.answered(PEER, BoundaryReply(headers=[header, FIRST]), 1)
    assert found.target == 0
