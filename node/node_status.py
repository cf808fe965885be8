"""Where a node stands, as it says of itself: height, head, view, peers, whether it is in step with the others."""

from collections.abc import Callable, Mapping
from typing import Final

from consensus.quorum import quorum
from ledger.application import Info
from node.chain_host import ChainHost
from node.driver import Driver, Seen
from node.peers import Peers
from node.pool import Pool
from node.signer import Signer
from node.verifier import Verifier
from proto.chiptrace.v1.ledger_pb2 import JoinProof
from proto.chiptrace.v1.node_pb2 import PeerStatus, StatusReply

VERSION: Final = "0.1.0"
HEIGHTS_BEHIND_MAX: Final = 2  # a block or two on its way is no lag


class NodeStatus:
    """Reads the parts of a running node; changes nothing."""

    def __init__(
        self,
        host: ChainHost,
        pool: Pool,
        driver: Driver,
        peers: Peers,
        signer: Signer,
        verifier: Verifier,
        genesis: bytes,
        join_proof: Callable[[Info], JoinProof | None],
    ) -> None:
        self._host = host
        self._pool = pool
        self._driver = driver
        self._peers = peers
        self._signer = signer
        self._own_key = signer.key
        self._verifier = verifier
        self._genesis = genesis
        self.not_admitting = ""  # why no transactions are taken though the node is in step
        self._join_proof = join_proof
        self.recovery_lacked: Callable[[], bytes] = lambda: b""

    @property
    def synced(self) -> bool:
        """In step: a quorum of the set can be reached (ourselves included), and none of it is ahead of us."""
        if not self._driver.started:
            return False
        validators = self._host.info.validators.validators
        reached = self._peers.connected()
        present = sum(item.key in reached or item.key == self._own_key for item in validators)
        return present >= quorum(len(validators)) and self._driver.engine.behind <= HEIGHTS_BEHIND_MAX

    @property
    def clock_offset_ms(self) -> int | None:
        """The median of the validators' clocks less ours; None while too few have answered."""
        keys = [validator.key for validator in self._host.info.validators.validators]
        others = [key for key in keys if key != self._own_key]
        return self._driver.clocks.median_ms(others, (len(keys) - 1) // 3)

    @property
    def not_voting(self) -> str:
        """Why this node does not vote with its key; empty: it votes, or it has none."""
        height = self._host.info.height + 1
        if self._own_key is None:
            return ""
        if self._signer.trouble:
            return self._signer.trouble
        if not self._signer.votes_at(height):
            return f"the database is behind the signing record: height {height} is open here, the record is further"
        if all(validator.key != self._own_key for validator in self._host.info.validators.validators):
            return f"its key {self._own_key.hex()} is not in the validator set of height {height}"
        return ""

    async def height_above(self, height: int) -> int:
        """The height of the tip as soon as it is above this one."""
        return await self._driver.height_above(height)

    async def reply(self) -> StatusReply:
        """All of it, for GetStatus."""
        info = self._host.info
        validators = info.validators.validators
        reached = self._peers.connected()
        seen: Mapping[bytes, Seen] = self._driver.seen
        reply = StatusReply(
            chain_id=info.chain_id,
            name=info.name,
            height=info.height,
            time_ms=info.time_ms,
            view=self._driver.engine.view if self._driver.started else 0,
            synced=self.synced,
            pool_transactions=len(self._pool),
            validators=len(validators),
            index=-1,
            version=VERSION,
            genesis=self._genesis,
            not_voting=self.not_voting,
            not_admitting=self.not_admitting,
            recovery_lacked=self.recovery_lacked(),
            base=self._host.base,
            verifying_beside=self._verifier.ready,
            verifier_failures=self._verifier.failures,
            verified_beside=self._verifier.vouched,
        )
        offset_ms = self.clock_offset_ms
        if offset_ms is not None:
            reply.clock_known, reply.clock_offset_ms = True, offset_ms
        if info.height:
            reply.head.CopyFrom(await self._host.header(info.height))
        # Only a node that is in step gives its word for it.
        proof = self._join_proof(info) if reply.synced else None
        if proof is not None:
            reply.join_proof.CopyFrom(proof)
        if self._host.served is not None:
            reply.proof_height_min, reply.proof_height_max = self._host.served
        for index, validator in enumerate(validators):
            if validator.key == self._own_key:
                # A validator that may not vote says that it only observes.
                reply.index = index if self._driver.voting else -1
                continue
            if validator.key in self._signer.retired:
                continue  # nobody is there any more
            last = seen.get(validator.key, Seen())
            clock = self._driver.clocks.clock(validator.key)
            peer = PeerStatus(
                index=index,
                member=validator.member,
                connected=validator.key in reached,
                last_height=last.height,
                last_view=last.view,
                key=validator.key,
            )
            if clock is not None:
                peer.clock_known = True
                peer.clock_offset_ms, peer.round_trip_ms = clock.offset_ms, clock.round_trip_ms
            reply.peers.append(peer)
        return reply
