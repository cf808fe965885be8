"""What no chain can say alone: presence on one chain only, one home per prefix, one history per chain.

Each chain's state is asked what it knows of the others: the records of the same parts, the grants for the same
identifiers, and the headers that its light clients hold. A chain whose quorum turned corrupt may show an auditor
another past than it showed the chains that follow it; the header those hold is not in the log it shows then.
"""

from collections.abc import Iterable, Iterator, Mapping

from client.audit_entries import Find
from client.connection import NoAnswer, NodeRefused
from client.serials import histories, recorded_as
from client.verified import STALE_HEARTBEATS, NotVerifiable, Overtaken, VerifiedChain
from ledger import state
from ledger.containers import normalise, standing
from ledger.errors import InvariantBroken, StoreError
from ledger.identifiers import canonical, grant_prefixes
from ledger.limits import CONTAINER_DEPTH_MAX
from proto.chiptrace.v1.bridge_pb2 import ClientHeader, ClientRecord
from proto.chiptrace.v1.ledger_pb2 import (
    EntryKind,
    GenerationRecord,
    GrantRecord,
    LotRecord,
    PartRecord,
    PartStatus,
    Reason,
)

PRESENT = (PartStatus.LIVE, PartStatus.OFFERED)
LEFT = (PartStatus.IN_TRANSIT, PartStatus.DEPARTED)
CAME = (EntryKind.ARRIVED, EntryKind.REHOMED, EntryKind.MATERIALISED, EntryKind.FOLLOWED)


def present_status(chain: VerifiedChain, record: PartRecord) -> tuple["PartStatus.ValueType", str, str]:
    """(status, holder, owner) of a part now, through all the containers it is in. Raises NotVerifiable."""
    try:
        now = standing(chain, normalise(chain, _copy(record)) if record.container else record)
    except (InvariantBroken, StoreError) as error:
        raise NotVerifiable(f"chain {chain.trust.name}: {error}", Reason.BAD_PROOF) from error
    return now.status, now.holder, now.owner


def left_over(chain: VerifiedChain, record: PartRecord) -> str:
    """The client over which a part that left did so, by itself or inside something; empty where no record names it."""
    for _ in range(CONTAINER_DEPTH_MAX + 1):
        if not record.container:
            return record.client if record.status in LEFT else ""
        record = chain.record(state.part_key(record.container), PartRecord) or PartRecord()
    return ""


def hop_of(chain: VerifiedChain, record: PartRecord) -> int:
    """To which hop a part has come by what this chain shows: by itself, or with what it is in."""
    hop = record.hop
    for _ in range(CONTAINER_DEPTH_MAX + 1):
        if not record.container:
            return hop
        filling = chain.record(state.generation_key(record.container, record.generation), GenerationRecord)
        record = chain.record(state.part_key(record.container), PartRecord) or PartRecord()
        hop = max(hop, record.hop, 0 if filling is None else filling.hop)
    return hop


def lot_elsewhere(
    chains: Mapping[bytes, VerifiedChain], chain: VerifiedChain, name: str
) -> Iterator[VerifiedChain]:
    """The other chains that know a lot, which is on all of them at once: where one begins to ask is of no weight.

    Raises NoAnswer, NodeRefused of a chain that may know it; NotVerifiable.
    """
    identifier = canonical(name)
    if not identifier.is_class or identifier.interval is not None:
        return
    for other in chains.values():
        if other is not chain and other.record(state.lot_key(name), LotRecord) is not None:
            yield other


def _copy(record: PartRecord) -> PartRecord:
    copy = PartRecord()
    copy.CopyFrom(record)
    return copy


def _check_newest(
    chain: VerifiedChain, record: PartRecord, name: str, places: Mapping[VerifiedChain, PartRecord]
) -> None:
    """Each crossing has a hop of its own, above the one before: what was here at a later hop is not there any more."""
    for place, shown in places.items():
        hop = hop_of(place, shown)
        if record.hop > hop and not _was_taken_over(place, name):
            raise Overtaken(
                f"chain {place.trust.name} shows {name} as it was at hop {hop}, and on chain {chain.trust.name} it was "
                f"at hop {record.hop}: it left since. Ask again; for a passport, ask for one whose parts are of one time",
                Reason.BAD_PROOF,
            )


def _was_taken_over(chain: VerifiedChain, name: str) -> bool:
    """Whether it came from a chain that was given up as lost: what that one does with it since is of no weight."""
    record = chain.record(state.part_key(name), PartRecord)
    entries = [] if record is None else chain.history(state.part_key(name), record.history)
    return any(proven.entry.kind == EntryKind.REHOMED for proven in entries)


