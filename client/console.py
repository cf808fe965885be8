"""What a person or a script sees of a command: tables and texts, or one JSON object; errors without tracebacks."""

import functools
import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer
from rich.console import Console
from rich.markup import escape

from ledger.errors import ChiptraceError

EXIT_PROBLEM = 2
P = ParamSpec("P")

PIPE_COLUMNS = 200  # of a line where no terminal says how wide it is


def console(*, errors: bool = False) -> Console:
    """A console for people; wide lines stay whole where no terminal limits them."""
    made = Console(stderr=errors, highlight=False, soft_wrap=True)
    return (
        made
        if made.is_terminal
        else Console(stderr=errors, highlight=False, soft_wrap=True, width=PIPE_COLUMNS)
    )


OUT = console()
ERR = console(errors=True)

TrustOption = Annotated[
    Path,
    typer.Option(
        "--trust", envvar="CHIPTRACE_TRUST", help="Trust file: what you believe beforehand, and your keys."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
ChainOption = Annotated[str, typer.Option("--chain", help="Name of the chain in the trust file.")]
MemberOption = Annotated[str, typer.Option("--as", help="Member in whose name to sign.")]
DEFAULT_TRUST = Path(".chiptrace/trust.json")


def print_json(value: Any) -> None:
    """One JSON object on standard output."""
    print(json.dumps(value, ensure_ascii=False, sort_keys=False))


def without_traceback(command: Callable[P, None]) -> Callable[P, None]:
    """A command whose errors are told in words (or JSON) with their code, exit 2; never as a traceback.

    An error that is our own mistake says so and names the file that holds the details.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except ChiptraceError as error:
            _tell(error.code, str(error), as_json=bool(kwargs.get("as_json")))
            raise typer.Exit(EXIT_PROBLEM) from None
        except (typer.Exit, typer.Abort):
            raise
        except KeyboardInterrupt:
            _tell("INTERRUPTED", "interrupted", as_json=bool(kwargs.get("as_json")))
            raise typer.Exit(130) from None
        except Exception as error:
            details = Path("chiptrace-error.txt")
            details.write_text(traceback.format_exc(), encoding="utf-8")
            text = f"an error of chiptrace itself ({type(error).__name__}: {error}); details are in {details}"
            _tell("INTERNAL", text, as_json=bool(kwargs.get("as_json")))
            raise typer.Exit(EXIT_PROBLEM) from None

    return run


def _tell(code: str, message: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"error": {"code": code, "message": message}})
    else:
        ERR.print(f"[bold red]error[/] [bold]{escape(code)}[/] {escape(message)}")
        sys.stderr.flush()
