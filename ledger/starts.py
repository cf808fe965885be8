"""Sets of numbers in the state, in which the nearest one at or below a number is found with few keys.

A set over 0 to size - 1 is a tree of bitmaps of 256 bits. Node p of level l stands for the numbers from
p * 256^(l + 1) on; its bit b is set where some number of the set lies in the b-th part. As many levels as the
size needs: three for a lot of 250,000. Numbers are added and never taken out.
"""

from typing import Final

from ledger import state
from ledger.errors import InvariantBroken
from ledger.state import Overlay, Reader

NODE_BYTES: Final = 32
_BITS: Final = 8
_LAST: Final = (1 << _BITS) - 1


def add(overlay: Overlay, name: str, size: int, number: int) -> None:
    """Puts a number into the set of this name and size. Reads and writes at most one key per level."""
    if not 0 <= number < size:
        raise InvariantBroken(f"{number} is no number of {name}, which has {size}")
    for level in range(_levels(size)):
        above, bit = number >> _BITS * (level + 1), number >> _BITS * level & _LAST
        node = _node(overlay, name, level, above)
        _put(overlay, name, level, above, node | 1 << bit)
        if node:
            # Every node above says already that something is here.
            return


def at_or_below(reader: Reader, name: str, size: int, number: int) -> int | None:
    """The greatest number of the set that is not above this one, or None. Reads at most two keys per level."""
    if not 0 <= number < size:
        raise InvariantBroken(f"{number} is no number of {name}, which has {size}")
    for level in range(_levels(size)):
        above, bit = number >> _BITS * (level + 1), number >> _BITS * level & _LAST
        # At the lowest level the number itself counts; further up its own part was looked through before.
        below = _node(reader, name, level, above) & ((2 << bit) - 1 if level == 0 else (1 << bit) - 1)
        if below:
            return _greatest(reader, name, level, above, below)
    return None


def _greatest(reader: Reader, name: str, level: int, above: int, node: int) -> int:
    found = above << _BITS | node.bit_length() - 1
    for lower in range(level - 1, -1, -1):
        node = _node(reader, name, lower, found)
        if not node:
            raise InvariantBroken(f"node {found} of level {lower} of {name} is empty")
        found = found << _BITS | node.bit_length() - 1
    return found


def _levels(size: int) -> int:
    return max(1, -(-(size - 1).bit_length() // _BITS))


def _node(reader: Reader, name: str, level: int, above: int) -> int:
    value = reader.get(state.starts_key(name, level, above))
    return 0 if value is None else int.from_bytes(value, "big")


def _put(overlay: Overlay, name: str, level: int, above: int, node: int) -> None:
    overlay.put(state.starts_key(name, level, above), node.to_bytes(NODE_BYTES, "big"))
