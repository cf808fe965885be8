"""Logs for machines: one JSON object per line, with the extra fields of the call beside time, level and message."""

import datetime as dt
import json
import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ledger.errors import Malformed

_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

SELDOM_SECONDS: Final = 10.0
_GRPC: Final = "grpc"  # all its loggers are below this one
_LEFT: Final = "ExecuteBatchError"  # how its record of a caller who left begins


class JsonLines(logging.Formatter):
    """time, level, logger, message, then what was given as `extra`, then the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update((name, value) for name, value in vars(record).items() if name not in _OWN)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class Seldom:
    """For what a stranger can bring about as often as he likes: each message once in a while, with how often it was left
    out since. So a log tells of him, and he does not fill its disk."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._next: dict[str, float] = {}  # by message; on the monotonic clock
        self._left_out: dict[str, int] = {}

    def warning(self, message: str, extra: Mapping[str, object]) -> None:
        """Say it, or count it."""
        more = self.due(message)
        if more is not None:
            self._log.warning(message, extra={**extra, **more})

    def due(self, message: str) -> Mapping[str, int] | None:
        """What is to be said beside it now; None: it is counted."""
        now = time.monotonic()
        if now < self._next.get(message, 0.0):
            self._left_out[message] = self._left_out.get(message, 0) + 1
            return None
        self._next[message] = now + SELDOM_SECONDS
        left_out = self._left_out.pop(message, 0)
        return {"left_out": left_out} if left_out else {}


class OfGrpc(logging.Filter):
    """What gRPC logs by itself is brought about by who calls: a header that is no text, hundreds of times in one call. One
    record in a while. That a caller left just as it was answered is nothing to be said at all."""

    def __init__(self) -> None:
        super().__init__()
        self._seldom = Seldom(logging.getLogger(_GRPC))

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is said."""
        if not record.name.startswith(_GRPC):
            return True
        if str(record.msg).startswith(_LEFT):
            return False
        more = self._seldom.due(_GRPC)
        vars(record).update(more or {})
        return more is not None


def start(level: str, file: str, home: Path) -> None:
    """Send all logs to a file (appending), which stands relative to the configuration's directory, or to standard error
    when none is named. Raises Malformed naming a file that cannot be opened."""
    try:
        handler = (
            logging.FileHandler(home / file, encoding="utf-8") if file else logging.StreamHandler(sys.stderr)
        )
    except OSError as error:
        raise Malformed(
            f"log_file {home / file} cannot be opened: {error.strerror}; make its directory, or name another file"
        ) from None
    handler.setFormatter(JsonLines())
    handler.addFilter(OfGrpc())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
