"""One node: put together, started, kept in step with its health, drained and stopped.

Order of start: database (begun with a snapshot of the others where it is empty), signing record, lines to the validators, agreement, client port. The client port answers
from the start, but its health is NOT_SERVING, and it takes no transactions, until the node is in step.
Order of stop (SIGTERM, SIGINT): no new transactions, no new blocks, a moment for what is decided to be stored, then
ports, database and signing record are closed. SIGHUP: the [[peers]] of the configuration are read again. Whatever
says that the disk failed, or that we broke our own rules, ends the process at once, non-zero: a node that goes on
after that does harm.
"""

import asyncio
import dataclasses
import logging
import os
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2_grpc

from bridge import machine
from client.clock import SteadyClock, now_ms
from consensus.effects import EngineSettings
from ledger import genesis, hashes
from ledger.application import Info
from ledger.errors import ChiptraceError, Malformed, StoreError
from ledger.leveldb import LevelKV
from ledger.limits import RPC_MESSAGE_BYTES_MAX
from ledger.recovery import decode as decode_recovery
from ledger.snapshots import SnapshotConnection
from node import certificates, join_proof, logs, open_files, recovery, signer, state_sync, tls_port
from node.admission import Admission
from node.calls import Calls
from node.chain_host import ChainHost
from node.config import NodeConfig, read, read_genesis
from node.driver import Driver
from node.health import HealthService
from node.machine_checks import MachineChecks
from node.node_status import HEIGHTS_BEHIND_MAX, NodeStatus
from node.peers import Peers
from node.pool import Pool
from node.recovery import RecoveryWatch
from node.services import WAITING, ChainService
from node.signer import Signer
from node.snapshot_files import SnapshotFiles
from node.snapshots import SnapshotService, SnapshotTaker
from node.stages import Stages, begun
from node.state_sync import StateSync
from node.verifier import Verifier, processes_here
from proto.chiptrace.v1 import node_pb2_grpc

_LOG: Final = logging.getLogger("chiptrace.server")
# Of a client's requests, before they have their turn: it sends 2 MB/s over 100 ms there and back, and all 512 hold 128 MiB.
UNREAD_BYTES_MAX: Final = 262_144
HEALTH_SECONDS: Final = 0.1
DRAIN_SECONDS: Final = 1.0
EXPIRY_CHECK_SECONDS: Final = 43_200.0
SWITCH_SECONDS: Final = 0.001  # how long one thread keeps the interpreter while another wants it
EXIT_FAILED: Final = 1


