"""`chiptrace bridge …`: what whoever runs a relayer, or waits for one, wants to know, proven by the chains themselves."""

import http.client
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from client import bridge_status, cli_bridge_forks
from client import trust as trust_file
from client.bridge_status import (
    ClientStatus,
    PacketStatus,
    Place,
    client_status,
    listed,
    packet_status,
    places,
)
from client.bridge_trace import Standing, Trace
from client.bridge_trace import trace as follow
from client.connection import NoAnswer, NodeRefused
from client.console import DEFAULT_TRUST, OUT, JsonOption, TrustOption, plain, print_json, without_traceback
from client.relay_end import open_end
from client.relay_route import Route, carry_all
from client.session import open_all
from client.tree_view import time_text
from client.verified import VerifiedChain
from ledger.errors import Malformed
from ledger.identifiers import canonical
from proto.chiptrace.v1.ledger_pb2 import PartStatus

HEALTH_SECONDS = 5.0
HEALTH_BYTES_MAX = 1_048_576
QUIET_SECONDS = 3.0  # without anything to do, after which the rest is left to later
AGED_SECONDS = 60  # a packet open for longer is told as unhealthy
bridge = typer.Typer(
    no_args_is_help=True, help="Clients, packets and forks between chains, as the chains prove them."
)
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="A relayer's configuration; left out: every client that the chains have of each other.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the `bridge` commands."""
    cli_bridge_forks.register(bridge)
    app.add_typer(bridge, name="bridge")


@bridge.command("clients")
@without_traceback
def clients(
    config: ConfigOption = None, trust: TrustOption = DEFAULT_TRUST, as_json: JsonOption = False
) -> None:
    """Every client: whom it follows, how old its news is, until when it lives. Exit 1: one is frozen or expired.

    Example: chiptrace bridge clients
    """
    with open_all(trust) as sessions:
        chains = {session.trust.name: session.verified for session in sessions.values()}
        found, troubles = [], []
        for place in places(trust_file.read(trust), config, chains):
            try:
                status = client_status(chains, place)
            except (NoAnswer, NodeRefused) as error:
                troubles.append(str(error))
                continue
            found += [status] if status is not None else []
    if as_json:
        print_json({"clients": [_client_json(item) for item in found], "troubles": troubles})
    else:
        table = Table(
            "chain", "client", "follows", "state", "height", "age", "expires in", "sent", "", box=None
        )
        for item in found:
            left = item.record.trusting_period_ms - item.age_ms
            table.add_row(
                plain(item.place.chain),
                plain(item.place.client),
                plain(item.place.other),
                item.state if item.state == "active" else f"[red]{item.state}[/]",
                str(item.record.latest_height),
                f"{item.age_ms // 1_000} s",
                f"{max(0, left) // 3_600_000} h",
                str(item.record.next_sequence - 1),
                plain(item.help),
            )
        OUT.print(table)
        _print_troubles(troubles)
    if troubles or any(item.state != "active" for item in found):
        raise typer.Exit(1)


