"""`chiptrace node …`: run a node, make its key and certificates, check its configuration."""

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from client.clock import now_ms
from client.console import JsonOption, without_traceback
from ledger import codec, genesis
from ledger.errors import ChiptraceError, Malformed
from node import certificates, join_proof, server, sign_state_report, signer
from node.config import NodeConfig, read, read_genesis

node = typer.Typer(
    no_args_is_help=True, help="Run a node; make its key and certificates; check its configuration."
)
sign_state = typer.Typer(no_args_is_help=True, help="What the node's validator key has signed.")
node.add_typer(sign_state, name="sign-state")
in_words = partial(without_traceback, problem=server.EXIT_FAILED)


@node.command("run")
def run(config: Annotated[Path, typer.Option("--config", help="The node's configuration (TOML).")]) -> None:
    """Run a node until SIGTERM; logs are JSON, one object per line. Exit 1: it could not start or go on.

    Where it may use two cores it verifies signatures in a process beside it, unless `verifiers` in its configuration is 0.

    Example: chiptrace node run --config .chiptrace/nodes/chipmaker-siliconfab/node.toml
    """
    try:
        code = server.run(config)
    except (
        ChiptraceError,
        OSError,
    ) as error:  # anything else is our own mistake: its traceback belongs into the log
        typer.echo(f"error {error}", err=True)
        code = server.EXIT_FAILED
    raise typer.Exit(code)


@node.command("key")
@in_words
def key(
    directory: Annotated[Path, typer.Argument(help="The node's key_dir; must not hold a key yet.")],
    as_json: JsonOption = False,
) -> None:
    """Make a validator key with its signing record; print the public key, for governance.

    Example: chiptrace node key nodes/mine/keys
    """
    try:
        public = signer.create(directory).hex()
    except FileExistsError as error:
        raise Malformed(f"{error.filename} exists and is never overwritten; name another directory") from None
    _tell({"key": public}, public, as_json=as_json)


@node.command("authority")
@in_words
def authority(
    directory: Annotated[Path, typer.Argument(help="Where ca.pem and ca-key.pem are made; keep it offline.")],
    name: Annotated[str, typer.Option("--name", help="Name of the consortium.")],
    as_json: JsonOption = False,
) -> None:
    """Make a consortium's certificate authority.

    Example: chiptrace node authority ca --name chipmaker
    """
    if (directory / "ca-key.pem").exists():
        raise Malformed(f"{directory / 'ca-key.pem'} exists and is never overwritten; name another directory")
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    certificates.create_authority(directory, name, now_ms())
    made = str(directory / "ca.pem")
    _tell({"authority": made}, made, as_json=as_json)


@node.command("certificate")
@in_words
def certificate(
    target: Annotated[Path, typer.Argument(help="The certificate to make: FILE.pem, its key FILE-key.pem.")],
    authority_directory: Annotated[Path, typer.Option("--authority", help="Directory of the authority.")],
    name: Annotated[str, typer.Option("--name", help="Whose it is.")],
    host: Annotated[
        list[str] | None, typer.Option("--host", help="DNS name or address of a node; none for a client.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Issue a certificate for a node or a client, or renew it for the same key; print its pin, for the peers.

    Example: chiptrace node certificate tls/node.pem --authority ca --name fab --host node.fab.example
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    pin = certificates.issue(authority_directory, target, name, host or [], now_ms())
    _tell({"certificate": str(target), "pin": pin}, pin, as_json=as_json)


@node.command("check")
@in_words
def check(
    config: Annotated[Path, typer.Option("--config", help="The node's configuration (TOML).")],
    as_json: JsonOption = False,
) -> None:
    """Say what a node would start with, or what is wrong with it. Nothing is started.

    Example: chiptrace node check --config .chiptrace/nodes/chipmaker-siliconfab/node.toml
    """
    found = dict(server.describe(config))
    text = "\n".join(f"{name:<12} {value}" for name, value in found.items())
    _tell(found, text, as_json=as_json)


@sign_state.command("show")
@without_traceback
def show_sign_state(
    config: Annotated[Path, typer.Option("--config", help="The node's configuration (TOML).")],
    as_json: JsonOption = False,
) -> None:
    """Show what the key has signed, and whether it may vote. Read only; works while the node runs.

    Exit 1: the key must not vote; 2: it cannot be told. What only the running node knows (whether its database is behind the record, whether
    the key is in the set) stands in `chiptrace chain status`. Example: chiptrace node sign-state show --config node.toml
    """
    state = signer.inspect(read(config, NodeConfig).key_dir)
    found = sign_state_report.fields(state)
    _tell(found, sign_state_report.text(found), as_json=as_json)
    if state.trouble:
        raise typer.Exit(1)


@node.command("rotate-key")
@in_words
def rotate_key(
    config: Annotated[Path, typer.Option("--config", help="The configuration of the stopped node (TOML).")],
    as_json: JsonOption = False,
) -> None:
    """Put the node's validator key aside for good and make a new one, with an empty signing record.

    For a key that must not vote any more, or that should not. The old key stays in key_dir/retired and never votes
    again. The new one votes once governance has put it in the old one's place; until then the node follows and serves.
    Example: chiptrace node rotate-key --config node.toml
    """
    found = read(config, NodeConfig)
    document = genesis.decode_genesis(read_genesis(found.genesis))  # read first: nothing is half done
    old, new = signer.retire_and_create(found.key_dir)
    steps = sign_state_report.steps(document, config, old, new)
    told = {"old": old.hex() if old else "", "key": new.hex(), "steps": steps}
    _tell(told, "\n\n".join([f"new validator key {new.hex()}", *steps]), as_json=as_json)


@node.command("join-proof")
@in_words
def join_proof_command(
    config: Annotated[Path, typer.Option("--config", help="The configuration of the running node (TOML).")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Where the proof is written.")],
    as_json: JsonOption = False,
) -> None:
    """Ask the running node for the proof that it is in step, with which its key may join the validators.

    It is good for half an hour; give it to whoever submits the proposal (`chiptrace govern submit --join-proof`).
    Exit 1: the node is not in step, or its key need not join. Example: chiptrace node join-proof --config node.toml -o join
    """
    proof = join_proof.asked(read(config, NodeConfig))
    out.write_bytes(codec.encode(proof))
    _tell(
        {"proof": str(out), "key": proof.key.hex(), "height": proof.height},
        f"{out}: the node of {proof.key.hex()} is in step at height {proof.height}",
        as_json=as_json,
    )


def _tell(value: dict[str, Any], text: str, *, as_json: bool) -> None:
    typer.echo(json.dumps(value) if as_json else text)


def register(app: typer.Typer) -> None:
    """Add the `node` commands."""
    app.add_typer(node, name="node")