class Node:
    """The parts of one node, in the order in which they are started."""

    def __init__(self, path: Path, stages: Stages | None = None) -> None:
        self._path = path
        self._stages = stages
        self._config = config = read(path, NodeConfig)
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._genesis = read_genesis(config.genesis)
        self._recoveries = recovery.read_all(config.data_dir)
        self._host = self._new_host()
        self._pool = Pool()
        self._signer = Signer(config.key_dir)
        self._health = HealthService()
        self._server: grpc.aio.Server | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._unknown: set[bytes] = set()  # validators without a peer entry, told of already

    async def start(self) -> None:
        """Up to open ports. Raises ChiptraceError or OSError saying what is wrong with what."""
        config = self._config
        config.data_dir.mkdir(parents=True, exist_ok=True)
        # It takes a moment to begin; the store is opened meanwhile.
        processes = processes_here() if config.verifiers is None else config.verifiers
        verifier = Verifier(genesis.chain_id(self._genesis), processes)
        self._run("verifier", verifier.run())
        info = await self._open_chain()
        settings = EngineSettings(**dataclasses.asdict(config.consensus))
        self._driver = Driver(self._host, self._pool, self._signer, settings, SteadyClock(), verifier)
        watch = RecoveryWatch(self._host, self._driver.receive)
        self._peers = Peers(
            config.peers,
            config.tls,
            config.consensus_port,
            _hello(info.chain_id),
            watch.receive,
            self._driver.reached,
        )
        self._give_snapshots(info.chain_id)
        self._admission = Admission(
            self._host, self._pool, self._peers.pass_on, self._driver.work_pending, verifier
        )
        self._driver.connect(self._peers, self._admission)
        status = NodeStatus(
            self._host,
            self._pool,
            self._driver,
            self._peers,
            self._signer,
            verifier,
            self._genesis,
            lambda info: join_proof.made(info, self._signer, now_ms()),
        )
        status.recovery_lacked = watch.lacked
        await self._peers.start()
        self._run("agreement", self._driver.run())
        self._run("admission", self._admission.run())
        await self._open_client_port(status)
        self._admission.open(lambda: status.synced)
        self._run("health", self._watch(status))
        self._run("machine", MachineChecks(config, status, self._admission).run())
        if self._stages is not None:
            self._run("stages", self._stages.run(config.data_dir))
        _LOG.info(
            "node started",
            extra={
                "node": config.name,
                "chain": info.name,
                "chain_id": info.chain_id.hex(),
                "height": info.height,
                "votes": self._signer.may_vote,
                "clients": config.clients.listen,
                "validators": config.consensus_port.listen,
            },
        )

    async def failure(self) -> None:
        """Returns never, or raises what the node must stop for."""
        await self._failed

    def reread(self) -> None:
        """Take over the [[peers]] of the configuration file as it is now; all else in it waits for a restart. A file
        with anything wrong changes nothing."""
        try:
            config = read(self._path, NodeConfig)
        except ChiptraceError as error:
            _LOG.error("the configuration cannot be read again; nothing changes", extra={"cause": str(error)})
            return
        begun, ended = self._peers.replace(config.peers)
        self._unknown.clear()
        others = dataclasses.replace(config, peers=self._config.peers) != self._config
        _LOG.info("peers read again", extra={"new": begun, "gone": ended, "restart_for_the_rest": others})

    async def stop(self) -> None:
        """Drain and close; what is decided is stored."""
        self._admission.close()
        self._health.close()
        self._driver.stop_proposing()
        if self._server is not None:
            await self._server.stop(DRAIN_SECONDS)
        await self._peers.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._host.stop()
        self._signer.close()

    def _new_host(self) -> ChainHost:
        return ChainHost(
            lambda: LevelKV(self._config.data_dir / state_sync.STORE),
            machine.operations(),
            machine.changes(),
            self._recoveries,
        )

    async def _open_chain(self) -> Info:
        """The store; an empty one begins with a snapshot of the others, where there is one."""
        config = self._config
        state_sync.clear(config.data_dir)
        info = await self._host.start(self._genesis)
        # Before another store takes the place of the one that saw the signing record last: a snapshot knows nothing of it.
        self._signer.compare(await self._host.read(lambda store: store.note()))
        anew = state_sync.is_to_begin_anew(config.data_dir, info.height)
        if (info.height and not anew) or not config.peers or not config.snapshots.begin_with:
            return info
        made = await self._state_sync(info.chain_id, info.height).run()
        if made is None:
            return info
        await self._host.stop()
        state_sync.install(config.data_dir, made, info.height)
        self._host = self._new_host()
        return await self._host.start(self._genesis)

    def _state_sync(self, chain_id: bytes, above: int = 0) -> StateSync:
        recoveries = [decode_recovery(data) for data in self._recoveries]
        tables, hello = machine.side_tables(), _hello(chain_id)
        return StateSync(self._config, self._genesis, hello, chain_id, tables, recoveries, above)

    def _give_snapshots(self, chain_id: bytes) -> None:
        """Take them and serve them, on the consensus port."""
        files = SnapshotFiles(self._config.data_dir / "snapshots")
        tables, every = machine.side_tables(), self._config.snapshots.every_heights
        connection = SnapshotConnection(chain_id, files, tables)
        service = SnapshotService(self._host, connection, self._peers.caller, self._fail)
        self._peers.serve(lambda server: node_pb2_grpc.add_SnapshotsServicer_to_server(service, server))
        if every:
            taker = SnapshotTaker(self._host, files, tables, every, self._driver.height_above)
            self._run("snapshots", taker.run())
        if self._config.peers and self._config.snapshots.begin_with:
            watch = state_sync.watch(
                self._config.data_dir,
                lambda: self._host.info.height,
                lambda: self._driver.started and self._driver.engine.behind > HEIGHTS_BEHIND_MAX,
                lambda: self._state_sync(chain_id),
            )
            self._run("state-sync", watch)

    async def _open_client_port(self, status: NodeStatus) -> None:
        clients = self._config.clients
        server = grpc.aio.server(
            interceptors=(Calls(clients.calls_max, clients.calls_per_identity_max, WAITING),),
            options=(
                ("grpc.max_receive_message_length", RPC_MESSAGE_BYTES_MAX),
                ("grpc.max_send_message_length", RPC_MESSAGE_BYTES_MAX),
                ("grpc.max_concurrent_streams", clients.streams_per_connection_max),
                ("grpc.max_metadata_size", 16_384),
                ("grpc.keepalive_time_ms", 60_000),
                ("grpc.keepalive_timeout_ms", 10_000),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                *tls_port.options(UNREAD_BYTES_MAX),
            ),
        )
        service = ChainService(self._host, self._admission, status, clients, self._fail)
        node_pb2_grpc.add_ChainServicer_to_server(service, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        tls_port.bind(server, clients.listen, self._config.tls)
        await server.start()
        self._server = server

    async def _watch(self, status: NodeStatus) -> None:
        """Keep the health in step with the chain, and look after the certificate's end."""
        serving = False
        warn_at = 0.0
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(HEALTH_SECONDS)
            if status.synced != serving:
                serving = status.synced
                self._health.say(serving=serving)
                _LOG.info("in step" if serving else "out of step", extra={"height": self._host.info.height})
            self._warn_of_unknown_validators()
            if loop.time() >= warn_at:
                warn_at = loop.time() + EXPIRY_CHECK_SECONDS
                self._warn_of_expiry()

    def _warn_of_unknown_validators(self) -> None:
        """Said once for each: a validator that governance added is not reached before its peer entry is there."""
        for validator in self._host.info.validators.validators:
            own = validator.key == self._signer.key or validator.key in self._signer.retired
            known = own or self._peers.knows(validator.key)
            if not known and validator.key not in self._unknown:
                self._unknown.add(validator.key)
                _LOG.warning(
                    "a validator of the set has no [[peers]] entry here; add one and send SIGHUP",
                    extra={"member": validator.member, "key": validator.key.hex()},
                )

    def _warn_of_expiry(self) -> None:
        try:
            cause = tls_port.ending(self._config.tls, now_ms())
        except Malformed as error:  # it is being replaced, perhaps: the one before is shown meanwhile
            cause = str(error)
        if cause:
            _LOG.warning("look after the certificate", extra={"cause": cause})

    def _run(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """A task that lasts as long as the node; when it fails, so does the node."""

        def ended(task: asyncio.Task[None]) -> None:
            error = None if task.cancelled() else task.exception()
            if error is not None:
                self._fail(error)

        task = asyncio.create_task(work, name=name)
        task.add_done_callback(ended)
        self._tasks.append(task)

    def _fail(self, error: BaseException) -> None:
        if not self._failed.done():
            self._failed.set_exception(error)


def _hello(chain_id: bytes) -> tuple[tuple[str, str], ...]:
    """What validators must agree on before they speak."""
    return (
        ("chiptrace-chain", chain_id.hex()),
        ("chiptrace-state-version", str(genesis.STATE_VERSION)),
    )


def describe(path: Path) -> list[tuple[str, str]]:
    """What the node of a configuration file would be, as pairs of a name and a value. Raises ChiptraceError."""
    config = read(path, NodeConfig)
    genesis_bytes = read_genesis(config.genesis)
    document = genesis.decode_genesis(genesis_bytes)
    state = signer.inspect(config.key_dir)  # not opened: a running node may be writing the record
    key = state.key
    members = {validator.key: validator.member for validator in document.validators}
    peer_keys = {bytes.fromhex(peer.key) for peer in config.peers}
    own_keys = {key, *map(bytes.fromhex, state.retired)}
    missing = [member for other, member in members.items() if other not in peer_keys | own_keys]
    role = "observer, no key"
    if key is not None:
        role = f"validator of {members[key]}" if key in members else "not in the genesis' set"
        role += f"; it must not vote: {state.trouble}. {signer.ROTATE}" if state.trouble else ""
    tls = tls_port.checked(config.tls)
    untimely = certificates.untimely(tls.own, now_ms())
    return [
        ("node", config.name),
        ("chain", f"{document.name} {genesis.chain_id(genesis_bytes).hex()}"),
        ("key", f"{key.hex() if key else '-'} ({role})"),
        (
            "certificate",
            f"{config.tls.certificate}, {untimely or f'ends {tls.own.not_valid_after_utc:%Y-%m-%d}'}",
        ),
        ("pin", certificates.pin(tls.certificate)),
        ("clients", config.clients.listen),
        ("validators", config.consensus_port.listen),
        ("verifiers", f"{processes_here() if config.verifiers is None else config.verifiers}"),
        ("peers", ", ".join(peer.member for peer in config.peers) or "-"),
        ("missing", ", ".join(missing) or "-"),
    ]


def run(path: Path) -> int:
    """Run the node of a configuration file until it is told to stop; the exit code."""
    config = read(path, NodeConfig)
    open_files.allow()
    logs.start(config.log_level, config.log_file, path.parent)
    sys.setswitchinterval(SWITCH_SECONDS)
    hashes.self_test()
    return asyncio.run(_run(path))


async def _run(path: Path) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        node = Node(path, begun())
        early = asyncio.Event()
        loop.add_signal_handler(signal.SIGHUP, early.set)  # while there is nothing yet that could be replaced
        starting, stop = asyncio.create_task(node.start()), asyncio.create_task(stopping.wait())
        await asyncio.wait({starting, stop}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():  # it may be loading a snapshot, which leaves nothing behind
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            return 0
        await starting
        loop.add_signal_handler(signal.SIGHUP, node.reread)
        if early.is_set():
            node.reread()
    except (ChiptraceError, OSError) as error:
        _LOG.critical("the node cannot start", extra={"cause": _cause(error)})
        return EXIT_FAILED
    waits = {stop, asyncio.create_task(node.failure())}
    done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    failure = next((task.exception() for task in done if task.exception() is not None), None)
    if failure is not None:
        _LOG.critical(
            "the node stops at once",
            extra={"cause": str(failure)},
            exc_info=None if isinstance(failure, StoreError) else failure,
        )
        logging.shutdown()
        os._exit(EXIT_FAILED)  # nothing is flushed or closed: what failed may not be touched again
    loop.add_signal_handler(signal.SIGHUP, stopping.set)  # nothing is read again any more
    _LOG.info("stopping")
    await node.stop()
    _LOG.info("stopped")
    return 0


def _cause(error: ChiptraceError | OSError) -> str:
    """In words. What the system says of a file names neither what it is for nor what to do."""
    if isinstance(error, OSError) and error.filename:
        return (
            f"{error.filename}: {error.strerror}; `data_dir` and `key_dir` in the configuration name directories that the "
            "node's user may write to, on a disk with room"
        )
    return str(error)
