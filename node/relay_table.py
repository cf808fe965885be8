"""The relayer's durable table: cursors, what was refused, and the headers it has seen (SQLite).

Nothing in it is needed. Cursors save reading closed packets again; refusals keep a restart from trying at once what was
refused a moment ago; headers let a fork be found that is shown to this relayer before and after a restart. Without the
table the relayer reads all packets from the first one on, once.
"""

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from client.relay_route import Direction, Refusal
from ledger.errors import StoreError
from proto.chiptrace.v1.consensus_pb2 import SignedHeader

VERSION: Final = 2
# The version of which headers alone are taken over: one lying node could move a cursor too far, or give an action up.
HEADERS_ALONE: Final = 1
HEADERS_KEPT: Final = 4_096  # of each chain
# What SQLite holds; a higher one, which a corrupt chain may certify, is not remembered.
HEIGHT_MAX: Final = 2**63 - 1
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS cursors (chain BLOB, client TEXT, low INTEGER NOT NULL, PRIMARY KEY (chain, client));
CREATE TABLE IF NOT EXISTS refusals (
    chain BLOB, client TEXT, key BLOB, tries INTEGER NOT NULL, until_ms INTEGER NOT NULL, reason INTEGER NOT NULL,
    PRIMARY KEY (chain, client, key)
);
CREATE TABLE IF NOT EXISTS headers (chain BLOB, height INTEGER, signed BLOB NOT NULL, PRIMARY KEY (chain, height));
"""


class RelayTable:
    """The table in one file. One connection for each thread that uses it; SQLite keeps them apart."""

    def __init__(self, path: Path) -> None:
        """Raises StoreError for a file that cannot be used; a damaged one may be deleted."""
        self._path = path
        self._kept: dict[tuple[bytes, str], dict[bytes, Refusal]] = {}
        try:
            self._connection = sqlite3.connect(path, timeout=30.0, isolation_level=None)
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, HEADERS_ALONE, VERSION):
                raise StoreError(f"{path} is the table of another version; delete it, a rescan replaces it")
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.executescript(_TABLES)
            self._connection.execute("BEGIN IMMEDIATE")
            if version == HEADERS_ALONE:
                self._connection.execute("DELETE FROM cursors")
                self._connection.execute("DELETE FROM refusals")
            self._connection.execute(f"PRAGMA user_version = {VERSION}")
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def low(self, chain: bytes, client: str) -> int:
        """The lowest sequence sent over a client that may still be open."""
        found = self._all("SELECT low FROM cursors WHERE chain = ? AND client = ?", (chain, client))
        return max(1, int(found[0][0])) if found else 1

    def refusals(self, chain: bytes, client: str) -> dict[bytes, Refusal]:
        """What a chain has refused of the other end of a route, to which its client `client` belongs."""
        question = "SELECT key, tries, until_ms, reason FROM refusals WHERE chain = ? AND client = ?"
        found = {
            bytes(key): Refusal(tries, until_ms, reason)
            for key, tries, until_ms, reason in self._all(question, (chain, client))
        }
        self._kept[chain, client] = dict(found)
        return found

    def save(self, directions: Iterable[Direction]) -> None:
        """Keep how far each end was read, and what each has refused. Nothing is written where nothing changed."""
        changes: list[tuple[str, tuple[object, ...]]] = []
        for direction in directions:
            end, host = direction.source, direction.host
            if self.low(end.trust.chain_id, end.client) != end.outbox.low:
                values = (end.trust.chain_id, end.client, end.outbox.low)
                changes.append(("INSERT OR REPLACE INTO cursors VALUES (?, ?, ?)", values))
            place = (host.trust.chain_id, host.client)
            kept = self._kept.get(place, {})
            gone = "DELETE FROM refusals WHERE chain = ? AND client = ? AND key = ?"
            changes += [(gone, (*place, key)) for key in kept if key not in direction.refusals]
            for key, item in direction.refusals.items():
                if kept.get(key) != item:
                    row = (*place, key, item.tries, item.until_ms, item.reason)
                    changes.append(("INSERT OR REPLACE INTO refusals VALUES (?, ?, ?, ?, ?, ?)", row))
            self._kept[place] = dict(direction.refusals)
        self._write(changes)

    def header(self, chain: bytes, height: int) -> SignedHeader | None:
        """The first certified header that was seen of a height."""
        if height > HEIGHT_MAX:
            return None
        found = self._all("SELECT signed FROM headers WHERE chain = ? AND height = ?", (chain, height))
        return SignedHeader.FromString(found[0][0]) if found else None

    def keep_headers(self, chain: bytes, headers: dict[int, SignedHeader]) -> None:
        """Keep headers by height; what is there stays, and the oldest go."""
        kept = {height: signed for height, signed in headers.items() if height <= HEIGHT_MAX}
        insert = "INSERT OR IGNORE INTO headers VALUES (?, ?, ?)"
        changes: list[tuple[str, tuple[object, ...]]] = [
            (insert, (chain, height, signed.SerializeToString(deterministic=True)))
            for height, signed in kept.items()
        ]
        if changes:
            oldest = max(kept) - HEADERS_KEPT
            changes.append(("DELETE FROM headers WHERE chain = ? AND height < ?", (chain, oldest)))
        self._write(changes)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _all(self, question: str, values: tuple[object, ...]) -> list[Any]:
        try:
            return self._connection.execute(question, values).fetchall()
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _write(self, changes: Iterable[tuple[str, tuple[object, ...]]]) -> None:
        wanted = list(changes)
        if not wanted:
            return
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for statement, values in wanted:
                self._connection.execute(statement, values)
            self._connection.execute("COMMIT")  # durable from here on: synchronous = FULL
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _failed(self, error: sqlite3.Error) -> StoreError:
        return StoreError(
            f"the relayer's table {self._path} failed: {error}; delete it, a rescan replaces it"
        )