@bridge.command("pending")
@without_traceback
def pending(
    limit: Annotated[
        int, typer.Option("--limit", help="Packets shown of each route.", min=1, max=10_000)
    ] = 20,
    config: ConfigOption = None,
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """Every packet that is neither acknowledged nor timed out, oldest first, with what it waits for. Exit 1: there are.

    Example: chiptrace bridge pending --limit 5
    """
    rows, troubles = [], []
    with open_all(trust) as sessions:
        chains = {session.trust.name: session.verified for session in sessions.values()}
        for place in places(trust_file.read(trust), config, chains):
            try:
                rows += [_pending(chains, place, limit)] if client_status(chains, place) is not None else []
            except (NoAnswer, NodeRefused) as error:
                troubles.append(str(error))
    if as_json:
        print_json({"routes": [row for row, _ in rows], "troubles": troubles})
    else:
        _print_troubles(troubles)
    for row, statuses in rows:
        if not as_json:
            OUT.print(f"{plain(row['chain'])} > {plain(row['to'])}: {row['open']} open{_oldest(row)}")
            for status in statuses:
                OUT.print(f"  {status.sequence}  {status.state}  {plain(status.why)}")
    if troubles or any(row["open"] for row, _ in rows):
        raise typer.Exit(1)


@bridge.command("packet")
@without_traceback
def packet(
    sequence: Annotated[int, typer.Argument(help="Number of the packet.", metavar="SEQUENCE")],
    chain: Annotated[str, typer.Option("--chain", help="The chain that sent it.")],
    client: Annotated[str, typer.Option("--client", help="The client over which it was sent.")],
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """One packet: each step of its way, proven, and what it waits for.

    Example: chiptrace bridge packet 17 --chain chipmaker --client assembler
    """
    with open_all(trust) as sessions:
        chains = {session.trust.name: session.verified for session in sessions.values()}
        status = packet_status(chains, _place(chains, chain, client), sequence)
    if as_json:
        print_json(bridge_status.said(status))
    else:
        _print_packet(status)


@bridge.command("trace")
@without_traceback
def trace(
    part: Annotated[str, typer.Argument(help="Identifier: EPC URN or GS1 Digital Link.", metavar="ID")],
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """A part's crossings over all chains, where it is now, and what it waits for. Exit 1: no chain knows it.

    Example: chiptrace bridge trace https://id.gs1.org/01/09521001000017/21/17
    """
    with open_all(trust) as sessions:
        chains = {session.trust.name: session.verified for session in sessions.values()}
        found = follow(chains, canonical(part).text)
    if as_json:
        print_json(_trace_json(found))
    else:
        for step in found.steps:
            OUT.print(
                f"{time_text(step.time_ms)}  {plain(step.chain)}  height {step.height}  {plain(step.text)}"
            )
        for standing in found.standings:
            OUT.print(f"now on {plain(standing.chain)}: {plain(standing.why)}")
            if standing.packet is not None:
                _print_packet(standing.packet)
        if not found.standings:
            OUT.print("no chain of the trust file knows it")
    if not found.standings:
        raise typer.Exit(1)


@bridge.command("clear")
@without_traceback
def clear(
    member: Annotated[
        str, typer.Option("--as", help="Member whose identity is used on every chain that has it.")
    ] = "",
    config: ConfigOption = None,
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """Carry everything that waits, once, from here: no relayer is needed, and one that runs is not disturbed.

    It signs as the member's relayer, or as its operator. Exit 1: something was left over. Example: chiptrace bridge clear
    """
    known = trust_file.read(trust)
    done = []
    seen: set[frozenset[tuple[str, str]]] = set()
    with open_all(trust) as sessions:
        chains = {session.trust.name: session.verified for session in sessions.values()}
        for place in places(known, config, chains):
            try:
                status = client_status(chains, place)
            except (NoAnswer, NodeRefused) as error:
                name = f"{place.chain}-{place.other}"
                done.append({"route": name, "actions": 0, "left": 0, "trouble": str(error)})
                continue
            if status is None:
                continue
            there = (place.other, status.record.counterparty_client)
            pair = frozenset({(place.chain, place.client), there})
            if pair in seen:
                continue
            seen.add(pair)
            who = {name: member if _has(known, name, member) else "" for name in (place.chain, place.other)}
            ends = (
                open_end(known, place.chain, who[place.chain], place.client, there[1]),
                open_end(known, place.other, who[place.other], there[1], place.client),
            )
            route = Route(*ends)
            brought, trouble = carry_all(route, QUIET_SECONDS)
            route.close()
            left = len(ends[0].outbox) + len(ends[1].outbox)
            done.append(
                {
                    "route": f"{place.chain}-{place.other}",
                    "actions": brought,
                    "left": left,
                    "trouble": str(trouble) if trouble else "",
                }
            )
    if as_json:
        print_json({"routes": done})
    else:
        for row in done:
            OUT.print(
                f"{plain(row['route'])}: {row['actions']} actions, {row['left']} packets left  {plain(row['trouble'])}"
            )
    if any(row["left"] or row["trouble"] for row in done):
        raise typer.Exit(1)


@bridge.command("health")
@without_traceback
def health(
    at: Annotated[str, typer.Option("--at", help="host:port of a relayer's figures; asks it too.")] = "",
    config: ConfigOption = None,
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """Whether the bridge moves: clients that live, no packet that ages, and what a relayer says of itself. Exit 1: not.

    Example: chiptrace bridge health --at 127.0.0.1:9464
    """
    problems = []
    with open_all(trust) as sessions:
        chains = {session.trust.name: session.verified for session in sessions.values()}
        for place in places(trust_file.read(trust), config, chains):
            try:
                status = client_status(chains, place)
                row = _pending(chains, place, 1)[0] if status is not None else None
            except (NoAnswer, NodeRefused) as error:
                problems.append(str(error))
                continue
            if status is not None and status.help:
                problems.append(f"client {place.client} of chain {place.chain}: {status.help}")
            if row is not None and row["oldest_ms"] > AGED_SECONDS * 1_000:
                problems.append(f"{place.chain} > {place.other}: {row['open']} packets open{_oldest(row)}")
    relayer = _relayer(at) if at else None
    if relayer is not None:
        problems += [f"relayer: {text}" for text in relayer.get("problems", [])]
    if as_json:
        print_json({"healthy": not problems, "problems": problems, "relayer": relayer})
    else:
        OUT.print("healthy" if not problems else "\n".join(f"[red]{plain(text)}[/]" for text in problems))
    if problems:
        raise typer.Exit(1)


# ---- asking -----------------------------------------------------------------------------------------------------------


def _pending(
    chains: dict[str, VerifiedChain], place: Place, limit: int
) -> tuple[dict[str, Any], list[PacketStatus]]:
    opened = [item for item in listed(chains[place.chain], place.client) if item.open]
    statuses = [packet_status(chains, place, item.packet.sequence) for item in opened[:limit]]
    oldest = bridge_status.age_ms(chains[place.chain], opened[0].height) if opened else 0
    row = {
        "chain": place.chain,
        "client": place.client,
        "to": place.other,
        "open": len(opened),
        "oldest_ms": oldest,
        "packets": [bridge_status.said(status) for status in statuses],
    }
    return row, statuses


def _place(chains: dict[str, VerifiedChain], chain: str, client: str) -> Place:
    """The place of a client, which says itself whom it follows."""
    if chain not in chains:
        raise Malformed(f"the trust file names no chain '{chain}'; it has: {', '.join(chains)}")
    status = client_status(chains, Place(chain, client, ""))
    by_id = {item.trust.chain_id: name for name, item in chains.items()}
    other = by_id.get(status.record.chain_id) if status is not None else None
    if other is None:
        raise Malformed(f"chain {chain} has no client '{client}' of a chain that the trust file names")
    return Place(chain, client, other)


def _has(known: trust_file.Trust, chain: str, member: str) -> bool:
    return any(item.chain == chain and item.member == member for item in known.identities)


def _relayer(at: str) -> dict[str, Any]:
    """What a relayer says of itself; that it does not answer is an answer too."""
    line = http.client.HTTPConnection(at, timeout=HEALTH_SECONDS)
    try:
        line.request("GET", "/health")
        found = json.loads(line.getresponse().read(HEALTH_BYTES_MAX))
    except (OSError, ValueError, http.client.HTTPException) as error:
        return {"healthy": False, "problems": [f"no answer at {at}: {error}"]}
    finally:
        line.close()
    return found if isinstance(found, dict) else {"healthy": False, "problems": [f"no health at {at}"]}


# ---- telling -----------------------------------------------------------------------------------------------------------


def _print_troubles(troubles: list[str]) -> None:
    for text in troubles:
        OUT.print(f"[red]{plain(text)}[/]")


def _oldest(row: dict[str, Any]) -> str:
    return f", the oldest for {row['oldest_ms'] // 1_000} s" if row["oldest_ms"] else ""


def _client_json(item: ClientStatus) -> dict[str, Any]:
    return {
        "chain": item.place.chain,
        "client": item.place.client,
        "follows": item.place.other,
        "state": item.state,
        "latest_height": item.record.latest_height,
        "age_ms": item.age_ms,
        "trusting_period_ms": item.record.trusting_period_ms,
        "sent": item.record.next_sequence - 1,
        "headers": len(item.record.stored_heights),
        "help": item.help,
    }


def _print_packet(status: PacketStatus) -> None:
    OUT.print(
        f"packet {status.sequence} from {plain(status.source.chain)} to {plain(status.source.other)}: {status.state}"
    )
    for what, done, note in status.steps:
        OUT.print(f"  {'[green]yes[/]' if done else '[yellow]no [/]'}  {plain(what)}  [dim]{plain(note)}[/]")
    if status.why:
        OUT.print(f"  {plain(status.why)}")


def _trace_json(found: Trace) -> dict[str, Any]:
    return {
        "steps": [
            {"time_ms": step.time_ms, "chain": step.chain, "height": step.height, "text": step.text}
            for step in found.steps
        ],
        "standings": [_standing_json(standing) for standing in found.standings],
    }


def _standing_json(standing: Standing) -> dict[str, Any]:
    return {
        "chain": standing.chain,
        "status": PartStatus.Name(standing.record.status),
        "why": standing.why,
        "packet": bridge_status.said(standing.packet) if standing.packet else None,
    }