class Others:
    """Questions to every chain of the trust file about what an audit met on one of them."""

    def __init__(self, chains: Mapping[bytes, VerifiedChain], find: Find) -> None:
        self._chains = chains
        self._find = find
        self._silent: set[bytes] = set()
        self._in_force: dict[tuple[bytes, tuple[str, ...]], list[GrantRecord]] = {}

    def check(
        self,
        present: Mapping[str, Mapping[VerifiedChain, PartRecord]],
        made: Iterable[tuple[VerifiedChain, str]],
        clients: Iterable[tuple[VerifiedChain, str]],
        left: Iterable[tuple[VerifiedChain, str]],
    ) -> None:
        """present: parts and the chains on which they were found to be, each with its record there; made: where things began; clients: of whom
        (chain, client id) the headers are compared; left: over which things went, so that what the chain behind shows
        must not be from before. Raises NotVerifiable, Overtaken."""
        for chain in self._chains.values():
            try:
                chain.snapshot()
            except (NoAnswer, NodeRefused) as error:
                self._silent.add(chain.trust.chain_id)
                self._find(
                    chain,
                    "",
                    "CHAIN_NOT_ASKED",
                    f"chain {chain.trust.name} gave no answer, so whether anything is present there too is not known: "
                    f"{error}",
                    (),
                )
        self._one_place(present)
        self._one_home(made)
        compared = dict.fromkeys(clients)
        for chain, client in compared:
            self._one_past(chain, client)
        for chain, client in dict.fromkeys(left):
            if client and (chain, client) not in compared:
                self._not_older(chain, client)

    def _asked(self) -> list[VerifiedChain]:
        return [chain for chain in self._chains.values() if chain.trust.chain_id not in self._silent]

    def _one_place(self, present: Mapping[str, Mapping[VerifiedChain, PartRecord]]) -> None:
        """Nothing that is present on one chain is present on another, or was there at a later hop."""
        for chain in self._asked():
            chain.values([state.part_key(name) for name in present])
            for name, places in present.items():
                if chain in places:
                    continue
                for record in recorded_as(chain, next(iter(places.values()))):
                    if present_status(chain, record)[0] not in PRESENT:
                        _check_newest(chain, record, name, places)
                        continue
                    self._not_moved_meanwhile(chain, record, places)
                    there = ", ".join(place.trust.name for place in places)
                    text = f"{name} is present on chain {chain.trust.name} and on chain {there}"
                    self._find(chain, name, "LIVE_TWICE", text, ())
        for name, places in present.items():
            if len(places) > 1:
                there = " and on chain ".join(place.trust.name for place in places)
                self._find(next(iter(places)), name, "LIVE_TWICE", f"{name} is present on chain {there}", ())

    def _not_moved_meanwhile(
        self, chain: VerifiedChain, record: PartRecord, places: Iterable[VerifiedChain]
    ) -> None:
        """It may have crossed between the two moments at which the chains were pinned: then ask both anew."""
        entries = (proven.entry for _, own in histories(chain, record) for proven in own)
        came = [entry.height for entry in entries if entry.kind in CAME]
        if came and chain.times(came[-1:])[came[-1]] > min(p.snapshot().time_ms for p in places):
            raise Overtaken(f"{record.id} crossed to chain {chain.trust.name} meanwhile", Reason.BAD_PROOF)

    def _one_home(self, made: Iterable[tuple[VerifiedChain, str]]) -> None:
        """Where another chain knows a grant for the identifier, its home is the chain on which it was made."""
        asked = self._asked()
        for home, name in made:
            prefixes = grant_prefixes(canonical(name))
            for chain in asked:
                if chain is home:
                    continue
                for grant in self._grants(chain, prefixes):
                    if grant.home_chain == home.trust.chain_id:
                        continue
                    claimed = grant.home_chain.hex()[:16] or "itself"
                    text = f"{name} was made on chain {home.trust.name}; chain {chain.trust.name} says that the home of "
                    self._find(chain, name, "HOME_DISPUTED", f"{text}{grant.prefix} is {claimed}", ())

    def _grants(self, chain: VerifiedChain, prefixes: tuple[str, ...]) -> list[GrantRecord]:
        """Those in force on a chain, looked up once: thousands of serials have the same prefixes."""
        place = chain.trust.chain_id, prefixes
        if place not in self._in_force:
            keys = [state.grant_key(prefix) for prefix in prefixes]
            chain.values(keys)
            self._in_force[place] = [g for g in chain.records(keys, GrantRecord) if not g.revoked]
        return self._in_force[place]

    def _behind(self, chain: VerifiedChain, client: str) -> tuple[ClientRecord, VerifiedChain] | None:
        """The record of a client and the chain that it follows; None where that is not asked."""
        record = chain.record(state.client_key(client), ClientRecord)
        source = None if record is None else self._chains.get(record.chain_id)
        if record is None or source is None or source.trust.chain_id in self._silent:
            return None
        return record, source

    def _not_older(self, chain: VerifiedChain, client: str) -> None:
        """What a chain shows here is not much older than what `chain` has seen of it."""
        found = self._behind(chain, client)
        if found is None:
            return
        record, source = found
        pinned = source.snapshot()
        heartbeats_ms = STALE_HEARTBEATS * source.trust.heartbeat_ms
        if record.latest_time_ms > pinned.time_ms + heartbeats_ms:
            text = f"client {client} of chain {chain.trust.name} saw height {record.latest_height} of chain "
            text += f"{source.trust.name}, whose node shows no more than {pinned.height}; ask another node"
            self._find(source, "", "STALE_HEAD", text, ())

    def _one_past(self, chain: VerifiedChain, client: str) -> None:
        """The newest header that `chain` holds of another chain is in the log which that one shows here."""
        found = self._behind(chain, client)
        if found is None:
            return
        record, source = found
        who = f"client {client} of chain {chain.trust.name}"
        if record.frozen:
            text = f"{who} is frozen: chain {source.trust.name} was caught contradicting itself"
            self._find(source, "", "CLIENT_FROZEN", text, ())
        self._not_older(chain, client)
        height_max = source.snapshot().height
        known = [height for height in record.stored_heights if 1 <= height <= height_max]
        if not known:
            return
        height = max(known)
        header = chain.record(state.client_header_key(client, height), ClientHeader)
        if header is None or header.block_hash != source.leaves([height])[height].block_hash:
            raise NotVerifiable(
                f"{who} holds another header of height {height} than chain {source.trust.name} shows here: one of "
                "them shows two pasts. Tell the members of both chains.",
                Reason.BAD_CERTIFICATE,
            )
