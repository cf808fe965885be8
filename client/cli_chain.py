"""`chiptrace chain …`: what a chain's members want to know of its validators: where they stand, and what they did wrong."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from client import faults
from client import trust as trust_file
from client.clock import now_ms
from client.connection import Connection, NoAnswer, NodeRefused
from client.console import (
    DEFAULT_TRUST,
    OUT,
    JsonOption,
    TrustOption,
    plain,
    print_json,
    without_traceback,
)
from client.faults import Fault
from client.session import open_all
from client.tree_view import time_text
from client.trust import ChainTrust, Trust
from ledger.errors import Invalid, Malformed
from ledger.limits import TIME_PRECISION_MS
from proto.chiptrace.v1.ledger_pb2 import Reason
from proto.chiptrace.v1.node_pb2 import PeerStatus, StatusReply, StatusRequest

STATUS_SECONDS = 3.0
OFFSET_MS_SAID = TIME_PRECISION_MS // 2  # beyond it a node warns of its clock, too
chain = typer.Typer(no_args_is_help=True, help="Where validators stand, and what they did wrong.")
ChainsOption = Annotated[
    str, typer.Option("--chain", help="Name of the chain in the trust file; left out: every chain there.")
]


def register(app: typer.Typer) -> None:
    """Add the `chain` commands."""
    app.add_typer(chain, name="chain")


# ---- evidence -------------------------------------------------------------------------------------------------------


@chain.command("evidence")
@without_traceback
def evidence(
    name: ChainsOption = "",
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the faults to a file that proves them by itself.")
    ] = None,
    verify: Annotated[
        Path | None,
        typer.Option(
            "--verify", help="Judge such a file, with nothing but the trust file. No node is asked."
        ),
    ] = None,
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """Every recorded fault of a validator, judged here from its two votes. Exit 1: there are some; 2: not verifiable.

    With --verify, exit 0: the file proves what it says; 2: it does not. Example: chiptrace chain evidence --chain chipmaker
    """
    if verify is not None:
        where, found = faults.read(verify, trust_file.read(trust), now_ms())
        _tell({where: found}, verify, as_json=as_json)
        return
    known = trust_file.read(trust)
    wanted = {item.chain_id for item in _chosen(known, name)}
    by_chain: dict[str, list[Fault]] = {}
    with open_all(trust) as sessions:
        for chain_id, session in sessions.items():
            if chain_id in wanted:
                by_chain[session.trust.name] = faults.recorded(session.verified)
    some = [found for found in by_chain.values() if found]
    if out is not None:
        if not some:
            raise Invalid(f"no chain has recorded faults; {out} is not written", Reason.NOTHING_TO_DO)
        if len(some) > 1:
            raise Malformed(
                f"{len(some)} chains have recorded faults; a file holds those of one chain: name it with --chain"
            )
        faults.write(out, some[0])
    _tell(by_chain, out, as_json=as_json)
    if some:
        raise typer.Exit(1)


def _chosen(known: Trust, name: str) -> tuple[ChainTrust, ...]:
    return (known.chain(name),) if name else known.chains


def _tell(by_chain: dict[str, list[Fault]], file: Path | None, *, as_json: bool) -> None:
    if as_json:
        chains = [
            {"chain": name, "faults": [_fault_json(fault) for fault in found]}
            for name, found in by_chain.items()
        ]
        print_json({"chains": chains, "file": str(file) if file else None})
        return
    for name, found in by_chain.items():
        OUT.print(
            f"{plain(name)}: {len(found)} {'fault' if len(found) == 1 else 'faults'}, proven by two votes each"
            if found
            else f"{plain(name)}: no faults"
        )
        key = b""
        for fault in found:
            if fault.key != key:
                key = fault.key
                OUT.print(f"  with key {key.hex()}")
            when = ""
            if fault.recorded_at:
                when = f", recorded at height {fault.recorded_at} ({time_text(fault.recorded_ms)})"
            OUT.print(
                f"    [red]{plain(fault.member)}[/] signed {fault.kind} at height {fault.first.height}, view "
                f"{fault.first.view}{when}"
            )
    if file is not None:
        OUT.print(f"file {plain(file)}")


def _fault_json(fault: Fault) -> dict[str, Any]:
    recorded = {
        "recorded_at": fault.recorded_at,
        "recorded_ms": fault.recorded_ms,
        "transaction": fault.transaction.hex(),
    }
    return {**faults.said(fault), **(recorded if fault.recorded_at else {})}


# ---- status ---------------------------------------------------------------------------------------------------------


@chain.command("status")
@without_traceback
def status(
    name: ChainsOption = "",
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """What every node of the trust file says of itself and of the other validators; none of it is proven.

    Per validator: whether a line to it is up, its last vote seen, its clock. Exit 1: not all is well.
    Example: chiptrace chain status --chain chipmaker
    """
    known = trust_file.read(trust)
    replies = [
        (item.name, endpoint, _ask(known, item, endpoint))
        for item in _chosen(known, name)
        for endpoint in item.endpoints
    ]
    if as_json:
        print_json({"nodes": [_node_json(*asked) for asked in replies]})
    else:
        for asked in replies:
            _print_node(*asked)
    if any(list(_troubles(reply)) for _, _, reply in replies):
        raise typer.Exit(1)


def _ask(known: Trust, item: ChainTrust, endpoint: str) -> StatusReply | str:
    """What the node says, or why it says nothing."""
    connection = Connection(item, known.identity(item.name), only=endpoint)
    try:
        return connection.call(lambda stub: stub.GetStatus, StatusRequest(), STATUS_SECONDS)
    except (NoAnswer, NodeRefused) as error:
        return str(error)
    finally:
        connection.close()


def _troubles(reply: StatusReply | str) -> Iterator[str]:
    """What is not well, in words."""
    if isinstance(reply, str):
        yield reply
        return
    if not reply.synced:
        yield "out of step"
    if reply.not_voting:
        yield f"does not vote: {reply.not_voting}"
    if reply.not_admitting:
        yield reply.not_admitting
    if reply.recovery_lacked:
        yield f"stands before the recovery {reply.recovery_lacked.hex()}, which it was not given (docs/recovery.md)"
    if reply.clock_known and abs(reply.clock_offset_ms) > OFFSET_MS_SAID:
        side = "behind" if reply.clock_offset_ms > 0 else "ahead of"
        yield f"its clock is {abs(reply.clock_offset_ms)} ms {side} the others' (median)"
    for peer in reply.peers:
        if not peer.connected:
            yield f"no line to {peer.member}"


def _node_json(name: str, endpoint: str, reply: StatusReply | str) -> dict[str, Any]:
    values: dict[str, Any] = {"chain": name, "endpoint": endpoint, "troubles": list(_troubles(reply))}
    if isinstance(reply, str):
        return values
    return values | {
        "height": reply.height,
        "view": reply.view,
        "synced": reply.synced,
        "index": reply.index,
        "not_voting": reply.not_voting,
        "not_admitting": reply.not_admitting,
        "recovery_lacked": reply.recovery_lacked.hex(),
        "verifying_beside": reply.verifying_beside,
        "verified_beside": reply.verified_beside,
        "verifier_failures": reply.verifier_failures,
        "clock_offset_ms": reply.clock_offset_ms if reply.clock_known else None,
        "validators": [_peer_json(peer) for peer in reply.peers],
    }


def _peer_json(peer: PeerStatus) -> dict[str, Any]:
    return {
        "index": peer.index,
        "member": peer.member,
        "key": peer.key.hex(),
        "connected": peer.connected,
        "last_vote_height": peer.last_height,
        "last_vote_view": peer.last_view,
        "clock_offset_ms": peer.clock_offset_ms if peer.clock_known else None,
        "round_trip_ms": peer.round_trip_ms if peer.clock_known else None,
    }


def _print_node(name: str, endpoint: str, reply: StatusReply | str) -> None:
    OUT.print(f"[bold]{plain(name)} {plain(endpoint)}[/]")
    if not isinstance(reply, str):
        role = f"validator {reply.index}" if reply.index >= 0 else "observer"
        clock = f", the others' clocks {reply.clock_offset_ms:+} ms (median)" if reply.clock_known else ""
        OUT.print(f"  height {reply.height}, view {reply.view}, {role}{clock}")
    for trouble in _troubles(reply):
        OUT.print(f"  [yellow]{plain(trouble)}[/]")
    if isinstance(reply, str):
        return
    table = Table("validator", "member", "line", "last vote", "clock", "way", box=None, padding=(0, 2, 0, 2))
    for peer in reply.peers:
        table.add_row(
            str(peer.index),
            plain(peer.member),
            "up" if peer.connected else "[red]down[/]",
            f"{peer.last_height}/{peer.last_view}" if peer.last_height else "-",
            f"{peer.clock_offset_ms:+} ms" if peer.clock_known else "-",
            f"{peer.round_trip_ms} ms" if peer.clock_known else "-",
        )
    OUT.print(table)
