"""Over which clients a subject left this chain: where a recall of it has to follow."""

from collections.abc import Iterable

from bridge.clients import clients_of
from ledger import state
from ledger.containers import load_generation
from ledger.custody import load_part
from ledger.limits import CONTAINER_DEPTH_MAX
from ledger.state import Overlay, Reader
from proto.chiptrace.v1.ledger_pb2 import DEPARTED, IN_TRANSIT, ClosedBy, LotRecord, PartRecord


def left_over(reader: Reader, subject: str) -> list[str]:
    """The clients of the chains that a part, a container or a lot went to, each once; none for what is here.

    A part in a container is where the container went. A lot went wherever some of it went.
    """
    chains: list[bytes] = []
    clients: list[str] = []
    part = load_part(reader, subject)
    if part is not None:
        client, chain_id = _gone(reader, part)
        clients += [client] if client else []
        chains += [chain_id] if chain_id else []
    lot = state.load(reader, state.lot_key(subject), LotRecord)
    chains += [] if lot is None else list(lot.gone_to)
    for chain_id in chains:
        clients += clients_of(reader, chain_id)
    return list(dict.fromkeys(clients))


def note_gone(overlay: Overlay, lots: Iterable[str], destination: bytes) -> None:
    """Says in the record of each lot that some of it went to a chain, so that a recall of the lot follows it there."""
    for lot in dict.fromkeys(lots):
        record = state.load(overlay, state.lot_key(lot), LotRecord)
        if record is not None and destination not in record.gone_to:
            record.gone_to.append(destination)
            state.save(overlay, state.lot_key(lot), record)


def _gone(reader: Reader, part: PartRecord) -> tuple[str, bytes]:
    """The client that the outermost thing around a part left over, or the chain that its generation was exported to."""
    current = part
    for _ in range(CONTAINER_DEPTH_MAX + 1):
        if current.container:
            generation = load_generation(reader, current.container, current.generation)
            if generation.closed_by == ClosedBy.EXPORT:
                return "", generation.destination
            around = state.load(reader, state.part_key(current.container), PartRecord)
            if generation.closed_by != ClosedBy.CLOSED_BY_UNSPECIFIED or around is None:
                return "", b""
            current = around
            continue
        frozen = current.status in (IN_TRANSIT, DEPARTED)
        return (current.client, b"") if frozen else ("", b"")
    return "", b""
