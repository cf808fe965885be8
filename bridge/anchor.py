"""What a snapshot has to come to, from headers that anyone may send: the walk from the genesis to its height.

Pure, and the same light client as everywhere (light_client.py, recovered.py): every header at which the set changed
or the chain was recovered, in order, then the header of the snapshot's height S, then that of S + 1, whose app_hash
speaks of the state after S.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from bridge.light_client import TrustedState, from_genesis, verify_header
from bridge.recovered import follow_recovery
from ledger import block, codec
from ledger.errors import Invalid
from ledger.recovery import Opened
from ledger.recovery import decode as decode_recovery
from ledger.rows import BoundaryHeader
from ledger.snapshot_load import Anchor
from proto.chiptrace.v1.consensus_pb2 import SignedHeader
from proto.chiptrace.v1.ledger_pb2 import AppHashOpening, Genesis, Reason, ValidatorSet


@dataclass(slots=True)
class Walk:
    """The headers believed so far, from a genesis on. `accepted` are hashes of recoveries that the operator of this
    node has applied."""

    trusted: TrustedState
    accepted: Collection[bytes] = ()
    boundaries: list[BoundaryHeader] = field(default_factory=list)

    def pass_boundaries(self, headers: Iterable[SignedHeader], now_ms: int) -> None:
        """Takes the headers of a BoundaryReply, ascending: each above the last one, each a boundary, or the header
        right below a recovery, which comes next. Raises Malformed or Invalid for any other."""
        for signed in headers:
            if self.boundaries:
                self._check_below_recovery(signed)
            before = self.trusted.latest_height
            self.step(signed, now_ms)
            if self.trusted.latest_height == before:
                raise Invalid(f"the header of height {before} comes twice", Reason.NOT_NEWER)
            self.boundaries.append(_boundary(signed))

    def step(self, signed: SignedHeader, now_ms: int) -> None:
        """Believes one more header. Raises Malformed or Invalid."""
        if signed.recovery:
            self.trusted, _ = follow_recovery(self.trusted, signed, self.accepted, now_ms)
        else:
            self.trusted = verify_header(self.trusted, signed, now_ms, None)

    def end(self, last: SignedHeader, now_ms: int) -> None:
        """Believes the header of the snapshot's own height, which may be the last boundary again."""
        boundary = _boundary(last)
        if self.boundaries and self.boundaries[-1].header == boundary.header:
            if not _ends_or_begins(boundary):
                self.boundaries.pop()  # it becomes one with the recovery above it
        else:
            if self.boundaries:
                self._check_below_recovery(last)
            self.step(last, now_ms)
            if _ends_or_begins(boundary):
                self.boundaries.append(boundary)

    def _check_below_recovery(self, following: SignedHeader) -> None:
        """The last header taken was a boundary by itself, or is one with the recovery that comes right above it."""
        kept = self.boundaries[-1]
        if _ends_or_begins(kept):
            return
        if not following.recovery or block.decode_header(following.header).height != kept.height + 1:
            raise Invalid(
                f"neither does the set change nor does the chain's first set end at height {kept.height}",
                Reason.BAD_VALIDATORS,
            )


def begin(genesis: bytes, chain_id: bytes, accepted: Collection[bytes] = ()) -> Walk:
    """A walk that has come no further than the genesis."""
    document = Genesis.FromString(genesis)
    validators = ValidatorSet(in_force_from=1, validators=document.validators)
    return Walk(from_genesis(chain_id, validators, document.time_ms), accepted)


def anchor(
    walk: Walk,
    last: SignedHeader,
    head: SignedHeader,
    opening: AppHashOpening,
    now_ms: int,
    checkpoint: tuple[int, bytes] | None = None,
) -> Anchor:
    """The anchor of a snapshot at the height of `last`; `walk` has passed every boundary below it, and is used up.

    A checkpoint (height, block hash) that somebody trusts guards against sets that turned corrupt after they were
    retired: the log of the snapshot must hold it. Raises Malformed or Invalid.
    """
    # (1) Header S, certified by its set.
    walk.end(last, now_ms)
    at = walk.trusted
    # (2) Header S + 1, certified by the set above S.
    walk.step(head, now_ms)
    header = block.decode_header(head.header)
    if header.height != at.latest_height + 1 or header.parent_hash != at.latest_block_hash:
        raise Invalid(
            f"header {header.height} does not stand on that of height {at.latest_height}", Reason.BAD_PARENT
        )
    # (3) Its app_hash opens to the state and the log after S.
    if block.app_hash(at.chain_id, opening) != header.app_hash or opening.log_size != at.latest_height:
        raise Invalid(f"the opening is not that of the app_hash in header {header.height}", Reason.BAD_PROOF)
    # (4) The snapshot reaches what is trusted besides.
    if checkpoint is not None and checkpoint[0] > at.latest_height:
        raise Invalid(
            f"the snapshot of height {at.latest_height} is older than the checkpoint {checkpoint[0]}",
            Reason.NOT_NEWER,
        )
    return Anchor(
        chain_id=at.chain_id,
        height=at.latest_height,
        time_ms=at.latest_time_ms,
        block_hash=at.latest_block_hash,
        opening=opening,
        certificate=codec.encode(last.certificate),
        boundaries=walk.boundaries,
        checkpoint=checkpoint,
    )


def check_recoveries(anchor: Anchor, given: Iterable[Opened]) -> None:
    """Returns only if the chain of the anchor went through each recovery given for a height below it.

    A set that was believed to be lost may have gone on: what it signs leads from the genesis as well, and a store made of
    it could never be used by a node that was given the recovery. Raises Invalid(RECOVERY_CONFLICT).
    """
    passed = {decode_recovery(item.recovery).hash for item in anchor.boundaries if item.recovery}
    for opened in given:
        if opened.height < anchor.height and opened.hash not in passed:
            raise Invalid(
                f"its headers go past height {opened.height} without the recovery {opened.hash.hex()} that was applied here: "
                "the chain is forked; ask the members",
                Reason.RECOVERY_CONFLICT,
            )


def _ends_or_begins(boundary: BoundaryHeader) -> bool:
    """Whether a header is a boundary by itself: another set follows, or it carries a recovery."""
    return bool(boundary.next_validators or boundary.recovery)


def _boundary(signed: SignedHeader) -> BoundaryHeader:
    return BoundaryHeader(
        block.decode_header(signed.header).height,
        signed.header,
        codec.encode(signed.certificate),
        signed.next_validators,
        signed.recovery,
    )
