"""The verifier process: a node's transactions in, frame by frame, and the ids of those that are good out.

Verifying a signature takes about as long as executing a transaction, and Python runs one of both at a time in one process;
so where there is a core to spare a node lets a process beside it verify. It knows one chain's id and nothing else: what it
says is a function of the bytes (ledger/vouched.py). It ends with its node, however that ends: when its input does, and when
it is stopped and reads no more (SIGSTOP), by the system's hand.

    in     be32 length, TransactionFrame
    out    be32 number of transactions, SHA-256 of the frame, and 32 bytes for each: its id, or zeros
"""

import contextlib
import ctypes
import os
import signal
import sys
from typing import BinaryIO, Final

from ledger.hashes import ZERO, sha256
from ledger.vouched import judged
from proto.chiptrace.v1.consensus_pb2 import TransactionFrame

LENGTH_BYTES: Final = 4
FRAME_BYTES_MAX: Final = 1_048_576
_PR_SET_PDEATHSIG: Final = 1  # prctl(2): the signal that comes when the thread which began this process ends


def answer(chain_id: bytes, frame: bytes) -> bytes:
    """What is said of a frame."""
    transactions = TransactionFrame.FromString(frame).transactions
    ids = [_id(chain_id, data) for data in transactions]
    return b"".join((len(ids).to_bytes(LENGTH_BYTES, "big"), sha256(frame), *ids))


def _id(chain_id: bytes, data: bytes) -> bytes:
    try:
        return judged(chain_id, data) or ZERO
    except Exception:  # what upsets us is for the node to look into; the others in its frame are good
        return ZERO


def serve(chain_id: bytes, questions: BinaryIO, answers: BinaryIO) -> None:
    """Answer one frame after the other, until there are no more."""
    while len(head := questions.read(LENGTH_BYTES)) == LENGTH_BYTES:
        size = int.from_bytes(head, "big")
        if size > FRAME_BYTES_MAX:
            raise ValueError(f"a frame of {size} bytes; at most {FRAME_BYTES_MAX} are sent")
        frame = questions.read(size)
        if len(frame) < size:
            return
        answers.write(answer(chain_id, frame))
        answers.flush()


def main() -> int:
    """`python -m node.verifying_process CHAIN_ID`, its node at the other end of its input and output."""
    # Signals of a terminal are for the node: it stops first, and this with it.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    chain_id = bytes.fromhex(sys.argv[1])
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever else is printed is no answer
    with contextlib.suppress(ConnectionError):  # nobody is there any more
        answers.write(sha256(chain_id))  # it has begun
        answers.flush()
        serve(chain_id, sys.stdin.buffer, answers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
