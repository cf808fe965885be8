"""Which chain of the trust file to ask about a part: the one that it is proven to be present on."""

from collections.abc import Mapping
from types import MappingProxyType

from client.audit_chains import LEFT, PRESENT, hop_of, present_status
from client.connection import NoAnswer
from client.serials import find_part
from client.verified import VerifiedChain
from ledger import state
from ledger.errors import Malformed
from proto.chiptrace.v1.ledger_pb2 import LotRecord, Membership, PartStatus


def locate(
    chains: Mapping[bytes, VerifiedChain], name: str, shown: Mapping[str, Membership] = MappingProxyType({})
) -> bytes:
    """Id of the chain on which a part or lot, by canonical id, is present; else of one that has a record of it,
    what has left, or is leaving, by itself or inside something, counting least, and of several the one it left last; else of the
    first chain. shown: see `find_part`.

    Raises Malformed without chains, NoAnswer when a chain that did not answer may be the one,
    NotVerifiable.
    """
    if not chains:
        raise Malformed("the trust file names no chain")
    ranks: dict[bytes, tuple[int, int]] = {}
    silent: NoAnswer | None = None
    for chain_id, chain in chains.items():
        try:
            ranks[chain_id] = _rank(chain, name, shown)
        except NoAnswer as error:
            silent = error
    best = max(ranks, key=lambda chain_id: ranks[chain_id], default=None)
    if best is None or (ranks[best][0] < _rank_of(PartStatus.LIVE) and silent is not None):
        raise silent or Malformed("the trust file names no chain")
    return best


def _rank(chain: VerifiedChain, name: str, shown: Mapping[str, Membership]) -> tuple[int, int]:
    part = find_part(chain, name, shown)
    if part is not None:
        return _rank_of(present_status(chain, part)[0]), hop_of(chain, part)
    return (1 if chain.record(state.lot_key(name), LotRecord) is not None else 0), 0


def _rank_of(status: "PartStatus.ValueType") -> int:
    if status in PRESENT:
        return 4
    return 2 if status in LEFT else 3
