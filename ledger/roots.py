"""Lots whose serials are a list that is kept off the chain: the ledger knows its root, and how many there are.

The tree is that of RFC 9162, over the canonical identifiers of the serials in the order in which they lie in the lot:

    leaf(p) = leaf_hash(LOT_SERIAL, chain on which the lot began, canonical identifier of the serial at place p)

Who names a serial for the first time shows where in the list it is. The list says too between which two serials, by
length and then text, all of them are: whoever has another list of the class sees whether the two can meet.

Nobody knows what is in the lists of others. So a serial may be in two of them, or in one and in a range, and this
shows when it is touched (ledger/memberships.py), not before.
"""

from collections.abc import Sequence
from typing import Final

from ledger import merkle
from ledger.errors import Invalid, Refused
from ledger.event_values import GivenSerials
from ledger.hashes import Purpose, leaf_hash
from ledger.identifiers import Identifier
from ledger.ranges import bare_serial, check_list, order, read_range, require_class, serial_of
from proto.chiptrace.v1.ledger_pb2 import InclusionProof, LotRecord, Membership, Reason, Serials

ROOT_SERIALS_MAX: Final = 2**40


def serial_leaf(origin_chain: bytes, serial: str) -> bytes:
    """The leaf of a serial (canonical identifier) in the list of a lot that began on this chain."""
    return leaf_hash(Purpose.LOT_SERIAL, origin_chain, serial.encode())


def read_serials(lot: Identifier, given: GivenSerials, count: int) -> Serials:
    """What an event gives a lot of `count` pieces: a range, a list, or a root.

    Raises Refused: SERIALS_INVALID, IDENTIFIER_INVALID, QUANTITY_INVALID where they are not so many.
    """
    if given.root:
        return _read_root(lot, given, count)
    if given.listed:
        serials = check_list(lot, given.listed)
    else:
        serials = read_range(lot, given.first, given.last)
    if serials.count != count:
        raise Refused(
            f"{lot.text}: the serials given are {serials.count} pieces, not {count}", Reason.QUANTITY_INVALID
        )
    return serials


def _read_root(lot: Identifier, given: GivenSerials, count: int) -> Serials:
    require_class(lot)
    for serial in (given.lowest, given.highest):
        serial_of(lot.class_text, serial)
    if order(given.lowest) > order(given.highest) or (given.lowest == given.highest) != (count == 1):
        raise Refused(
            f"{lot.text}: {count} serials cannot lie between {given.lowest} and {given.highest}, the shorter first",
            Reason.SERIALS_INVALID,
        )
    if count > ROOT_SERIALS_MAX:
        raise Refused(f"{lot.text}: a root has at most {ROOT_SERIALS_MAX} serials", Reason.SERIALS_INVALID)
    return Serials(
        item_class=lot.class_text, count=count, root=given.root, lowest=given.lowest, highest=given.highest
    )


def check_membership(lot: LotRecord, serial: Identifier, membership: Membership) -> None:
    """Returns only if a serial is shown to be at its place of the list behind a lot's root.

    Raises Refused(MEMBERSHIP_INVALID).
    """
    serials = lot.serials
    what = f"{serial.text} at place {membership.place} of {lot.id}"
    # (1) The lot is a root, of the serial's class, and has the place.
    if not serials.root or serial.scheme != "sgtin" or serial.class_text != serials.item_class:
        raise Refused(f"{what}: the lot has no root of serials of this class", Reason.MEMBERSHIP_INVALID)
    if membership.place >= serials.count:
        raise Refused(f"{what}: the lot has {serials.count} serials", Reason.MEMBERSHIP_INVALID)
    # (2) It lies between the two that were declared.
    if not order(serials.lowest) <= order(bare_serial(serial)) <= order(serials.highest):
        raise Refused(
            f"{what}: the lot was declared to have serials from {serials.lowest} to {serials.highest}",
            Reason.MEMBERSHIP_INVALID,
        )
    # (3) The root says so.
    check_path(lot.origin_chain, serials, serial, membership)


def check_path(origin_chain: bytes, serials: Serials, serial: Identifier, membership: Membership) -> None:
    """Returns only if a root leads to a serial at its place. Raises Refused(MEMBERSHIP_INVALID)."""
    proof = InclusionProof(index=membership.place, size=serials.count, path=membership.path)
    try:
        merkle.verify_inclusion(serial_leaf(origin_chain, serial.text), proof, serials.root)
    except Invalid as error:
        raise Refused(
            f"{serial.text} at place {membership.place}: {error}", Reason.MEMBERSHIP_INVALID
        ) from error


# ---- for who keeps the list -----------------------------------------------------------------------------------


class SerialList:
    """The list behind a root, by whom it is kept: serials in their order, without class.

    Raises Refused: SERIALS_INVALID for one that is there twice, or for none at all; IDENTIFIER_INVALID.
    """

    def __init__(self, origin_chain: bytes, lot: Identifier, serials: Sequence[str]) -> None:
        require_class(lot)
        self.lot = lot
        self._names = [serial_of(lot.class_text, serial).text for serial in serials]
        self._places = {name: place for place, name in enumerate(self._names)}
        if not serials:
            raise Refused(f"{lot.text}: the list is empty", Reason.SERIALS_INVALID)
        if len(self._places) != len(serials):
            twice = next(name for place, name in enumerate(self._names) if self._places[name] != place)
            raise Refused(f"{lot.text}: {twice} is listed twice", Reason.SERIALS_INVALID)
        self._levels = merkle.levels([serial_leaf(origin_chain, name) for name in self._names])
        self.given = GivenSerials(
            root=self._levels[-1][0], lowest=min(serials, key=order), highest=max(serials, key=order)
        )

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def membership(self, name: str) -> Membership:
        """The proof that a serial, by canonical identifier, is in the list. Raises Refused(MEMBERSHIP_INVALID)."""
        place = self._places.get(name)
        if place is None:
            raise Refused(f"{name} is not in the list of {self.lot.text}", Reason.MEMBERSHIP_INVALID)
        path = [
            level[place >> depth ^ 1]
            for depth, level in enumerate(self._levels)
            if place >> depth ^ 1 < len(level)
        ]
        return Membership(serial=name, lot=self.lot.text, place=place, path=path)
