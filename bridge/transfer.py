"""What travels through port custody/1: its form, checked before anything in it is believed."""

import re
from typing import Final

from bridge.contents import check_amounts, check_contents
from bridge.serial_lots import Place, check_place
from ledger import codec, decimals
from ledger.errors import Refused
from ledger.hashes import HASH_BYTES
from ledger.identifiers import Identifier, canonical
from ledger.limits import HOP_MAX, PACKET_VALUE_BYTES_MAX
from proto.chiptrace.v1.bridge_pb2 import CustodyTransfer, Packet
from proto.chiptrace.v1.ledger_pb2 import Reason

PORT: Final = "custody/1"
VERSION: Final = "custody/1"
ENCODING: Final = "application/x-protobuf"

_MEMBER_ID: Final = re.compile(r"[a-z0-9-]{1,32}")


def check_member_id(member: str, reason: "Reason.ValueType" = Reason.MALFORMED) -> None:
    """Returns only for what can name a member, else raises Refused; whether there is one is its chain's to say."""
    if _MEMBER_ID.fullmatch(member) is None:
        raise Refused(f"{member[:40]!r} cannot name a member", reason)


def read_transfer(packet: Packet) -> CustodyTransfer:
    """The transfer that a packet carries.

    Raises Malformed, Refused: PORT_NOT_ALLOWED, MALFORMED, IDENTIFIER_INVALID, CONTENTS_INVALID.
    """
    if packet.version != VERSION or packet.encoding != ENCODING:
        raise Refused(f"{PORT} speaks {VERSION} in {ENCODING}", Reason.PORT_NOT_ALLOWED)
    transfer = codec.decode(CustodyTransfer, packet.value, PACKET_VALUE_BYTES_MAX)
    identifier = canonical(transfer.part)
    is_amount = transfer.HasField("amount")
    if (
        identifier.text != transfer.part
        or identifier.is_class != is_amount
        or (is_amount and identifier.interval is not None)
    ):
        raise Refused(f"{transfer.part[:80]!r} names no part in canonical form", Reason.IDENTIFIER_INVALID)
    for member in (transfer.sender, transfer.receiver, transfer.class_commissioner):
        check_member_id(member)
    if len(transfer.origin_chain) != HASH_BYTES or len(transfer.history_root) != HASH_BYTES:
        raise Refused("the transfer names no origin or no history", Reason.MALFORMED)
    if is_amount:
        _check_amount(transfer, identifier)
    elif not 1 <= transfer.hop <= HOP_MAX:
        raise Refused(f"no part arrives at hop {transfer.hop}", Reason.MALFORMED)
    place = place_in(transfer)
    if place is not None:
        check_place(transfer.part, place)
    elif transfer.HasField("membership"):
        raise Refused(f"{transfer.part} is of no lot, and shown to be in one", Reason.MALFORMED)
    elif identifier.interval is not None:
        raise Refused(f"{transfer.part} is of a lot that the transfer does not tell", Reason.MALFORMED)
    if transfer.HasField("contents"):
        if identifier.interval is not None:
            raise Refused(f"{transfer.part} holds nothing", Reason.CONTENTS_INVALID)
        check_contents(transfer.contents, transfer.part)
        check_amounts(transfer.contents, transfer.part)
        for item in transfer.contents.amounts:
            check_member_id(item.commissioner)
    return transfer


def sent_transfer(packet: Packet) -> CustodyTransfer:
    """The transfer in a packet of our own, which was committed to. Its answer counts whatever is in it: what came from
    another chain and lies in it unseen may be such that nobody takes it, and then it has to come back."""
    return codec.decode(CustodyTransfer, packet.value, PACKET_VALUE_BYTES_MAX)


def place_in(transfer: CustodyTransfer) -> Place | None:
    """Which serials of which lot the part is; None for what is of none."""
    if not (transfer.lot or transfer.HasField("serials") or transfer.start or transfer.end):
        return None
    shown = transfer.membership if transfer.HasField("membership") else None
    return Place(transfer.lot, transfer.start, transfer.end, transfer.serials, shown)


def _check_amount(transfer: CustodyTransfer, lot: Identifier) -> None:
    amount = transfer.amount.amount
    decimals.check(amount)
    if decimals.sign(amount) <= 0 or not (transfer.amount.unit or decimals.is_whole(amount)):
        raise Refused(f"{decimals.to_text(amount)} of {lot.text} cannot be moved", Reason.MALFORMED)
    if transfer.hop or transfer.ownership or transfer.HasField("contents") or place_in(transfer):
        raise Refused(f"some of {lot.text} has no hop, no owner and no contents", Reason.MALFORMED)
