"""Many proofs of one log, against the verifier of one."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client import log_proofs
from client.log_proofs import LogProofs
from ledger import merkle
from ledger.errors import Invalid
from proto.chiptrace.v1.ledger_pb2 import InclusionProof
from tests.ledger.test_merkle import LEAVES, LOG, flip, refused


@pytest.mark.parametrize("kept", [log_proofs.NODES_KEPT_MAX, 2, 0])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_many_proofs_of_one_tree_are_judged_as_each_alone(monkeypatch, kept, data):
    """Whatever was proven or refused before: also paths that are wrong only above what is known already."""
    monkeypatch.setattr(log_proofs, "NODES_KEPT_MAX", kept)
    size = data.draw(st.integers(1, len(LEAVES)))
    root = merkle.root(LEAVES[:size])
    together = LogProofs(size, root)
    for index in data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=12)):
        path, leaf, claimed = list(LOG.inclusion(index, size).path), LEAVES[index], index
        change = data.draw(st.sampled_from(["", "", "bit", "cut", "longer", "leaf", "index", "short hash"]))
        place = data.draw(st.integers(0, len(path)))
        if change == "bit" and place < len(path):
            path[place] = flip(path[place], data.draw(st.integers(0, 255)))
        elif change == "cut" and place < len(path):
            del path[place]
        elif change == "longer":
            path.insert(place, data.draw(st.sampled_from([root, leaf, bytes(32), *path])))
        elif change == "leaf":
            leaf = LEAVES[data.draw(st.integers(0, size - 1))]
        elif change == "index":
            claimed = data.draw(st.integers(0, size + 1))
        elif change == "short hash" and place < len(path):
            path[place] = path[place][:31]
        try:
            merkle.verify_inclusion(leaf, InclusionProof(index=claimed, size=size, path=path), root)
        except Invalid:
            refused(together.verify, leaf, claimed, path)
        else:
            together.verify(leaf, claimed, path)
