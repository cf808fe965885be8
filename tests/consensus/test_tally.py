from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from consensus.quorum import quorum
from consensus.tally import Held, Standing, Tally, conflict
from tests.consensus import chain
from tests.consensus.lone import FINALIZE, NOTARIZE, NULLIFY

HASHES = [bytes([i]) * 32 for i in range(2)]
KINDS = st.sampled_from([NOTARIZE, NULLIFY, FINALIZE])


@st.composite
def votes(draw):
    kind = draw(KINDS)
    block_hash = b"" if kind == NULLIFY else draw(st.sampled_from(HASHES))
    return chain.vote(kind, draw(st.integers(0, 3)), 1, draw(st.integers(1, 2)), block_hash)


@given(st.lists(votes(), max_size=40))
def test_the_tally_counts_the_first_vote_of_each_slot(cast):
    tally = Tally(4)
    first = {}
    for vote in cast:
        slot = (vote.view, vote.kind, vote.signer)
        standing, earlier = tally.standing(vote)
        held = [
            v for v in first.values() if v.signer == vote.signer and v.view == vote.view and conflict(v, vote)
        ]
        if slot in first and first[slot].block_hash == vote.block_hash:
            assert standing is Standing.KNOWN
        elif held:
            assert standing is Standing.CONFLICTING
            assert earlier in held
        else:
            assert standing is Standing.NEW
        certificate = tally.add(vote)
        if slot in first:
            assert certificate is None
            continue
        first[slot] = vote
        same = [v for s, v in first.items() if s[:2] == slot[:2] and v.block_hash == vote.block_hash]
        assert (certificate is not None) == (len(same) >= quorum(4))
        if certificate is not None:
            made = chain.certificate(vote.kind, [v.signer for v in same], 4, 1, vote.view, vote.block_hash)
            assert certificate == made


@given(votes(), votes())
def test_a_conflict_is_mutual_and_never_with_itself(first, second):
    assert conflict(first, second) == conflict(second, first)
    assert not conflict(first, first)
    kinds = {first.kind, second.kind}
    if kinds in ({NOTARIZE, NULLIFY}, {NOTARIZE, FINALIZE}):
        assert not conflict(first, second)


@given(st.lists(st.tuples(KINDS, st.integers(1, 8)), max_size=30))
def test_held_certificates(added):
    held = Held()
    views = defaultdict(set)
    for kind, view in added:
        certificate = chain.certificate(kind, range(3), 4, 1, view, b"" if kind == NULLIFY else HASHES[0])
        known = bool(views[kind]) if kind == FINALIZE else view in views[kind]
        assert held.has(certificate) == known
        held.add(certificate)
        views[kind].add(view)
    highest = held.highest_notarization()
    assert (highest.view if highest else 0) == max(views[NOTARIZE], default=0)
    assert [c.view for c in held.notarizations()] == sorted(views[NOTARIZE])
    for after in range(9):
        assert [c.view for c in held.nullifications(after)] == sorted(v for v in views[NULLIFY] if v > after)
        for before in range(1, 10):
            between = set(range(after + 1, before))
            assert held.all_nullified(after, before) == (between <= views[NULLIFY])
            assert {c.view for c in held.nullifications(after, before)} == between & views[NULLIFY]


def test_the_first_certificate_of_a_kind_and_view_stays():
    held = Held()
    first = chain.certificate(NOTARIZE, range(3), 4, 1, 1, HASHES[0])
    held.add(first)
    held.add(chain.certificate(NOTARIZE, range(1, 4), 4, 1, 1, HASHES[0]))
    assert held.notarization(1) == first
    assert held.notarization(2) is None
