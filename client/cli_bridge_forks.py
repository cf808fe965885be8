"""`chiptrace bridge evidence` and `bridge checkpoints`: what chains say of each other, kept, compared and proven."""

import json
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from client import faults, witness
from client import trust as trust_file
from client.bridge_status import Place, places
from client.connection import Connection
from client.console import DEFAULT_TRUST, OUT, JsonOption, TrustOption, plain, print_json, without_traceback
from client.faults import Way
from client.relay_end import open_end
from client.session import ChainSession, open_all
from client.verified import VerifiedChain
from client.witness import Fork, Held, Unproven
from ledger import limits, state
from ledger.errors import Invalid, Malformed
from proto.chiptrace.v1.bridge_pb2 import ClientHeader, ClientRecord
from proto.chiptrace.v1.consensus_pb2 import SignedHeader
from proto.chiptrace.v1.ledger_pb2 import Reason

FORMAT: Final = "chiptrace checkpoints 1"
FILE_BYTES_MAX: Final = 67_108_864
NODES_ASKED: Final = 2
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="A relayer's configuration; left out: every client that the chains have of each other.",
    ),
]
Found = dict[str, list[Fork | Unproven]]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("evidence")(evidence)
    app.command("checkpoints")(checkpoints)


@without_traceback
def checkpoints(
    out: Annotated[Path, typer.Argument(help="File to write.", metavar="FILE")],
    config: ConfigOption = None,
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """Write down every header that clients hold of other chains: kept elsewhere, it tells of a past that is changed later.

    Example: chiptrace bridge checkpoints monday.json; later: chiptrace bridge evidence --against monday.json
    """
    with open_all(trust) as sessions:
        by_name = {session.trust.name: session for session in sessions.values()}
        wanted = places(trust_file.read(trust), config, _chains(by_name))
        found = [item for place in wanted for item in _held(by_name, place)]
    document = {"format": FORMAT, "checkpoints": [_checkpoint_json(item) for item in found]}
    out.write_text(json.dumps(document, indent=1) + "\n", encoding="ascii")
    if as_json:
        print_json({"file": str(out), "checkpoints": len(found)})
    else:
        OUT.print(f"{len(found)} checkpoints in {plain(out)}")


@without_traceback
def evidence(
    against: Annotated[
        Path | None, typer.Option("--against", help="Compare with checkpoints written down earlier, too.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Write who is proven guilty to a file that proves it by itself."),
    ] = None,
    submit: Annotated[
        bool, typer.Option("--submit", help="Freeze every client of a chain that forks.")
    ] = False,
    config: ConfigOption = None,
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """Compare what chains hold of each other with what their nodes show. Exit 1: a fork, or headers that differ.

    Example: chiptrace bridge evidence --out fork.json; anyone: chiptrace chain evidence --verify fork.json
    """
    known = trust_file.read(trust)
    earlier = _read(against) if against is not None else []
    found: Found = {}
    frozen: list[str] = []
    with open_all(trust) as sessions:
        by_name = {session.trust.name: session for session in sessions.values()}
        wanted = places(known, config, _chains(by_name))
        for session in sessions.values():
            items = [item for item in earlier if item.chain_id == session.trust.chain_id]
            items += [
                item
                for place in wanted
                for item in _held(by_name, place)
                if place.other == session.trust.name
            ]
            found[session.trust.name] = _compare(by_name, session, items)
        if submit:
            frozen = [text for place in wanted for text in _accuse(known, by_name, place, found)]
    forks = [item for items in found.values() for item in items if isinstance(item, Fork)]
    proven = [fault for item in forks for fault in item.faults]
    if out is not None:
        if not proven:
            raise Invalid(f"nobody is proven guilty; {out} is not written", Reason.NOTHING_TO_DO)
        faults.write(out, [fault for fault in proven if fault.chain_id == proven[0].chain_id])
    _tell(found, frozen, as_json=as_json)
    if any(found.values()):
        raise typer.Exit(1)


# ---- asking -----------------------------------------------------------------------------------------------------------


def _chains(sessions: dict[str, ChainSession]) -> dict[str, VerifiedChain]:
    return {name: session.verified for name, session in sessions.items()}


def _held(sessions: dict[str, ChainSession], place: Place) -> list[Held]:
    return witness.held(sessions[place.chain].verified, place.client)


def _compare(
    sessions: dict[str, ChainSession], session: ChainSession, items: list[Held]
) -> list[Fork | Unproven]:
    """Items of one chain, against two of its nodes."""
    nodes = [
        Connection(session.trust, session.identity, only=endpoint)
        for endpoint in session.trust.endpoints[:NODES_ASKED]
    ]
    ways: list[Way] = []

    def shown(height: int) -> list[tuple[str, SignedHeader]]:
        asked = [(f"node {node.endpoint}", witness.shown(node, height)) for node in nodes]
        return [(by, signed) for by, signed in asked if signed is not None]

    def fetched(item: Held) -> SignedHeader | None:
        host = sessions.get(item.by)
        return witness.brought(host.verified, item.client, item.header.height) if host is not None else None

    def walk() -> Way:
        if not ways:
            session.verified.advance()
            ways.append(faults.way_of(session.verified))
        return ways[0]

    try:
        return list(witness.compare(items, shown, fetched, walk))
    finally:
        for node in nodes:
            node.close()


def _accuse(
    known: trust_file.Trust, sessions: dict[str, ChainSession], place: Place, found: Found
) -> list[str]:
    """Freeze the client at a place, if the chain that it follows forks; what became of it."""
    forks = [item for item in found[place.other] if isinstance(item, Fork)]
    chain: VerifiedChain = sessions[place.chain].verified
    record = chain.record(state.client_key(place.client), ClientRecord)
    if not forks or record is None or record.frozen:
        return []
    end = open_end(known, place.chain, "", place.client, record.counterparty_client)
    try:
        (result,) = end.submit([[forks[0].accusation(record)]])
    finally:
        end.close()
    done = "frozen" if result.ok else f"not frozen: {Reason.Name(result.reason)}"
    return [f"client {place.client} of chain {place.chain}: {done}"]


# ---- files ------------------------------------------------------------------------------------------------------------


def _checkpoint_json(item: Held) -> dict[str, Any]:
    return {
        "by": item.by,
        "client": item.client,
        "chain_id": item.chain_id.hex(),
        "height": item.header.height,
        "time_ms": item.header.time_ms,
        "block_hash": item.header.block_hash.hex(),
    }


def _read(path: Path) -> list[Held]:
    """Checkpoints written down earlier. Raises Malformed, OSError."""
    with path.open("rb") as file:
        data = file.read(FILE_BYTES_MAX + 1)
    try:
        document = json.loads(data)
        if len(data) > FILE_BYTES_MAX or document["format"] != FORMAT:
            raise Malformed(f"{path} is no file of checkpoints")
        return [_checkpoint(item) for item in document["checkpoints"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Malformed(f"{path} is no file of checkpoints: {error!r}") from None


def _checkpoint(item: dict[str, Any]) -> Held:
    height = item["height"]
    if not isinstance(height, int) or not 0 < height <= limits.U64_MAX:
        raise ValueError("height")
    header = ClientHeader(height=height, block_hash=bytes.fromhex(item["block_hash"]))
    return Held(str(item["by"]), str(item["client"]), bytes.fromhex(item["chain_id"]), header)


# ---- telling ----------------------------------------------------------------------------------------------------------


def _tell(found: Found, frozen: list[str], *, as_json: bool) -> None:
    if as_json:
        chains = [
            {"chain": name, "differences": [_json(item) for item in items]} for name, items in found.items()
        ]
        print_json({"chains": chains, "submitted": frozen})
        return
    for name, items in found.items():
        if not items:
            OUT.print(f"{plain(name)}: one history, as far as it is held elsewhere")
        for item in items:
            by = " and ".join(item.shown_by)
            if isinstance(item, Unproven):
                OUT.print(
                    f"[yellow]{plain(name)}: headers of height {item.height} differ (by {plain(by)}), and one of them is "
                    "not shown to be certified; ask another node[/]"
                )
                continue
            names = ", ".join(sorted({fault.member for fault in item.faults}))
            guilty = (
                names or "nobody: the certificates are of different views, and convict no one by themselves"
            )
            OUT.print(
                f"[red]{plain(name)} forks at height {item.height}[/] (by {plain(by)}); proven guilty: {plain(guilty)}"
            )
    for text in frozen:
        OUT.print(plain(text))


def _json(item: Fork | Unproven) -> dict[str, Any]:
    values: dict[str, Any] = {"height": item.height, "shown_by": list(item.shown_by), "proven": False}
    if isinstance(item, Fork):
        values |= {
            "proven": True,
            "same_view": item.same_view,
            "hashes": [item.first.block_hash.hex(), item.second.block_hash.hex()],
            "guilty": [faults.said(fault) for fault in item.faults],
        }
    return values
