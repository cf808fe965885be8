"""`chiptrace node …`: run a node, make its key."""

from pathlib import Path
from typing import Annotated

import typer

from ledger.errors import ChiptraceError
from node import server, signer

node = typer.Typer(no_args_is_help=True, help="Run a node, or make its key.")


@node.command("run")
def run(config: Annotated[Path, typer.Option("--config", help="The node's configuration (TOML).")]) -> None:
    """Run a node until SIGTERM; logs are JSON, one object per line. Exit 1: it could not start or go on.

    Example: chiptrace node run --config .chiptrace/nodes/chipmaker-siliconfab/node.toml
    """
    try:
        code = server.run(config)
    except ChiptraceError as error:
        typer.echo(f"error: {error.code}: {error}", err=True)
        code = server.EXIT_FAILED
    raise typer.Exit(code)


@node.command("key")
def key(
    directory: Annotated[Path, typer.Argument(help="The node's key_dir; must not hold a key yet.")],
) -> None:
    """Make a validator key with its signing record; print the public key, for governance.

    Example: chiptrace node key nodes/mine/keys
    """
    try:
        typer.echo(signer.create(directory).hex())
    except FileExistsError as error:
        typer.echo(
            f"error: {error.filename} exists and is never overwritten; name another directory", err=True
        )
        raise typer.Exit(1) from None


def register(app: typer.Typer) -> None:
    """Add the `node` commands."""
    app.add_typer(node, name="node")
