"""The recoveries that the operator of a node has given it, and those that it meets and was not given.

One file for each, `recoveries/HEIGHT.recovery` beside the database: a Recovery as it is, checked against the store
before it is kept (`apply`) and again at every start and at its height (ledger/application.py). A node takes none from
its peers. One that stands where others went through a recovery stays there and says which one it lacks.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from bridge import machine
from client.keys import sync_directory
from ledger import genesis, recovery
from ledger.application import Application, Info
from ledger.errors import ChiptraceError, Invalid, Malformed
from ledger.leveldb import LevelKV
from ledger.limits import RECOVERY_BYTES_MAX
from ledger.recovery import Opened, Standing
from node import journal_file, signer
from node.chain_host import ChainHost
from node.config import NodeConfig, read_genesis
from node.signer import SignState
from proto.chiptrace.v1.consensus_pb2 import BoundaryReply, PeerMessage
from proto.chiptrace.v1.ledger_pb2 import Reason

_LOG: Final = logging.getLogger("chiptrace.recovery")
DIRECTORY: Final = "recoveries"
SUFFIX: Final = ".recovery"
NOTE_FILE: Final = "recovery"  # beside a validator key: its public key, and the document it votes under
LOOK_SECONDS: Final = 1.0  # a peer's message is looked at for a recovery this often
MET_MAX: Final = 64  # documents remembered as looked at


# ---- on disk ------------------------------------------------------------------------------------------------


def read_all(data_dir: Path) -> list[bytes]:
    """The recoveries (Recovery) given to the node with this data directory, as they are. Raises Malformed, OSError."""
    directory = data_dir / DIRECTORY
    return [_read(path) for path in sorted(directory.glob(f"*{SUFFIX}"))] if directory.is_dir() else []


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(RECOVERY_BYTES_MAX + 1)
    try:
        recovery.decode(data)
    except ChiptraceError as error:
        raise Malformed(f"{path} is no recovery: {error}; take the file away and apply it again") from error
    return data


def _path(data_dir: Path, height: int) -> Path:
    return data_dir / DIRECTORY / f"{height:020}{SUFFIX}"


# ---- a stopped node -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stopped:
    """What a node that does not run holds."""

    chain_id: bytes
    application: Application | None  # None: it has no database yet
    signing: SignState

    @property
    def info(self) -> Info | None:
        """Where its chain stands."""
        return None if self.application is None else self.application.info()


class Effect(StrEnum):
    """What applying a recovery has come to."""

    NEXT = "in force: the next block carries it"
    LATER = "kept: it is judged once this node has reached its height"
    PAST = "this chain went through it already"


@contextmanager
def opened_node(config: NodeConfig) -> Iterator[Stopped]:
    """The store of a stopped node, without the recoveries given to it. Raises StoreError while it runs."""
    chain_id = genesis.chain_id(read_genesis(config.genesis))
    signing = signer.inspect(config.key_dir)
    database = config.data_dir / "chain"
    if not database.is_dir():
        yield Stopped(chain_id, None, signing)
        return
    kv = LevelKV(database)
    try:
        application = Application(kv, machine.operations(), machine.changes())
        if application.store.empty:
            yield Stopped(chain_id, None, signing)
        elif application.info().chain_id != chain_id:
            raise Invalid(f"{database} holds another chain than {config.genesis} makes", Reason.WRONG_CHAIN)
        else:
            yield Stopped(chain_id, application, signing)
    finally:
        kv.close()


def standing(info: Info) -> Standing:
    """What a recovery must be made for."""
    return Standing(info.chain_id, info.height, info.time_ms, info.block_hash, info.app_hash)


def apply(config: NodeConfig, data: bytes) -> tuple[Opened, Effect]:
    """Gives a recovery to a stopped node. Durable when it returns; nothing is kept when it raises.

    Raises StoreError while the node runs, Malformed, and Invalid with the reason of the first step that fails.
    """
    # (1) Bytes in order, (2) of the node's chain.
    opened = recovery.decode(data)
    with opened_node(config) as node:
        if opened.document.chain_id != node.chain_id:
            raise Invalid(
                f"the recovery is for chain {opened.document.chain_id.hex()}, this node's is {node.chain_id.hex()}",
                Reason.WRONG_CHAIN,
            )
        # (3) Right where the chain stands here; or to be judged there; or gone through. Not past a block that the
        #     old validators made final: that would be a fork.
        effect = _judge(node, opened)
        # (4) No other decision for that height was applied, unless this one says that it takes its place.
        _check_other(config, opened)
        # (5) This node's key votes under this recovery and under no other, if it votes at all.
        own = _own_key(config, node.signing, opened)
        if own is not None:
            journal_file.write_durably(
                config.key_dir / NOTE_FILE, f"{own.hex()} {opened.hash.hex()}\n".encode()
            )
        path = _path(config.data_dir, opened.height)
        path.parent.mkdir(parents=True, exist_ok=True)
        sync_directory(config.data_dir)
        # Here it becomes durable: file, name and directory.
        journal_file.write_durably(path, data)
    return opened, effect


def _judge(node: Stopped, opened: Opened) -> Effect:
    info = node.info
    if info is None or node.application is None or info.height < opened.height:
        return Effect.LATER
    if info.height > opened.height:
        recovery.check_carried(node.application.store, opened)
        return Effect.PAST
    recovery.check(node.application.store, standing(info), opened)
    return Effect.NEXT


def _check_other(config: NodeConfig, opened: Opened) -> None:
    path = _path(config.data_dir, opened.height)
    if not path.exists():
        return
    other = recovery.decode(_read(path))
    if other.hash == opened.hash:
        return
    if opened.document.replaces != other.hash:
        raise Invalid(
            f"the recovery {other.hash.hex()} was applied to this node for height {opened.height}; "
            f"{opened.hash.hex()} is another one. Only a document that names it in `replaces` takes its place",
            Reason.RECOVERY_CONFLICT,
        )
    known = {validator.key for validator in other.document.validators}
    for validator in opened.document.validators:
        if validator.key in known:
            raise Invalid(
                f"validator key {validator.key.hex()} stands in the recovery {other.hash.hex()} too, and may have voted "
                f"for it; make a new key",
                Reason.RECOVERY_CONFLICT,
            )


def _own_key(config: NodeConfig, signing: SignState, opened: Opened) -> bytes | None:
    """This node's key, if it is in the set. Raises Invalid(BAD_RECOVERY) for one that voted above the height already,
    unless this very document was applied to it: a data directory may be lost, the key's past is not."""
    key = signing.key
    if key is None or key not in {validator.key for validator in opened.document.validators}:
        return None
    note = config.key_dir / NOTE_FILE
    known = note.read_text(encoding="ascii", errors="replace").split() if note.exists() else []
    voted = signing.last_vote is not None and signing.last_vote.height > opened.height
    if voted and known != [key.hex(), opened.hash.hex()]:
        raise Invalid(
            f"this node's key has voted at height {signing.last_vote.height if signing.last_vote else 0}, and not under "
            "this recovery; make a new key",
            Reason.BAD_RECOVERY,
        )
    return key


