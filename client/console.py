"""What a person or a script sees of a command: tables and texts, or one JSON object; errors without tracebacks."""

import functools
import io
import json
import os
import re
import sys
import traceback
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer
from rich.console import Console
from rich.markup import escape

from ledger.errors import ChiptraceError
from proto.chiptrace.v1.ledger_pb2 import Reason

EXIT_PROBLEM = 2
EXIT_INTERRUPTED = 130
_NO_CODE = Reason.Name(Reason.REASON_UNSPECIFIED)  # says nothing to people; in JSON it stands as it is
P = ParamSpec("P")

PIPE_COLUMNS = 200  # of a line where no terminal says how wide it is
_NOT_ASCII = re.compile(r"[^\n -~]")


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Where nobody reads any more: rich's own way ends with exit code 1, which says findings."""
        raise BrokenPipeError


def console(*, errors: bool = False) -> Console:
    """A console for people; wide lines stay whole where no terminal limits them."""
    # Without emoji: `:x:` in an identifier is three letters.
    made = _Console(stderr=errors, highlight=False, soft_wrap=True, emoji=False)
    return (
        made
        if made.is_terminal
        else _Console(stderr=errors, highlight=False, soft_wrap=True, emoji=False, width=PIPE_COLUMNS)
    )


def visible(text: str) -> str:
    """The text with everything that could move a cursor, hide or reorder letters written out: what nodes and
    chains say may not paint over what was found."""
    return "".join(letter if _is_plain(letter) else repr(letter)[1:-1] for letter in text)


def _is_plain(letter: str) -> bool:
    # Other, control, format, surrogate, private; and separators of lines and paragraphs.
    return unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def plain(text: object) -> str:
    """Any text, for a console that reads rich's markup: shown as it is, without effect."""
    return escape(visible(str(text)))


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
    """One JSON object on standard output, in ASCII: no terminal and no encoding changes what is read."""
    print(json.dumps(value), flush=True)


def print_document(text: str) -> None:
    """A JSON document on standard output, each letter that is not ASCII as JSON escapes it, for the same reason."""
    print(_NOT_ASCII.sub(lambda found: _escaped(found[0]), text), end="", flush=True)


def _escaped(letter: str) -> str:
    return "\\u007f" if letter == "\x7f" else json.dumps(letter)[1:-1]


def without_traceback(
    command: Callable[P, None],
    problem: int = EXIT_PROBLEM,
    interrupted: str = "if anything was sent, it may still become final: `chiptrace resume` tells",
) -> Callable[P, None]:
    """A command whose errors are told in words (or JSON) with their code, exit `problem`; never as a traceback."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        as_json = bool(kwargs.get("as_json"))
        if isinstance(sys.stdout, io.TextIOWrapper):
            # A letter that the terminal does not have is written out, as standard error does by itself.
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            command(*args, **kwargs)
        except (typer.Exit, typer.Abort):
            raise
        except KeyboardInterrupt:
            _tell("INTERRUPTED", f"interrupted; {interrupted}", as_json=as_json)
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except BrokenPipeError:
            _say_no_more()
            raise typer.Exit(problem) from None
        except Exception as error:
            _tell(*code_and_message(error), as_json=as_json)
            raise typer.Exit(problem) from None

    return run


def code_and_message(error: Exception) -> tuple[str, str]:
    """An error in words, under its code. One that is our own mistake says so and names the file that holds the details."""
    match error:
        case ChiptraceError():
            return error.code, str(error)
        case FileExistsError():
            return "FILE", f"{error.filename} exists and is never overwritten; name another"
        case OSError():
            return (
                "FILE",
                f"{error.filename or 'a file, or the output'}: {error.strerror or error}; name a path that you may use",
            )
        case _:
            return "INTERNAL", _own_mistake(error)


def _own_mistake(error: Exception) -> str:
    text = f"an error of chiptrace itself ({type(error).__name__}: {error})"
    details = Path("chiptrace-error.txt")
    try:
        details.write_text(
            "".join(traceback.format_exception(error)), encoding="utf-8", errors="backslashreplace"
        )
    except OSError:
        return f"{text}; run it in a directory that you may write to, and the details are kept"
    return f"{text}; details are in {details}, please report them"


def error_json(code: str, message: str) -> dict[str, dict[str, str]]:
    """What an answer in JSON says of an error."""
    return {"error": {"code": code, "message": message}}


def _tell(code: str, message: str, *, as_json: bool) -> None:
    """Tells an error; where standard output is what failed, in words; where nobody can be told, the exit code does."""
    shown = "" if code == _NO_CODE else f"[bold]{plain(code)}[/] "
    try:
        if as_json:
            with suppress(OSError):
                print_json(error_json(code, message))
                return
        ERR.print(f"[bold red]error[/] {shown}{plain(message)}")
    except OSError:
        _say_no_more()


def _say_no_more() -> None:
    """Who read our output has gone; nothing more can be said there, also not at exit."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
