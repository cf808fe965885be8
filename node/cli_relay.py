"""`chiptrace relay …`: run a relayer."""

from pathlib import Path
from typing import Annotated

import typer

from ledger.errors import ChiptraceError
from node import relay as relayer

relay = typer.Typer(no_args_is_help=True, help="Run a relayer between chains.")


@relay.callback()
def _relay() -> None:
    """Run a relayer between chains."""


@relay.command("run")
def run(
    config: Annotated[Path, typer.Option("--config", help="The relayer's configuration (TOML).")],
) -> None:
    """Carry between chains until SIGTERM; logs are JSON, one object per line. Exit 1: it could not start or go on.

    Example: chiptrace relay run --config .chiptrace/relay/relay.toml
    """
    try:
        code = relayer.run(config)
    except (ChiptraceError, OSError) as error:
        typer.echo(f"error {error}", err=True)
        code = 1
    raise typer.Exit(code)


def register(app: typer.Typer) -> None:
    """Add the `relay` commands."""
    app.add_typer(relay, name="relay")
