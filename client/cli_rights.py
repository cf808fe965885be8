"""Commands of a grant's holder: let a contract manufacturer commission, end that, and see what is left."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated

import typer

from client.cli_parts import idempotency_key, tell
from client.console import (
    DEFAULT_TRUST,
    OUT,
    ChainOption,
    JsonOption,
    MemberOption,
    TrustOption,
    plain,
    print_json,
    without_traceback,
)
from client.records import name_of
from client.session import open_chain
from ledger import codec, decimals, state
from ledger.errors import Malformed
from ledger.identifiers import canonical_grant
from proto.chiptrace.v1.ledger_pb2 import (
    Delegate,
    DelegationRecord,
    EntryKind,
    Operation,
    RevokeDelegation,
    UnitAmount,
)

Prefix = Annotated[str, typer.Argument(help="gs1: and digits, or a URI of whole segments.", metavar="PREFIX")]
To = Annotated[str, typer.Option("--to", help="The delegate: another member of the chain.")]
_AMOUNT = re.compile(r"([0-9.eE+-]+?)([A-Z][A-Z0-9]{1,2})?\Z")


def register(app: typer.Typer) -> None:
    """Add the commands about delegations."""
    app.command("delegate")(delegate)
    app.command("revoke-delegation")(revoke_delegation)
    app.command("delegation")(delegation)


def _amounts(texts: list[str]) -> list[UnitAmount]:
    rows = {}
    for text in texts:
        match = _AMOUNT.match(text)
        unit = "" if match is None else match[2] or ""
        if match is None or unit in rows:
            raise Malformed(
                f"--amount {text}: a number and a unit code such as 2.5KGM, each unit once; pieces have none"
            )
        rows[unit] = UnitAmount(unit=unit, amount=decimals.parse(match[1]))
    return [rows[unit] for unit in sorted(rows)]


@without_traceback
def delegate(
    prefix: Prefix,
    to: To,
    chain: ChainOption,
    member: MemberOption,
    serials: Annotated[int, typer.Option("--serials", help="How many parts.", min=0)] = 0,
    amount: Annotated[
        list[str] | None, typer.Option("--amount", help="Of lots: 5000 (pieces), 2.5KGM; once per unit.")
    ] = None,
    valid_days: Annotated[int, typer.Option("--valid-days", help="0: no end.", min=0, max=36500)] = 0,
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """Let another member commission under your prefix, so much and no more.

    Example: chiptrace delegate gs1:9521234 --to osat --serials 10000 --valid-days 30 --chain chipmaker --as siliconfab
    """
    order = Delegate(
        prefix=canonical_grant(prefix), member=to, serials=serials, amounts=_amounts(amount or [])
    )
    with open_chain(trust, chain, member) as session:
        if valid_days:
            order.valid_until_ms = session.verified.advance().latest_time_ms + valid_days * 86_400_000
        key = idempotency_key("delegate", codec.encode(order))
        recorded = session.submitter().submit([Operation(delegate=order)], key)
        tell(recorded, f"{prefix} delegated to {to}", as_json=as_json)


@without_traceback
def revoke_delegation(
    prefix: Prefix,
    to: To,
    chain: ChainOption,
    member: MemberOption,
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """End a delegation at once; what was commissioned under it stays.

    Example: chiptrace revoke-delegation gs1:9521234 --to osat --chain chipmaker --as siliconfab
    """
    operation = Operation(revoke_delegation=RevokeDelegation(prefix=canonical_grant(prefix), member=to))
    with open_chain(trust, chain, member) as session:
        recorded = session.submitter().submit([operation], idempotency_key("revoke-delegation", prefix, to))
        tell(recorded, f"the delegation of {prefix} to {to} revoked", as_json=as_json)


@without_traceback
def delegation(
    prefix: Prefix,
    to: To,
    chain: ChainOption,
    trust: TrustOption = DEFAULT_TRUST,
    as_json: JsonOption = False,
) -> None:
    """Show what is left of a delegation and every use of it, proven against the chain.

    Example: chiptrace delegation gs1:9521234 --to osat --chain chipmaker
    """
    with open_chain(trust, chain) as session:
        view = session.verified
        key = state.delegation_key(to, canonical_grant(prefix))
        record = view.record(key, DelegationRecord)
        if record is None:
            raise Malformed(f"chain {chain} proves that {prefix} was never delegated to {to}")
        entries = view.history(key, record.history)
        times = view.times(proven.entry.height for proven in entries)
    told = {
        "prefix": record.prefix,
        "delegate": record.member,
        "holder": record.holder,
        "revoked": record.revoked,
        "serials": record.serials,
        "serials_left": record.serials_left,
        "amounts": _plain(record.amounts),
        "amounts_left": _plain(record.amounts_left),
        "valid_from_ms": record.valid_from_ms,
        "valid_until_ms": record.valid_until_ms,
        "entries": [
            {
                "what": name_of(EntryKind, proven.entry.kind),
                "height": proven.entry.height,
                "time_ms": times[proven.entry.height],
                "transaction": proven.entry.transaction.hex(),
            }
            for proven in entries
        ],
    }
    if as_json:
        print_json(told)
        return
    left = [f"{record.serials_left} of {record.serials} serials"]
    left += [
        f"{decimals.to_text(rest.amount)} of {decimals.to_text(row.amount)} {row.unit or 'pieces'}"
        for row, rest in zip(record.amounts, record.amounts_left, strict=True)
    ]
    OUT.print(
        plain(f"{record.prefix}: {record.holder} to {record.member}{', revoked' if record.revoked else ''}")
    )
    OUT.print(plain(f"left: {', '.join(left)}"))
    for proven in entries:
        when = datetime.fromtimestamp(times[proven.entry.height] / 1000, UTC).isoformat(timespec="seconds")
        what = name_of(EntryKind, proven.entry.kind).lower()
        OUT.print(
            plain(f"{when}  height {proven.entry.height}  {what}  {proven.entry.transaction.hex()[:16]}")
        )


def _plain(rows: Iterable[UnitAmount]) -> dict[str, str]:
    return {row.unit: decimals.to_text(row.amount) for row in rows}
