"""A step of a long route, shown to a chain that is to know it: where a part went on to from another chain.

That chain shows the part's record and, where it left inside something, what is around it, outwards (`bridge/following.py`
says what is proven). One step in one transaction; if the client here knows no header
recent enough to prove it under, the same transaction brings it one.
"""

from client.materialising import proven
from client.verified import VerifiedChain
from ledger import codec, state
from ledger.errors import Refused
from ledger.limits import CONTAINER_DEPTH_MAX
from proto.chiptrace.v1.bridge_pb2 import FollowPart, ProvenRecord
from proto.chiptrace.v1.ledger_pb2 import Operation, PartRecord, Reason


def operations(here: VerifiedChain, there: VerifiedChain, part: str) -> list[Operation]:
    """The operations that let chain `here` know where a part, by canonical id, went on to from chain `there`.

    Raises Refused: UNKNOWN_PART where that chain has no record of it, UNKNOWN_CLIENT; NotVerifiable, NodeRefused,
    NoAnswer. Whether it left for good over there, and follows on what is known here, the chain says.
    """
    # (1) Its record over there, and what it left in; of what left by itself the client it went over.
    path, last = _path(there, part)
    over = state.client_key(last.client) if len(path) == 1 and last.client else b""
    # (2) All of it under one header that the client here keeps, or will.
    client_id, header_height, reply, found = proven(here, there, [*path, over] if over else path)
    shown = {one.key: ProvenRecord(value=one.value, proof=one.proof) for one in reply.keys}
    message = FollowPart(
        client=client_id,
        part=part,
        header_height=header_height,
        opening=reply.opening,
        path=[shown[key] for key in path],
        over=shown[over] if over else None,
    )
    return [*found, Operation(follow_part=codec.encode(message))]


def _path(there: VerifiedChain, part: str) -> tuple[list[bytes], PartRecord]:
    """The keys of the part's record, of the filling it is in, of that one's container, and so on outwards."""
    record = there.record(state.part_key(part), PartRecord)
    if record is None:
        raise Refused(
            f"chain {there.trust.name} has no record of {part}; name the chain that it went on from, and what came to "
            "that one inside a container is made known there first (`chiptrace materialise`)",
            Reason.UNKNOWN_PART,
        )
    keys = [state.part_key(part)]
    for _ in range(CONTAINER_DEPTH_MAX):
        if not record.container:
            break
        around = state.part_key(record.container)
        keys += [state.generation_key(record.container, record.generation), around]
        record = there.record(around, PartRecord) or PartRecord()
    return keys, record
