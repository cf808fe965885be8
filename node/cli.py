"""The command `chiptrace`: nodes, relayers and test networks from here, everything else from client/cli_*.py.

Modules are imported when their command is run, so that a node starts with nothing it does not need.
"""

import importlib
import pkgutil
import sys
from pathlib import Path
from typing import Annotated

import typer

import client

node_commands = typer.Typer(no_args_is_help=True, help="Run a node, or make its key.")
relay_commands = typer.Typer(no_args_is_help=True, help="Run a relayer between two chains.")
ConfigOption = Annotated[Path, typer.Option("--config", help="Configuration file (TOML).")]


@node_commands.command("run")
def run_node(config: ConfigOption) -> None:
    """Run a node until SIGTERM; logs are JSON, one object per line.

    Example: chiptrace node run --config .chiptrace/nodes/chipmaker-siliconfab/node.toml
    """
    from node import server

    _exit(server.run, config)


@node_commands.command("key")
def make_key(
    directory: Annotated[Path, typer.Argument(help="The node's key_dir; must not hold a key yet.")],
) -> None:
    """Make a validator key with its signing record; print the public key, for governance.

    Example: chiptrace node key nodes/mine/keys
    """
    from node import signer

    try:
        typer.echo(signer.create(directory).hex())
    except FileExistsError as error:
        typer.echo(f"error: {error.filename} exists; a key is never overwritten: name another directory", err=True)
        raise typer.Exit(1) from None


def _exit(run: "object", config: Path) -> None:
    from ledger.errors import ChiptraceError

    try:
        code = run(config)  # type: ignore[operator]
    except ChiptraceError as error:
        typer.echo(f"error: {error.code}: {error}", err=True)
        code = 1
    raise typer.Exit(code)


def application(commands: str) -> typer.Typer:
    """The command line with what a first word needs: a node or relayer alone, or everything."""
    app = typer.Typer(
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        help="A cross-chain provenance ledger, checked step by step by whoever asks.",
    )
    app.add_typer(node_commands, name="node")
    app.add_typer(relay_commands, name="relay")
    if commands in ("node", "relay"):
        return app
    names = sorted(module.name for module in pkgutil.iter_modules(client.__path__))
    for name in names:
        if name.startswith("cli_"):
            importlib.import_module(f"client.{name}").register(app)
    return app


def main() -> None:
    """Entry point."""
    application(sys.argv[1] if len(sys.argv) > 1 else "")()


if __name__ == "__main__":
    main()
