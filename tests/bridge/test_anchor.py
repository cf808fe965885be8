"""The walk from the genesis to what a snapshot must come to: every header in its place, and no other passes."""

import random

import pytest

from ledger import codec
from ledger.block import decode_header
from ledger.errors import Invalid, Malformed
from proto.chiptrace.v1.ledger_pb2 import Header, Reason
from tests.bridge import recovered
from tests.bridge.offered import Shown, begun, turn_set
from tests.bridge.two_chains import BridgedChain, Clock


def make_chain(turns=3, name="a"):
    chain = BridgedChain(name, Clock())
    for _ in range(turns):
        chain.produce()
        turn_set(chain)
    for _ in range(4):
        chain.produce()
    return chain


@pytest.fixture(scope="module")
def chain():
    found = make_chain()
    assert len(found.app.store.boundaries(0, 10)) == 3
    return found


def refused(shown, **options):
    with pytest.raises((Invalid, Malformed)) as error:
        shown.anchor(**options)
    return error.value.reason


def test_every_height_has_its_anchor(chain):
    """Below, at and right above each change of set too."""
    store = chain.app.store
    for height in range(1, chain.height):
        anchor = Shown(chain, height).anchor()
        leaf = store.log_leaf(height)
        assert (anchor.height, anchor.block_hash, anchor.time_ms) == (height, leaf.block_hash, leaf.time_ms)
        assert anchor.opening.state_root == leaf.state_root
        assert anchor.certificate == store.certificate(height)
        assert anchor.boundaries == [item for item in store.boundaries(0, 10) if item.height <= height]


def test_a_node_begun_at_any_height_is_the_chain(chain):
    for height in range(1, chain.height):
        other = begun(chain, height)
        assert other.info == chain.info
        assert other.app.store.boundaries(0, 10) == chain.app.store.boundaries(0, 10)
        assert other.headers_above(0) == chain.headers_above(0)


def test_a_boundary_left_out_doubled_moved_or_false_is_refused(chain):
    height = chain.height - 1
    for index in range(3):
        shown = Shown(chain, height)
        del shown.boundaries[index]
        refused(shown)
        shown = Shown(chain, height)
        shown.boundaries.insert(index, shown.boundaries[index])
        assert refused(shown) == Reason.NOT_NEWER
        shown = Shown(chain, height)
        shown.boundaries[index].next_validators = b""
        refused(shown)
    shown = Shown(chain, height)
    shown.boundaries.reverse()
    refused(shown)


def test_a_header_at_which_nothing_changes_is_no_boundary(chain):
    """It would stand in the store where no honest node has one."""
    for number in range(1, chain.height - 1):
        if chain.app.store.boundary(number) is not None:
            continue
        shown = Shown(chain, chain.height - 1)
        shown.boundaries.append(chain.header(number))
        shown.boundaries.sort(key=lambda item: decode_header(item.header).height)
        assert refused(shown) == Reason.BAD_VALIDATORS, number


def test_headers_of_other_heights_or_without_a_quorum_are_refused(chain):
    height = chain.height - 2
    for last, head, reason in (
        (height, height, Reason.BAD_PARENT),
        (height, height + 2, Reason.BAD_PARENT),
        (height - 1, height + 1, Reason.BAD_PARENT),
        (height + 1, height, Reason.NOT_NEWER),
    ):
        shown = Shown(chain, height)
        shown.last, shown.head = chain.header(last), chain.header(head)
        assert refused(shown) == reason
    below = Shown(chain, 2)  # of the snapshot's height, and boundaries above it
    below.boundaries = Shown(chain, height).boundaries
    assert refused(below) == Reason.NOT_NEWER
    for name in ("last", "head"):
        shown = Shown(chain, height)
        certificate = getattr(shown, name).certificate
        certificate.signers, certificate.signatures[:] = b"\xc0", certificate.signatures[:2]
        assert refused(shown) == Reason.BAD_CERTIFICATE
        shown = Shown(chain, height)
        header = Header.FromString(getattr(shown, name).header)
        header.app_hash = bytes(32)
        getattr(shown, name).header = codec.encode(header)
        assert refused(shown) == Reason.BAD_CERTIFICATE


def test_the_opening_is_that_of_the_head(chain):
    height = chain.height - 2
    for field, value in (
        ("state_root", bytes(32)),
        ("log_root", bytes(32)),
        ("log_size", height + 1),
        ("state_root", b""),
    ):
        shown = Shown(chain, height)
        setattr(shown.opening, field, value)
        assert refused(shown) == Reason.BAD_PROOF


def test_a_snapshot_below_the_checkpoint_or_in_the_future_is_refused(chain):
    height = chain.height - 2
    shown = Shown(chain, height)
    right = chain.app.store.log_leaf(2).block_hash
    assert shown.anchor(checkpoint=(2, right)).checkpoint == (2, right)
    assert refused(Shown(chain, height), checkpoint=(height + 1, right)) == Reason.NOT_NEWER
    assert refused(Shown(chain, height), now_ms=chain.info.time_ms - 60_000) == Reason.BAD_TIME


def test_another_chain_is_refused(chain):
    other = make_chain(name="b")
    shown = Shown(chain, chain.height - 2)
    shown.last = other.header(shown.height)
    assert refused(shown) == Reason.WRONG_CHAIN


def test_random_falsifications_never_come_to_another_anchor(chain):
    """Whatever is exchanged for what of the same chain: the right anchor, or none."""
    random_ = random.Random(11)
    right = {height: Shown(chain, height).anchor() for height in range(1, chain.height)}
    refusals = 0
    for _ in range(300):
        height = random_.randrange(1, chain.height)
        shown = Shown(chain, height)
        for _ in range(random_.randrange(1, 3)):
            what = random_.randrange(4)
            donor = Shown(chain, random_.randrange(1, chain.height))
            if what == 0:
                shown.last = donor.last
            elif what == 1:
                shown.head = donor.head
            elif what == 2:
                shown.opening = donor.opening
            else:
                shown.boundaries = donor.boundaries
        try:
            found = shown.anchor()
        except (Invalid, Malformed):
            refusals += 1
        else:
            assert found == right[found.height]
    assert 100 < refusals < 300


def test_past_a_recovery_only_with_the_operators_word():
    chain = make_chain(1)
    opened = recovered.recover(chain)
    turn_set(chain)
    for _ in range(4):
        chain.produce()
    at = opened.height
    for height in range(at, chain.height):
        assert refused(Shown(chain, height)) == Reason.RECOVERED
        anchor = Shown(chain, height).anchor(accepted=[opened.hash])
        kept = [item for item in chain.app.store.boundaries(0, 10) if item.height <= height]
        # The header below a recovery became a boundary with the one above it.
        assert anchor.boundaries == [item for item in kept if item.height != at or height > at]
        other = begun(chain, height, [opened])
        assert other.info == chain.info
        assert other.app.store.boundaries(0, 10) == chain.app.store.boundaries(0, 10)
