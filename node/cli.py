"""The command `chiptrace`: node, relay and testnet from here, everything else from client/cli_*.py.

A module is imported only when the first word asks for it, so that a node starts with nothing it does not need.
"""

import importlib
import os
import signal
import sys
from typing import Final

import typer

_OWN: Final = {
    "node": "node.cli_node",
    "relay": "node.cli_relay",
    "testnet": "node.cli_testnet",
    "recover": "node.cli_recover",
}
# Words whose commands are all in one module of the client's: who asks often waits for no other.
_ALONE: Final = {
    "audit": "client.cli_audit",
    "part": "client.cli_audit",
    "passport": "client.cli_passport",
    "recall": "client.cli_recall",
    "event": "client.cli_events",
    "lot": "client.cli_lots",
    "chain": "client.cli_chain",
    "bridge": "client.cli_bridge",
    "epcis": "client.cli_epcis",
}
_OF_CLIENT: Final = (
    "client.cli_parts",
    "client.cli_crossing",
    "client.cli_events",
    "client.cli_rights",
    "client.cli_lots",
    "client.cli_govern",
    "client.cli_found",
    "client.cli_lost",
    "client.cli_claims",
    "client.cli_audit",
    "client.cli_passport",
    "client.cli_recall",
    "client.cli_chain",
    "client.cli_bridge",
    "client.cli_epcis",
)


def application(first_word: str) -> typer.Typer:
    """The command line as far as this first word needs it; all of it for any other word."""
    if module := _OWN.get(first_word) or _ALONE.get(first_word):
        return _made_of(module)
    of_client = _made_of(*_OF_CLIENT)
    commands = {info.name for info in of_client.registered_commands}
    if first_word in commands | {info.name for info in of_client.registered_groups}:
        return of_client
    return _made_of(*_OWN.values(), *_OF_CLIENT)


def _made_of(*modules: str) -> typer.Typer:
    app = typer.Typer(
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        help="A cross-chain provenance ledger, checked step by step by whoever asks.",
    )
    app.callback()(_no_options)
    for module in modules:
        importlib.import_module(module).register(app)
    return app


def _no_options() -> None:
    """A cross-chain provenance ledger, checked step by step by whoever asks."""


def main() -> None:
    """Entry point."""
    # Before gRPC is loaded: it would write a line for every odd header of a client, beside the node's own log, 24 MB in a
    # second from one of them.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # Interrupted while it loads, where nothing is begun yet, it ends at once, and without a traceback.
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    loaded = application(sys.argv[1] if len(sys.argv) > 1 else "")
    signal.signal(signal.SIGINT, handler)
    loaded()


if __name__ == "__main__":
    main()
