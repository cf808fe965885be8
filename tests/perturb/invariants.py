"""What must hold at the end, whatever was done to the nodes: judged from outside, by what they answer and left on disk.

1. The same block, results and state root at every common height on all honest nodes.
2. Every acknowledged transaction is there exactly once, at the height and with the outcome that was told.
3. No honest validator stands in evidence; those in `convicted` do.
4. No signing record holds two votes that exclude each other.
5. No node met an error that nobody foresaw.
"""

from collections import Counter, defaultdict

import grpc

from ledger import state
from ledger.block import block_hash, decode_block, parse_log_leaf
from ledger.errors import StoreError
from ledger.limits import LOG_LEAVES_MAX
from node.journal_file import JournalFile
from node.signer import RECORD_FILE
from proto.chiptrace.v1.consensus_pb2 import VoteKind
from proto.chiptrace.v1.ledger_pb2 import Entry, EntryKind, Result
from proto.chiptrace.v1.node_pb2 import BlockAtRequest, HistoryRequest, LogLeavesRequest
from tests.perturb.network import Violation

CALL_SECONDS = 20


class Told:
    """What one node says of the whole chain, up to a height."""

    def __init__(self, net, member, height):
        self.member = member
        connection = net.connection(member)
        try:
            stub = connection.stub(connection.endpoint)
            self.leaves = _leaves(stub, height)
            self.blocks, self.results = {}, {}
            for at in range(1, height + 1):
                reply = _unless_pruned(
                    lambda at=at: stub.GetBlock(BlockAtRequest(height=at), timeout=CALL_SECONDS)
                )
                if reply is not None:
                    header = decode_block(reply.block).header
                    self.blocks[at] = block_hash(net.chain.chain_id, header)
                    self.results[at] = list(reply.results)
            self.accused = {
                other: [entry.kind for entry in _history(stub, state.member_key(other))].count(
                    EntryKind.EVIDENCE
                )
                for other in net.members
            }
        finally:
            connection.close()


def _leaves(stub, height):
    found = []
    for start in range(1, height + 1, LOG_LEAVES_MAX):
        wanted = list(range(start, min(start + LOG_LEAVES_MAX, height + 1)))
        many = _unless_pruned(lambda wanted=wanted: _leaves_at(stub, wanted, height))
        if many is None:  # some of them
            each = (_unless_pruned(lambda at=at: _leaves_at(stub, [at], height)) for at in wanted)
            many = [leaf for leaves in each for leaf in leaves or ()]
        found += many
    return {leaf.height: leaf for leaf in found}


def _leaves_at(stub, heights, size):
    reply = stub.GetLogLeaves(LogLeavesRequest(heights=heights, size=size), timeout=CALL_SECONDS)
    return [parse_log_leaf(item.leaf) for item in reply.leaves]


def _unless_pruned(ask):
    """The answer; None where the node began with a snapshot after what was asked for, and says so."""
    try:
        return ask()
    except grpc.RpcError as error:
        if error.code() != grpc.StatusCode.OUT_OF_RANGE:
            raise
        return None


def _history(stub, subject):
    found = []
    while True:
        reply = stub.GetHistory(HistoryRequest(subject=subject, from_n=len(found)), timeout=CALL_SECONDS)
        found += [Entry.FromString(item.entry) for item in reply.items]
        if not reply.more:
            return found


def one_chain(net, load, convicted=(), spared=()) -> dict:
    """(1) to (3), of the honest nodes that run; figures. Raises Violation. `spared`: may or may not be accused."""
    members = net.honest()
    height = min(net.heights(members).values())
    found = [Told(net, member, height) for member in members]
    first = next((told for told in found if len(told.blocks) == len(told.leaves) == height), None)
    if first is None:
        raise Violation(f"no node has the whole chain: {[(told.member, len(told.blocks)) for told in found]}")
    for told in found:
        if height not in told.leaves or height not in told.blocks:
            raise Violation(f"{told.member} does not have height {height}, at which it says it is")
        for at in range(1, height + 1):
            if at in told.leaves and told.leaves[at] != first.leaves[at]:
                raise Violation(f"{told.member} and {first.member} differ at height {at}")
            if at in told.blocks and told.blocks[at] != first.leaves[at].block_hash:
                raise Violation(f"{told.member} gives another block than it logged at height {at}")
            if at in told.results and told.results[at] != first.results[at]:
                raise Violation(f"{told.member} and {first.member} differ in the results of height {at}")
    _check_transactions(first, load)
    for told in found:
        for member, count in told.accused.items():
            if count and member not in convicted and member not in spared:
                raise Violation(f"{member} is honest and stands in evidence at {told.member}")
            if not count and member in convicted:
                raise Violation(f"{member} lied and is not in evidence at {told.member}")
    snapshots = sum(len(told.blocks) < height for told in found)
    return {"heights": height, "acknowledged": len(load.acknowledged), "began_with_snapshot": snapshots}


def _check_transactions(told, load):
    places, outcomes = Counter(), {}
    for at, results in told.results.items():
        for data in results:
            result = Result.FromString(data)
            places[result.transaction] += 1
            outcomes[result.transaction] = (at, result.ok)
    for transaction, said in list(load.acknowledged.items()):
        if said.height > max(told.results):
            raise Violation(f"height {said.height} was acknowledged and is not everywhere")
        if outcomes.get(transaction) != (said.height, said.ok):
            raise Violation(
                f"{transaction.hex()} was acknowledged at {(said.height, said.ok)} and stands at {outcomes.get(transaction)}"
            )
    twice = [transaction.hex() for transaction, count in places.items() if count > 1]
    if twice:
        raise Violation(f"twice in the chain: {twice[:3]}")


def no_double_sign(net) -> int:
    """(4), once all processes have ended: of every record of an honest key, retired ones too; how many votes were read."""
    read = 0
    records = [
        (member, path) for member in net.members for path in (net.place(member) / "keys").rglob(RECORD_FILE)
    ]
    for member, path in records:
        if member in net.byzantine:
            continue
        votes = defaultdict(set)
        try:
            journal = JournalFile.open(path)
        except StoreError as error:
            raise Violation(f"the signing record of {member} cannot be read: {error}") from error
        for record in journal.records():
            if record.HasField("vote"):
                vote = record.vote
                votes[vote.height, vote.view].add((vote.kind, vote.block_hash))
                read += 1
        journal.close()
        for (height, view), said in votes.items():
            kinds = Counter(kind for kind, _ in said)
            both = {VoteKind.FINALIZE, VoteKind.NULLIFY} <= set(kinds)
            if both or max(kinds.values()) > 1:
                raise Violation(f"{member} signed votes that exclude each other at {height}/{view}: {said}")
    return read


def no_traceback(net) -> None:
    """(5), by the logs of honest nodes."""
    for member in net.members:
        if member not in net.byzantine and (net.place(member) / "log.jsonl").exists():
            for line in net.log(member):
                if "traceback" in line or "Traceback" in line["message"]:
                    raise Violation(f"{member} met an error that nobody foresaw: {str(line)[:600]}")
