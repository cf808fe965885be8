"""What a node needs of its machine, looked at before it fails: room on its disks, and a clock that others agree with.

With little room left the node takes no more transactions from clients and passes none on, says so, and goes on voting
and storing what others decide: that is what the rest of the room is for. Once even that cannot be written, the node
stops (any failed write is final), and starts again when there is room. A wrong clock is said; nothing is done about it.
"""

import asyncio
import logging
import shutil
from pathlib import Path
from typing import Final

from node import peer_clocks
from node.admission import Admission
from node.config import NodeConfig
from node.node_status import NodeStatus

_LOG: Final = logging.getLogger("chiptrace.machine")
CHECK_SECONDS: Final = 1.0


class MachineChecks:
    """Looks again and again, and says what has changed."""

    def __init__(self, config: NodeConfig, status: NodeStatus, admission: Admission) -> None:
        self._directories = (config.data_dir, config.key_dir)
        self._free_min = config.disk_free_bytes_min
        self._status = status
        self._admission = admission
        self._clock_warned = False

    async def run(self) -> None:
        """For ever."""
        while True:
            self.check()
            await asyncio.sleep(CHECK_SECONDS)

    def check(self) -> None:
        """One look at all of it."""
        self._check_disks()
        self._check_clock()

    def _check_disks(self) -> None:
        free, directory = min((free_bytes(directory), directory) for directory in self._directories)
        full = free < self._free_min
        if full == bool(self._status.not_admitting):
            return
        text = ""
        if full:
            text = (
                f"the disk of {directory} has {free} bytes left, less than disk_free_bytes_min = {self._free_min}: no "
                "transactions are taken; make room"
            )
            _LOG.error("the disk is nearly full", extra={"cause": text})
        else:
            _LOG.info("there is room on the disk again", extra={"bytes": free})
        self._status.not_admitting = text
        self._admission.refuse(text)

    def _check_clock(self) -> None:
        text = peer_clocks.warning(self._status.clock_offset_ms)
        if text and not self._clock_warned:
            _LOG.warning("the clock is wrong", extra={"cause": text})
        if self._clock_warned and not text:
            _LOG.info("the clock is right again")
        self._clock_warned = bool(text)


def free_bytes(directory: Path) -> int:
    """Bytes that this user may still write on the disk of a directory, or of the nearest one that exists."""
    while not directory.exists():
        directory = directory.parent
    return shutil.disk_usage(directory).free
