"""Chains in one process behind the client's connection: the answers a node gives, without a node."""

from pathlib import Path

from client.trust import ChainTrust
from client.verified import VerifiedChain
from proto.chiptrace.v1.ledger_pb2 import Entry
from proto.chiptrace.v1.node_pb2 import (
    HeadersReply,
    HistoriesReply,
    HistoryItem,
    HistoryReply,
    HistoryRequest,
    LogLeavesReply,
    ProvenKey,
    ProveReply,
    StatusReply,
    TransactionReply,
)
from tests.bridge.two_chains import BridgedChain, on_the_wire


class DirectStub:
    """A chain's honest answers; a test overrides a method to lie."""

    def __init__(self, chain: BridgedChain):
        self.chain = chain

    def GetStatus(self, request):
        return StatusReply(genesis=self.chain.genesis, height=self.chain.height)

    def GetHeaders(self, request):
        found, more = self.chain.app.headers_above(request.from_height)
        return HeadersReply(headers=[on_the_wire(item) for item in found], more=more)

    def Prove(self, request):
        state = self.chain.app.prove(list(request.keys), request.height)
        keys = [
            ProvenKey(key=k.key, present=k.value is not None, value=k.value or b"", proof=k.proof)
            for k in state.keys
        ]
        return ProveReply(
            height=state.height,
            head=on_the_wire(state.head),
            opening=state.opening,
            keys=keys,
            last_leaf=state.last_leaf,
        )

    def GetHistory(self, request):
        store = self.chain.app.store
        items = []
        for data in store.entries(request.subject, request.from_n, request.limit):
            decided = store.transaction(Entry.FromString(data).transaction)
            items.append(HistoryItem(entry=data, transaction=decided.data if decided else b""))
        return HistoryReply(items=items)

    def GetHistories(self, request):
        """Made of `GetHistory`, so that a lie told there is told here too."""
        found, told = [], set()
        for subject in request.subjects:
            asked = HistoryRequest(subject=subject, limit=256, with_transactions=request.with_transactions)
            one = HistoryReply()
            one.CopyFrom(self.GetHistory(asked))
            for item in one.items:
                if not request.with_transactions or item.transaction in told:
                    item.transaction = b""
                told.add(item.transaction)
            found.append(one)
        return HistoriesReply(histories=found)

    def GetTransaction(self, request):
        return TransactionReply(transaction=self.chain.app.store.transaction(request.id).data)

    def GetLogLeaves(self, request):
        store = self.chain.app.store
        return LogLeavesReply(leaves=[store.log_leaf_proof(h, request.size) for h in request.heights])


class DirectConnection:
    """Calls a stub; counts the bytes as a connection does."""

    def __init__(self, stub: DirectStub):
        self.stub = stub
        self.endpoint = f"{stub.chain.name}-node"
        self.bytes_received = 0

    def call(self, method, request, seconds=0.0):
        reply = method(self.stub)(request)
        self.bytes_received += reply.ByteSize()
        return reply


def verified(chain: BridgedChain, stub: DirectStub | None = None, *, late_ms: int = 0) -> VerifiedChain:
    """The auditor's view of a chain, her clock `late_ms` after its newest header."""
    trust = ChainTrust(chain.name, chain.chain_id, ("nowhere:1",), Path("ca.pem"), 10_000)
    return VerifiedChain(
        trust, DirectConnection(stub or DirectStub(chain)), lambda: chain.info.time_ms + late_ms
    )
