"""Commands about passports: `passport verify`, `passport show`. Neither asks any node; `audit --bundle` makes one."""

import re
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from client import trust as trust_file
from client.audit_profile import NO_PROFILE, Profile, parse_profile, read_profile
from client.clock import now_ms
from client.console import (
    DEFAULT_TRUST,
    ERR,
    OUT,
    JsonOption,
    TrustOption,
    plain,
    print_json,
    without_traceback,
)
from client.passport import read_passport, unreadable
from client.passport_verify import verify
from client.question import collect_seldom
from client.tree_view import print_report, time_text
from ledger.block import decode_header
from ledger.errors import Malformed
from proto.chiptrace.v1.passport_pb2 import Passport

passport = typer.Typer(no_args_is_help=True, help="Verify a passport without any node, or look into it.")
_UNITS_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_AGE: Final = re.compile(r"([0-9]{1,9})([smhd])")
File = Annotated[
    Path, typer.Argument(help="Passport, as `chiptrace audit --bundle` wrote it.", metavar="FILE")
]


def register(app: typer.Typer) -> None:
    """Add the commands about passports."""
    app.add_typer(passport, name="passport")


@passport.command("verify")
@without_traceback
def verify_command(
    file: File,
    trust: TrustOption = DEFAULT_TRUST,
    part: Annotated[
        str | None,
        typer.Option("--part", help="Identifier on the body in your hand: the passport must be about it."),
    ] = None,
    max_age: Annotated[
        str | None,
        typer.Option("--max-age", help="A finding if it is older than so long: 90s, 15m, 36h, 30d."),
    ] = None,
    profile: Annotated[
        Path | None, typer.Option("--profile", help="JSON: places, a speed, and the steps that are expected.")
    ] = None,
    its_profile: Annotated[
        bool, typer.Option("--its-profile", help="Hold it against the profile of who made the passport.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Audit a part from its passport alone: every step is checked here, and nobody is asked.

    Exit 0: verified, 1: findings, 2: not verifiable. Example: chiptrace passport verify part.passport --trust trust.json
    """
    known, age_ms = trust_file.read(trust), _age_ms(max_age)
    held = _held(file)
    collect_seldom()
    report = verify(
        held,
        known,
        now_ms,
        part=part,
        max_age_ms=age_ms,
        profile=_profile(file, held, profile, its_profile=its_profile),
    )
    if as_json:
        print_json(report.as_json())
    else:
        print_report(OUT, report)
        if held.profile and not (profile or its_profile):
            ERR.print("made with a profile, which was not used; --its-profile does, `passport show` shows it")
    raise typer.Exit(report.verdict.exit_code)


def _held(file: Path) -> Passport:
    try:
        return read_passport(file)
    except Malformed as error:
        raise Malformed(f"{file}: {error}; `chiptrace audit --bundle` writes one") from None


def _profile(file: Path, held: Passport, own: Path | None, *, its_profile: bool) -> Profile:
    if own is not None and its_profile:
        raise Malformed("give --profile or --its-profile: a part is held against one")
    if its_profile:
        if not held.profile:
            raise Malformed(
                f"{file} was made without a profile; leave --its-profile out, or give your own (--profile)"
            )
        return parse_profile(held.profile, file / "profile")
    return NO_PROFILE if own is None else read_profile(own)


def _age_ms(text: str | None) -> int | None:
    if text is None:
        return None
    found = _AGE.fullmatch(text)
    if found is None:
        raise Malformed(f"--max-age '{text}': write it as a whole number of s, m, h or d, as 36h")
    return int(found[1]) * _UNITS_MS[found[2]]


@passport.command("show")
@without_traceback
def show(file: File, as_json: JsonOption = False) -> None:
    """What a passport says it holds. Nothing of it is checked: `passport verify` does.

    Example: chiptrace passport show part.passport
    """
    held = _held(file)
    told = _told(file, held)
    if as_json:
        print_json(told)
        return
    OUT.print(
        f"says to be about [bold]{plain(told['asked'])}[/]; {told['bytes']:,} bytes; nothing of it was checked"
    )
    for chain in told["chains"]:
        OUT.print(
            f"chain {chain['chain_id']} at height {chain['height']}, {time_text(chain['time_ms'])} UTC: "
            f"{chain['headers']} headers, {chain['values']} values, {chain['histories']} histories with {chain['entries']} "
            f"entries, {chain['transactions']} transactions, {chain['leaves']} log leaves"
        )
    if told["profile"]:
        OUT.print(f"made with the profile {plain(told['profile'])}")


def _told(file: Path, held: Passport) -> dict[str, Any]:
    chains = []
    for chain in held.chains:
        try:
            newest = decode_header(chain.headers[-1].header) if chain.headers else None
        except Malformed as error:
            raise unreadable(error) from error
        chains.append(
            {
                "chain_id": chain.chain_id.hex(),
                "height": newest.height - 1 if newest else 0,
                "time_ms": newest.time_ms if newest else 0,
                "headers": len(chain.headers),
                "values": len(chain.values),
                "histories": len(chain.histories),
                "entries": sum(len(history.entries) for history in chain.histories),
                "transactions": len(chain.transactions),
                "leaves": len(chain.leaves),
            }
        )
    return {
        "checked": False,
        "asked": held.asked,
        "bytes": file.stat().st_size,
        "chains": chains,
        "serials_shown": len(held.shown),
        "profile": held.profile.decode("utf-8", "replace"),
    }
