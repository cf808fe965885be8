"""What came inside a container, made known on the chain where it is: the proofs are fetched and put together.

The chain it came from shows its record and, if it lies in further containers, theirs; each becomes a record here,
outermost first, in one transaction. If the client here knows no header recent enough to prove them under, the same
transaction brings it one.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from bridge.clients import clients_of, rehoming_key
from bridge.contents import arrival_key
from client.verified import NotVerifiable, VerifiedChain
from ledger import codec, state
from ledger.block import decode_header
from ledger.errors import Refused
from ledger.identifiers import canonical
from ledger.intervals import stands_in
from ledger.limits import CONTAINER_DEPTH_MAX
from proto.chiptrace.v1.bridge_pb2 import (
    ArrivalRecord,
    ClientRecord,
    Materialise,
    ProvenRecord,
    UpdateClient,
)
from proto.chiptrace.v1.consensus_pb2 import SignedHeader
from proto.chiptrace.v1.ledger_pb2 import Membership, Operation, PartRecord, Reason, RehomingRecord
from proto.chiptrace.v1.node_pb2 import HeadersReply, HeadersRequest, ProveReply, ProveRequest


def way_in(here: VerifiedChain, there: VerifiedChain, part: str) -> list[str]:
    """What has to become a record here so that a part does, outermost first. Serials of a lot without a record of their
    own over there become known with the interval they lie in.

    Raises Refused(NOT_ARRIVED) where it lies, over there, in nothing that arrived here; NotVerifiable.
    """
    names: list[str] = []
    if there.get(state.part_key(part)) is None:
        part = stands_in(there, canonical(part)) or part
    for _ in range(CONTAINER_DEPTH_MAX + 1):
        record = there.record(state.part_key(part), PartRecord)
        if record is None or not record.container:
            break
        names.insert(0, part)
        key = arrival_key(there.trust.chain_id, record.container, record.generation)
        if here.record(key, ArrivalRecord) is not None:
            return names
        part = record.container
    raise Refused(
        f"{names[-1] if names else part} lies in nothing that arrived on chain {here.trust.name} from chain "
        f"{there.trust.name}; if it came over another chain, that one has to know it first",
        Reason.NOT_ARRIVED,
    )


def operations(
    here: VerifiedChain,
    there: VerifiedChain,
    names: Sequence[str],
    in_lists: Mapping[str, Membership] = MappingProxyType({}),
) -> list[Operation]:
    """The operations that make records here of what lies in containers that came from a chain.

    in_lists: of serials of roots that were first touched there, where in their lists they are.
    Raises Refused(UNKNOWN_CLIENT, CLIENT_FROZEN), NotVerifiable, NodeRefused, NoAnswer.
    """
    # (1) Their records.
    keys = [key for name in names for key in _keys(there, name)]
    client_id, header_height, reply, found = proven(here, there, keys)
    # (2) One operation for each.
    shown = {one.key: ProvenRecord(value=one.value, proof=one.proof) for one in reply.keys}
    for name in names:
        record, *more = (shown[key] for key in _keys(there, name))
        message = Materialise(
            client=client_id,
            part=name,
            header_height=header_height,
            opening=reply.opening,
            record=record,
        )
        theirs = there.record(state.part_key(name), PartRecord) or PartRecord()
        if theirs.open:
            message.contents.CopyFrom(more.pop(0))
        if theirs.lot:
            message.lot.CopyFrom(more.pop(0))
        if name in in_lists:
            message.membership.CopyFrom(in_lists[name])
        found.append(Operation(materialise=codec.encode(message)))
    return found


def proven(
    here: VerifiedChain, there: VerifiedChain, keys: list[bytes]
) -> tuple[str, int, ProveReply, list[Operation]]:
    """A client here of the other chain, the height of a header it keeps, and proofs under that header; with the operation
    that brings it the header where it does not keep it yet.

    Raises Refused(UNKNOWN_CLIENT), NotVerifiable, NodeRefused, NoAnswer.
    """
    lost = here.record(rehoming_key(there.trust.chain_id), RehomingRecord)
    if lost is not None:
        return lost.client, lost.height + 1, _last(there, lost, keys), []
    client = _client(here, there)
    # Under the newest header, or under the newest that the client knows if the node is behind.
    reply = _prove(there, keys, 0)
    if reply.height + 1 < client.latest_height:
        reply = _prove(there, keys, client.latest_height - 1)
    newer = [_update(there, client, reply)] if reply.height + 1 > client.latest_height else []
    return client.id, reply.height + 1, reply, newer


def _client(here: VerifiedChain, there: VerifiedChain) -> ClientRecord:
    for name in reversed(clients_of(here, there.trust.chain_id)):
        record = here.record(state.client_key(name), ClientRecord)
        if record is not None and not record.frozen:
            return record
    raise Refused(
        f"chain {here.trust.name} has no client of chain {there.trust.name} that may be relied on",
        Reason.UNKNOWN_CLIENT,
    )


def _keys(there: VerifiedChain, name: str) -> list[bytes]:
    """Of a part: its record, what is open in it, the lot it is of."""
    record = there.record(state.part_key(name), PartRecord) or PartRecord()
    keys = [state.part_key(name)]
    if record.open:
        keys.append(state.generation_key(name, record.generations))
    if record.lot:
        keys.append(state.lot_key(record.lot))
    return keys


def _prove(there: VerifiedChain, keys: list[bytes], height: int) -> ProveReply:
    # The chain itself checks the proofs; a node that lies is answered with a refusal.
    wanted = ProveRequest(keys=list(dict.fromkeys(keys)), height=height)
    reply: ProveReply = there.connection.call(lambda stub: stub.Prove, wanted)
    return reply


def _last(there: VerifiedChain, lost: RehomingRecord, keys: list[bytes]) -> ProveReply:
    """Proofs under the last state of a chain that was given up. Raises NotVerifiable where its node has another one."""
    reply = _prove(there, keys, 0)
    if reply.opening.state_root != lost.state_root:
        raise NotVerifiable(
            f"node {there.connection.endpoint} of chain {there.trust.name} has another state than the one after height "
            f"{lost.height}, which counts; ask another node",
            Reason.HEIGHT_NOT_SERVED,
        )
    return reply


def _update(there: VerifiedChain, client: ClientRecord, proven: ProveReply) -> Operation:
    """Brings the client to the header above what was proven."""
    reply: HeadersReply = there.connection.call(
        lambda stub: stub.GetHeaders, HeadersRequest(from_height=client.latest_height)
    )
    headers: list[SignedHeader] = [
        one
        for one in reply.headers
        if one.next_validators and decode_header(one.header).height < proven.height + 1
    ]
    message = UpdateClient(client=client.id, headers=[*headers, proven.head])
    return Operation(update_client=codec.encode(message))
