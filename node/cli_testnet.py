"""`chiptrace testnet …`: a local test network made, watched and removed."""

import shlex
import time
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from client import epcis_grants, epcis_read
from client.console import ERR, OUT, JsonOption, print_json, without_traceback
from ledger.errors import Malformed
from ledger.limits import VALIDATORS_MAX
from node import testnet_plan
from node.testnet import RELAY, ProcessStatus, Testnet
from node.testnet_layout import Network

testnet = typer.Typer(
    no_args_is_help=True, help="Local chains, two or more, and a relayer between them, as real processes."
)
DirectoryOption = Annotated[Path, typer.Option("--dir", help="Directory of the test network.")]
NodeArgument = Annotated[str, typer.Argument(help="A name from `chiptrace testnet status`.", metavar="NODE")]
DEFAULT_DIRECTORY = Path(".chiptrace")
in_words = partial(
    without_traceback,
    interrupted="what was started runs on: the same command goes on with it, `chiptrace testnet down` ends it",
)


@testnet.command("up")
@in_words
def up(
    directory: DirectoryOption = DEFAULT_DIRECTORY,
    base_port: Annotated[
        int | None,
        typer.Option(
            help="First port: 2 for each node, 1 for the relayer; without it free ones are taken.",
            min=1024,
            max=65_000,
        ),
    ] = None,
    validators: Annotated[
        int | None,
        typer.Option(
            help="Validators of each chain (4 where nothing is said); fewer than 4 survive no fault.",
            min=1,
            max=VALIDATORS_MAX,
        ),
    ] = None,
    chains: Annotated[
        str | None,
        typer.Option(
            help="Names of the chains, with commas (chipmaker,assembler where nothing is said); chipmaker, assembler, fab "
            "and osat have named members."
        ),
    ] = None,
    pairs: Annotated[
        str | None,
        typer.Option(
            help="Which chains follow each other: all, or any topology as a:b,a:c (all where nothing is said)."
        ),
    ] = None,
    grant_for: Annotated[
        list[Path] | None,
        typer.Option(help="EPCIS document whose namespaces are granted, with adoption, to the first member."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a test network, or start what does not run of one; return when blocks are being finalized.

    Example: chiptrace testnet up --chains fab,osat,assembler --pairs fab:osat,fab:assembler
    """
    began = time.monotonic()
    grants = _grants(grant_for or [])
    plan = _plan(chains, pairs, validators)
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=ERR, transient=True
    ) as progress:
        task = progress.add_task("")
        network = Testnet(directory).up(
            base_port, grants, lambda text: progress.update(task, description=text), plan
        )
    seconds = time.monotonic() - began
    if as_json:
        print_json(_network_json(network, seconds))
        return
    _print_network(network, seconds)


@testnet.command("status")
@in_words
def status(directory: DirectoryOption = DEFAULT_DIRECTORY, as_json: JsonOption = False) -> None:
    """Show every process with its height, view, and whether it is in step. Exit 1: not all is well.

    Example: chiptrace testnet status --json
    """
    found = Testnet(directory).status()
    if as_json:
        print_json([_status_json(item) for item in found])
    else:
        _print_status(found)
    if not all(item.pid and (item.name == RELAY or (item.reply and item.reply.synced)) for item in found):
        raise typer.Exit(1)


@testnet.command("down")
@in_words
def down(directory: DirectoryOption = DEFAULT_DIRECTORY, as_json: JsonOption = False) -> None:
    """End every process of the network; its files stay.

    Example: chiptrace testnet down
    """
    ended = Testnet(directory).down()
    _tell(
        {"ended": ended},
        f"{len(ended)} processes ended; `chiptrace testnet up{_place(directory)}` starts them again",
        as_json,
    )


@testnet.command("reset")
@in_words
def reset(directory: DirectoryOption = DEFAULT_DIRECTORY, as_json: JsonOption = False) -> None:
    """End every process and remove the network's files.

    Example: chiptrace testnet reset
    """
    Testnet(directory).reset()
    _tell({"removed": str(directory)}, f"{directory} removed", as_json)


@testnet.command("kill")
@in_words
def kill(
    node: NodeArgument, directory: DirectoryOption = DEFAULT_DIRECTORY, as_json: JsonOption = False
) -> None:
    """End one process at once, as a crash would.

    Example: chiptrace testnet kill chipmaker-testlab
    """
    killed = Testnet(directory).kill(node)
    text = "killed" if killed else "did not run"
    _tell(
        {"killed": node if killed else None},
        f"{node} {text}; `chiptrace testnet start {node}{_place(directory)}` brings it back",
        as_json,
    )


@testnet.command("start")
@in_words
def start(
    node: NodeArgument, directory: DirectoryOption = DEFAULT_DIRECTORY, as_json: JsonOption = False
) -> None:
    """Start one process that does not run.

    Example: chiptrace testnet start chipmaker-testlab
    """
    started = Testnet(directory).start(node)
    text = f"started; see `chiptrace testnet status{_place(directory)}`" if started else "runs already"
    _tell({"started": node if started else None}, f"{node} {text}", as_json)


def register(app: typer.Typer) -> None:
    """Add the `testnet` commands."""
    app.add_typer(testnet, name="testnet")


def _plan(chains: str | None, pairs: str | None, validators: int | None) -> testnet_plan.NetworkPlan | None:
    """What was asked for; None: as it is, or the usual network."""
    if chains is None and pairs is None and validators is None:
        return None
    names = [name.strip() for name in (chains or "chipmaker,assembler").split(",")]
    return testnet_plan.chains(names, pairs or testnet_plan.ALL, validators or 4)


def _place(directory: Path) -> str:
    """What follows a command about this test network, so that it can be typed as it stands."""
    return "" if directory == DEFAULT_DIRECTORY else f" --dir {shlex.quote(str(directory))}"


def _grants(paths: list[Path]) -> list[str]:
    try:
        imported = epcis_read.read_files(paths, strict=False)
    except OSError as error:
        raise Malformed(f"cannot read {error.filename}: {error.strerror}; name an EPCIS document") from None
    return epcis_grants.needed_grants(item.event for item in imported.events)


def _tell(value: dict[str, object], text: str, as_json: bool) -> None:
    if as_json:
        print_json(value)
    else:
        OUT.print(escape(text))


def _network_json(network: Network, seconds: float) -> dict[str, object]:
    return {
        "directory": str(network.directory),
        "trust": str(network.trust_file),
        "seconds": round(seconds, 3),
        "chains": [
            {
                "name": chain.name,
                "chain_id": chain.chain_id.hex(),
                "nodes": [{"name": node.name, "endpoint": node.clients} for node in chain.nodes],
            }
            for chain in network.chains
        ],
        "grants": list(network.grants),
        "pairs": [list(pair) for pair in network.pairs],
        "relay": {"config": str(network.config_file(RELAY)), "metrics": network.relay_listen}
        if network.relayed
        else None,
    }


def _print_network(network: Network, seconds: float) -> None:
    count = len(network.chains[0].nodes)
    each = "1 validator" if count == 1 else f"{count} validators"
    chains = {1: "One chain", 2: "Two chains", 3: "Three chains"}.get(
        len(network.chains), f"{len(network.chains)} chains"
    )
    relayed = " and a relayer" if network.relayed else ""
    OUT.print(
        f"{chains} of {each}{relayed} {'are' if relayed or len(network.chains) > 1 else 'is'} running ({seconds:.1f} s)."
    )
    table = Table("chain", "member", "endpoint", box=None, padding=(0, 2, 0, 0))
    for node in network.nodes:
        table.add_row(node.chain, node.member, node.clients)
    OUT.print(table)
    first = network.chains[0]
    trust = (
        "" if network.directory == DEFAULT_DIRECTORY else f" --trust {shlex.quote(str(network.trust_file))}"
    )
    place = _place(network.directory)
    OUT.print(f"trust file {escape(str(network.trust_file))}")
    if network.relayed:
        pairs = ", ".join(f"{first}-{second}" for first, second in network.pairs)
        OUT.print(f"relayer between {pairs}; http://{network.relay_listen}/health and /metrics")
    OUT.print("\nTry next:", style="bold")
    member = first.nodes[0].member
    without = "goes on without it" if len(first.nodes) > 3 else "stands still until it is started again"
    OUT.print(
        f"  chiptrace testnet status{place}\n"
        + (
            f"  chiptrace capture docs/samples/{first.name}-1-{member}.jsonld --chain {first.name} --as {member}{trust}\n"
            if first.name == testnet_plan.TWO_CHAINS.chains[0].name
            else ""
        )
        + (f"  chiptrace bridge clients{trust}\n" if network.relayed else "")
        + f"  chiptrace testnet kill {first.nodes[-1].name}{place}    # the chain {without}\n"
        f"  chiptrace testnet down{place}",
        markup=False,
    )


def _status_json(item: ProcessStatus) -> dict[str, object]:
    reply = item.reply
    values: dict[str, object] = {"name": item.name, "pid": item.pid, "running": bool(item.pid)}
    if item.address:
        values["endpoint"] = item.address
    if reply is not None:
        values |= {
            "height": reply.height,
            "view": reply.view,
            "synced": reply.synced,
            "time_ms": reply.time_ms,
            "pool_transactions": reply.pool_transactions,
            "peers_connected": sum(peer.connected for peer in reply.peers),
            "not_voting": reply.not_voting,
            "not_admitting": reply.not_admitting,
            "clock_offset_ms": reply.clock_offset_ms if reply.clock_known else None,
            "peer_clocks": {
                peer.member: {"offset_ms": peer.clock_offset_ms, "round_trip_ms": peer.round_trip_ms}
                for peer in reply.peers
                if peer.clock_known
            },
        }
    return values


def _print_status(found: list[ProcessStatus]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("process", "pid", "endpoint", "height", "view", "peers", "clock", "state"):
        table.add_column(heading, no_wrap=True)
    for item in found:
        reply = item.reply
        table.add_row(
            item.name,
            str(item.pid or "-"),
            item.address or "-",
            str(reply.height) if reply else "-",
            str(reply.view) if reply else "-",
            f"{sum(peer.connected for peer in reply.peers)}/{len(reply.peers)}" if reply else "-",
            f"{-reply.clock_offset_ms:+} ms" if reply and reply.clock_known else "-",
            _state(item),
        )
    OUT.print(table)


def _state(item: ProcessStatus) -> str:
    reply = item.reply
    if not item.pid:
        return "[red]not running[/]"
    if item.name == RELAY:
        return "running"
    if reply is None:
        return "[red]no answer[/]"
    if not reply.synced:
        return "[yellow]out of step[/]"
    if reply.not_voting:
        return "[yellow]in step, does not vote[/]"
    return "[yellow]in step, takes no transactions[/]" if reply.not_admitting else "in step"
