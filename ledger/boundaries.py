"""The headers that a light client must see: where the validator set changes, and where the chain was recovered.

At a change, the last header of the old set, with the new one. At a recovery, the header at which the old set ended,
so that whoever follows stands exactly there, and the first header of the new set, with the recovery.
"""

from ledger import codec, rows
from ledger.block import validators_hash
from ledger.errors import InvariantBroken
from ledger.kv import Change
from ledger.rows import BoundaryHeader
from proto.chiptrace.v1.ledger_pb2 import Header, ValidatorSet


def boundary_rows(
    header: Header, signed: BoundaryHeader, following: ValidatorSet, before: BoundaryHeader | None
) -> list[Change]:
    """The rows of one decided height: none for most.

    `signed` is its header with its certificate and recovery; `following` the set in force above it; `before` the
    header below a recovery (none below height 1).
    """
    if header.next_validators_hash != header.validators_hash:
        if validators_hash(header.chain_id, following) != header.next_validators_hash:
            raise InvariantBroken(
                f"header {header.height} commits to another next validator set than the state"
            )
        found = [BoundaryHeader(signed.height, signed.header, signed.certificate, codec.encode(following))]
    elif signed.recovery:
        found = [*([] if before is None else [before]), signed]
    else:
        found = []
    return [rows.sealed(rows.boundary_row(item.height), rows.encode_boundary(item)) for item in found]
