"""The history of one subject: an RFC 9162 tree over its entries, of which the record keeps (n, frontier).

One state proof of the record plus the entries themselves shows that the history is complete; no entry can
be left out, added or moved without another root.
"""

from collections.abc import Sequence

from ledger import codec, hashes, merkle
from ledger.errors import Invalid
from ledger.hashes import Purpose
from proto.chiptrace.v1.ledger_pb2 import Entry, History, Reason


def entry_leaf(chain_id: bytes, entry: bytes) -> bytes:
    """The leaf hash (32 bytes) of an encoded Entry."""
    return hashes.leaf_hash(Purpose.HISTORY, chain_id, entry)


def append_entry(chain_id: bytes, history: History, entry: Entry) -> tuple[int, bytes]:
    """Appends an entry to a history in place; returns (number of entries before, the entry's bytes)."""
    data = codec.encode(entry)
    n_before, frontier = history.n, history.frontier
    merkle.append_to(n_before, frontier, entry_leaf(chain_id, data))
    history.n = n_before + 1
    return n_before, data


def history_root(history: History) -> bytes:
    """The RFC 9162 root (32 bytes) of a history. Raises Invalid(BAD_PROOF) when n and frontier disagree."""
    if len(history.frontier) != history.n.bit_count():
        raise Invalid(
            f"a history of {history.n} entries has {len(history.frontier)} frontier hashes", Reason.BAD_PROOF
        )
    return merkle.frontier_root(history.n, list(history.frontier))


def verify_history(chain_id: bytes, history: History, entries: Sequence[bytes]) -> None:
    """Returns only if `entries` (encoded, in order) are the complete history. Raises Invalid(BAD_PROOF)."""
    # (1) As many as the record says.
    if len(entries) != history.n:
        raise Invalid(f"{len(entries)} entries are no history of {history.n}", Reason.BAD_PROOF)
    # (2) Appending them one by one gives the very frontier of the record.
    frontier = merkle.frontier(entry_leaf(chain_id, entry) for entry in entries)
    if frontier != list(history.frontier):
        raise Invalid("the entries do not give the history's frontier", Reason.BAD_PROOF)
