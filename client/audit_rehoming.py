"""Parts that were taken over from a chain that is lost for good: by whose decision, and from which proven state.

1. The record that the chain was given up has one entry, and enough members' admin keys approved exactly it.
2. The operation behind the part's entry proves the part's record there under the state root of that record, by the same
   function as on chain (bridge/rehoming.py), and the one who has it since is the one whom the decision names.

It is a finding in every audit, for ever: what happened on the lost chain after that state, and that it was the last one,
is the word of both memberships.
"""

from collections.abc import Callable

from bridge.clients import rehoming_key
from bridge.rehoming import found_there, taken_by
from client.audit_keys import Vouching
from client.histories import ProvenEntry
from client.verified import NotVerifiable, VerifiedChain
from ledger import codec
from ledger.errors import ChiptraceError
from ledger.limits import TRANSACTION_BYTES_MAX
from proto.chiptrace.v1.bridge_pb2 import RehomePart
from proto.chiptrace.v1.ledger_pb2 import Operation, Reason, RehomingRecord

Find = Callable[[VerifiedChain, str, str, str, tuple[bytes, ...]], None]


class Rehomed:
    """Judges what one chain took over. What was read once is kept."""

    def __init__(self, chain: VerifiedChain, find: Find, vouching: Vouching) -> None:
        self._chain = chain
        self._find = find
        self._vouching = vouching
        self._given_up: dict[bytes, RehomingRecord] = {}

    def holder(self, name: str, proven: ProvenEntry, operation: Operation) -> str:
        """Who had the part since this entry; empty: who had it here before. Raises NotVerifiable."""
        try:
            message = codec.decode(RehomePart, operation.rehome_part, TRANSACTION_BYTES_MAX)
            record = self._record(name, message.chain_id, proven)
            there = found_there(record, message)
            holder = taken_by(record, there.holder) if there.holder else ""
        except NotVerifiable:
            raise
        except ChiptraceError as error:
            raise self._broken(name, proven, f"what it rests on does not hold: {error}") from error
        text = (
            f"{name} was taken over at height {proven.entry.height} from chain {message.chain_id.hex()}, which was given "
            f"up for good ({record.why}): it counts as it was there after height {record.height}, and what may have been "
            "decided there since is the word of both memberships"
        )
        self._find(self._chain, name, "REHOMED", text, (proven.entry.transaction,))
        return holder

    def _record(self, name: str, chain_id: bytes, proven: ProvenEntry) -> RehomingRecord:
        if chain_id not in self._given_up:
            record = self._chain.record(rehoming_key(chain_id), RehomingRecord)
            if record is None:
                raise self._broken(name, proven, f"chain {chain_id.hex()} was never given up")
            self._check_approved(record)
            self._given_up[chain_id] = record
        return self._given_up[chain_id]

    def _check_approved(self, record: RehomingRecord) -> None:
        entries = self._chain.history(rehoming_key(record.chain_id), record.history)
        said = (
            record.client,
            record.height + 1,
            record.state_root,
            record.heir,
            list(record.members),
            record.why,
        )
        for change in self._vouching.approved(entries[0]) if len(entries) == 1 else ():
            given = change.rehome_chain
            told = (
                given.client,
                given.header_height,
                given.opening.state_root,
                given.heir,
                list(given.members),
                given.why,
            )
            if change.WhichOneof("kind") == "rehome_chain" and told == said:
                return
        text = f"enough admin keys do not vouch that chain {record.chain_id.hex()} was given up as its record tells"
        self._find(self._chain, "", "REHOMING_NOT_APPROVED", text, ())

    def _broken(self, name: str, proven: ProvenEntry, why: str) -> NotVerifiable:
        return NotVerifiable(
            f"chain {self._chain.trust.name}: entry {proven.n} of {name} (height {proven.entry.height}): {why}. "
            "The chain's own members let this stand; ask them.",
            Reason.BAD_PROOF,
        )
