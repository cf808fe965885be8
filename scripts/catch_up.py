"""Let a validator that was away catch up while the chain goes on: `python3 scripts/catch_up.py --heights 100000`.

The real engine, fed over virtual links of `--link-ms` one way by three peers that hold the chain, one of which is of
no use if `--hostile` is given; executing a block takes `--execute-ms`; the chain gains a height every `--live-ms`.
The set of validators changes `--changes` times on the way. What the engine itself costs is measured in real time.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from environment import ROOT, VENV, prepare


def real_keys(count: int) -> tuple[list[bytes], Callable[[bytes, bytes], bytes]]:
    """Ed25519 keys, and what signs for each."""
    from nacl.signing import SigningKey  # noqa: PLC0415 (the environment comes first)

    keys = [SigningKey(bytes([index + 1]) * 32) for index in range(count)]
    by_public = {bytes(key.verify_key): key for key in keys}
    return list(by_public), lambda public, signed: by_public[public].sign(signed).signature


def decided_chain(arguments: argparse.Namespace) -> Any:
    """The chain that was decided while the validator was away."""
    from proto.chiptrace.v1.ledger_pb2 import Validator, ValidatorSet  # noqa: PLC0415 (the environment comes first)
    from tests.consensus import chain  # noqa: PLC0415 (the environment comes first)

    keys, sign_by = [chain.key(index) for index in range(1, 31)], chain.sign_as
    if arguments.real_signatures:
        keys, sign_by = real_keys(30)
    sets = {}
    for change in range(arguments.changes + 1):
        start = 1 + change * arguments.heights // (arguments.changes + 1)
        members = [
            Validator(key=keys[(change + index) % 30], member=f"m{index}")
            for index in range(arguments.validators)
        ]
        sets[start] = ValidatorSet(in_force_from=start, validators=members)
    return chain.Ledger(sets=sets, sign_by=sign_by).grow(arguments.heights)


def catch_up(arguments: argparse.Namespace) -> dict[str, object]:
    """Run it and return the figures."""
    from ledger.hashes import verify_raw  # noqa: PLC0415 (the environment comes first)
    from tests.consensus import chain  # noqa: PLC0415 (the environment comes first)
    from tests.consensus.serving import Serving, honest, silence  # noqa: PLC0415 (the environment comes first)

    begun = time.monotonic()
    ledger = decided_chain(arguments)
    print(f"{arguments.heights} heights decided in {time.monotonic() - begun:.1f} s", flush=True)
    peers = {1: honest, 2: honest, 3: silence if arguments.hostile else honest}
    serving = Serving(
        ledger,
        peers,
        link_ms=arguments.link_ms,
        execute_ms=arguments.execute_ms,
        verify=verify_raw if arguments.real_signatures else chain.verify,
    )

    def live() -> None:
        ledger.grow(1)
        for peer in peers:
            serving.claim(peer)
        serving.after(arguments.live_ms, live)

    live()
    started = time.monotonic()
    while serving.height < ledger.height - 1:
        serving.run(until_height=min(serving.height + 1_000, ledger.height - 1))
    seconds = time.monotonic() - started
    virtual_ms = serving.now - 1_000_000
    return {
        "heights": serving.height,
        "behind": ledger.height - serving.height,
        "seconds": round(seconds, 1),
        "heights_per_second": round(serving.height / seconds),
        "virtual_seconds": round(virtual_ms / 1_000, 1),
        "virtual_heights_per_second": round(serving.height * 1_000 / virtual_ms),
        "live_heights_per_second": round(1_000 / arguments.live_ms, 1),
        "heights_per_round_trip": round(serving.height * 2 * arguments.link_ms / virtual_ms, 1),
        "requests": sum(serving.asked.values()),
        "fetched_ahead_max": serving.fetched_max,
        "real_signatures": arguments.real_signatures,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--heights", type=int, default=10_000, help="decided while it was away")
    parser.add_argument("--validators", type=int, default=4)
    parser.add_argument("--changes", type=int, default=3, help="of the validator set on the way")
    parser.add_argument("--link-ms", type=int, default=50, help="one way")
    parser.add_argument("--execute-ms", type=int, default=2, help="of a block, in virtual time")
    parser.add_argument("--live-ms", type=int, default=300, help="between two heights of the living chain")
    parser.add_argument("--hostile", action="store_true", help="one of the three peers is silent")
    parser.add_argument("--real-signatures", action="store_true", help="Ed25519 instead of a keyed hash")
    parser.add_argument("--profile", action="store_true", help="print where the time went")
    arguments = parser.parse_args()
    if Path(sys.prefix).resolve() != VENV.resolve():  # started with another interpreter: go on with ours
        return subprocess.run([prepare("dev"), *sys.argv], check=False).returncode
    sys.path.insert(0, str(ROOT))
    if arguments.profile:
        profile = cProfile.Profile()
        figures = profile.runcall(catch_up, arguments)
        pstats.Stats(profile).sort_stats("cumulative").print_stats(45)
    else:
        figures = catch_up(arguments)
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
