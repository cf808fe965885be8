"""Commands about how chains begin: `govern genesis` for the first document, `govern client` to know another chain."""

from pathlib import Path
from typing import Annotated

import typer

from client import founding, governance_file
from client.cli_govern import DAY_MS, Out, govern
from client.console import (
    DEFAULT_TRUST,
    OUT,
    JsonOption,
    TrustOption,
    plain,
    print_json,
    without_traceback,
)
from client.session import open_chain
from ledger.genesis import chain_id, decode_genesis


def register(_app: typer.Typer) -> None:
    """Add the commands."""
    govern.command("genesis")(genesis)
    govern.command("client")(client)


@without_traceback
def genesis(
    file: Annotated[Path, typer.Argument(help="What the chain begins with (TOML, or JSON).", metavar="FILE")],
    out: Out,
    as_json: JsonOption = False,
) -> None:
    """Make a chain's first document of a file that its founders agreed on, and tell the chain id, which is its hash.

    Everybody makes it, of the same file, and compares the id. Example: chiptrace govern genesis chip.toml -o genesis
    """
    data = founding.genesis(file)
    document = decode_genesis(data)
    with out.open("xb") as target:
        target.write(data)
    told = {"file": str(out), "chain_id": chain_id(data).hex(), "genesis": governance_file.plain(document)}
    if as_json:
        print_json(told)
        return
    OUT.print(f"chain id     {told['chain_id']}")
    OUT.print(plain(f"members      {', '.join(member.id for member in document.members)}"))
    OUT.print(plain(f"validators   {', '.join(one.member for one in document.validators)}"))
    for name, value in governance_file.plain(document.parameters).items():
        OUT.print(plain(f"             {name} = {value}"))
    OUT.print(plain(f"{out} written; `genesis` of every node's configuration names it"))


@without_traceback
def client(
    of: Annotated[str, typer.Option("--of", help="The other chain, by its name in the trust file.")],
    name: Annotated[str, typer.Option("--id", help="Name of the client here, as a rule the other chain's.")],
    counterparty: Annotated[
        str, typer.Option("--counterparty", help="Name of the client of this chain over there.")
    ],
    out: Out,
    trusting_days: Annotated[
        int, typer.Option("--trusting-days", help="Without news for so long it expires.", min=1, max=365)
    ] = 14,
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """Write a change file that creates a light client of another chain, at its newest header; the other does the same.

    Example: chiptrace govern client --of assembler --id assembler --counterparty chipmaker -o client.toml
    """
    with open_chain(trust, of) as session:
        change = founding.client_of(session.verified, name, counterparty, trusting_days * DAY_MS)
    with out.open("x", encoding="utf-8") as target:
        target.write(governance_file.section(change))
    keepers = sorted(set(change.create_client.governance_members))
    if as_json:
        print_json({"file": str(out), "governance_members": keepers})
    else:
        OUT.print(
            plain(
                f"{out}: a client of chain {of}; if it freezes, these of it have a say: {', '.join(keepers)}"
            )
        )
