"""How many files a node may have open, and how many of them the connections at its ports may be.

Who connects needs no certificate to take a file; a node that cannot open one when its store or its signing record begins
a new one has to end. So each port has a quarter of what the system allows, and closes what comes beyond. LevelDB takes a
fifth at most; what is left is the node's own: its lines, logs, its verifier process.
"""

import contextlib
import resource
from typing import Final

from ledger.errors import Malformed

FILES_MIN: Final = 256  # below it a port would have too few connections for a full validator set
FILES_WANTED: Final = 65_536
PORT_SHARE: Final = 4  # one port may have 1/4
CONNECTIONS_MAX: Final = 1_024  # of one port, however many files there may be: each takes memory, too


def allow() -> None:
    """Take as many as the system lets this process have. Raises Malformed where those are too few for a node."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, FILES_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # then it stays as it was
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    files = _allowed()
    if files < FILES_MIN:
        raise Malformed(
            f"this process may open {files} files, and a node wants {FILES_MIN} at least; "
            "allow it more (`ulimit -n 4096`, or LimitNOFILE= of its systemd unit) and start it again"
        )


def connections_max() -> int:
    """That one port may hold at a time, handshakes among them."""
    return min(CONNECTIONS_MAX, _allowed() // PORT_SHARE)


def _allowed() -> int:
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return FILES_WANTED if soft == resource.RLIM_INFINITY else soft
