"""What a command works with: the trust file, a chain's connection, its verified view, a submitter."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from client import trust as trust_file
from client.clock import now_ms
from client.connection import Connection
from client.submit import Submitter
from client.trust import ChainTrust, Identity, Trust
from client.verified import VerifiedChain


@dataclass(frozen=True)
class ChainSession:
    """One chain, seen and written to as one identity."""

    trust: ChainTrust
    identity: Identity
    connection: Connection
    verified: VerifiedChain

    def submitter(self) -> Submitter:
        """Signs as this identity. Raises Malformed when it may only read."""
        return Submitter(self.trust, self.identity, self.connection, now_ms)


@contextmanager
def open_chain(path: Path, chain: str, member: str = "", only: str | None = None) -> Iterator[ChainSession]:
    """One chain of the trust file; `member` "" takes the first identity for it."""
    trust = trust_file.read(path)
    session = _session(trust, trust.chain(chain), member, only)
    try:
        yield session
    finally:
        session.connection.close()


@contextmanager
def open_all(path: Path, only: dict[str, str] | None = None) -> Iterator[dict[bytes, ChainSession]]:
    """Every chain of the trust file, by chain id. `only`: one endpoint per chain name to keep to."""
    trust = trust_file.read(path)
    keep = only or {}
    sessions = {chain.chain_id: _session(trust, chain, "", keep.get(chain.name)) for chain in trust.chains}
    try:
        yield sessions
    finally:
        for session in sessions.values():
            session.connection.close()


def _session(trust: Trust, chain: ChainTrust, member: str, only: str | None) -> ChainSession:
    identity = trust.identity(chain.name, member)
    connection = Connection(chain, identity, only)
    return ChainSession(chain, identity, connection, VerifiedChain(chain, connection, now_ms))
