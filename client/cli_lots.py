"""Commands about lots whose serials are kept as a list off the chain: `lot root`, `lot prove`."""

from pathlib import Path
from typing import Annotated

import typer

from client import trust as trust_file
from client.console import (
    DEFAULT_TRUST,
    OUT,
    ChainOption,
    JsonOption,
    TrustOption,
    plain,
    print_json,
    without_traceback,
)
from client.serial_lists import describe, read_list, to_json
from ledger.identifiers import canonical

lot = typer.Typer(no_args_is_help=True, help="Lots of serials by the root of their list.")
Lot = Annotated[
    str, typer.Argument(help="Identifier of the lot: EPC URN or GS1 Digital Link.", metavar="LOT")
]
ListFile = Annotated[Path, typer.Argument(help="The list: one serial per line, in the order of the lot.")]


def register(app: typer.Typer) -> None:
    """Add the `lot` commands."""
    app.add_typer(lot, name="lot")


@lot.command("root")
@without_traceback
def root(
    name: Lot,
    file: ListFile,
    chain: ChainOption,
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """What the event says that commissions a lot by its list: how many, and three words of its `ilmd`.

    chain: where the lot begins. Example: chiptrace lot root urn:epc:class:lgtin:9521234.000001.W1 w1.txt --chain chipmaker
    """
    said = describe(read_list(file, canonical(name), trust_file.read(trust).chain(chain).chain_id))
    if as_json:
        print_json(said)
        return
    OUT.print(f"{'lot':<16}{plain(said['lot'])}")
    OUT.print(f"{'quantity':<16}{said['count']}")
    for word, text in said["ilmd"].items():
        OUT.print(f"{'ilmd':<16}{plain(word)} {plain(text)}")


@lot.command("prove")
@without_traceback
def prove(
    name: Lot,
    file: ListFile,
    serial: Annotated[str, typer.Argument(help="The part: EPC URN or GS1 Digital Link.", metavar="ID")],
    chain: ChainOption,
    out: Annotated[Path | None, typer.Option("--out", help="Write here, not to standard output.")] = None,
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """Where in its lot's list a serial is, with the proof, for who is not given the list: `chiptrace audit --shown FILE`.

    chain: where the lot began. Example: chiptrace lot prove LOT w1.txt ID --chain chipmaker --out 7.json
    """
    kept = read_list(file, canonical(name), trust_file.read(trust).chain(chain).chain_id)
    text = to_json(kept.membership(canonical(serial).text))
    if out is None:
        print(text, end="")
        return
    out.write_text(text, encoding="utf-8")
    if as_json:
        print_json({"file": str(out)})
    else:
        OUT.print(f"[green]wrote[/] {plain(out)}")