# ---- a running node ---------------------------------------------------------------------------------------------


class RecoveryWatch:
    """Sees in what peers send whether they went through a recovery where this node stands. It looks, and no more."""

    def __init__(self, host: ChainHost, receive: Callable[[bytes, PeerMessage], Awaitable[None]]) -> None:
        self._host = host
        self._receive = receive
        self._looked: dict[bytes, float] = {}  # when, by peer
        self._met: set[bytes] = set()
        self._lacked: Opened | None = None

    async def receive(self, sender: bytes, message: PeerMessage) -> None:
        """Looks, then passes the message on."""
        if message.HasField("boundary_reply"):
            await self._look(sender, message.boundary_reply)
        await self._receive(sender, message)

    def lacked(self) -> bytes:
        """The document (hash) without which this node stays where it is, found to be approved; empty: none is known."""
        info = self._host.info
        lacks = self._lacked is not None and self._lacked.height == info.height and info.recovery is None
        return self._lacked.hash if self._lacked is not None and lacks else b""

    async def _look(self, sender: bytes, reply: BoundaryReply) -> None:
        now, info = asyncio.get_running_loop().time(), self._host.info
        if now - self._looked.get(sender, -LOOK_SECONDS) < LOOK_SECONDS or info.recovery is not None:
            return
        self._looked[sender] = now
        for signed in reply.headers:
            try:
                opened = recovery.decode(signed.recovery) if signed.recovery else None
            except ChiptraceError:
                return
            if opened is None or opened.height != info.height:
                continue
            # Of whatever peers make up, the right approvals are what they cannot.
            if opened.data not in self._met:
                if len(self._met) >= MET_MAX:
                    self._met.clear()
                self._met.add(opened.data)
                await self._examine(sender, opened)
            return

    async def _examine(self, sender: bytes, opened: Opened) -> None:
        here = standing(self._host.info)
        try:
            record = await self._host.read(lambda store: recovery.check(store, here, opened))
        except Invalid as error:
            _LOG.warning(
                "a peer shows a recovery that is none", extra=_told(sender, opened, cause=str(error))
            )
            return
        self._lacked = opened
        _LOG.error(
            "others went through a recovery at this height; this node stays here until its operator applies it",
            extra=_told(
                sender,
                opened,
                members=", ".join(record.members),
                words=record.reason,
                next="compare the document's hash with the members', then `chiptrace recover apply`",
            ),
        )


def _told(sender: bytes, opened: Opened, **more: str) -> dict[str, object]:
    return {"peer": sender.hex(), "height": opened.height, "document": opened.hash.hex(), **more}
