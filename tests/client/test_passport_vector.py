"""A passport that was made once and is kept: every later version reads it, and finds what was found.

Where an audit begins to check what it did not ask for before, this one lacks it: then keep this file, make another one
beside it (scripts/passport_vector.py), and say in docs/limits.md which passports a verifier can no more verify whole.
"""

import json
from hashlib import sha256
from pathlib import Path

from client.passport import from_bytes, to_bytes
from client.passport_verify import verify
from client.trust import ChainTrust, Trust
from ledger import codec
from scripts.passport_vector import passport_vector, said

VECTOR = json.loads((Path(__file__).resolve().parents[1] / "vectors" / "passport.json").read_text())
FILE = bytes.fromhex(VECTOR["file"])
TRUST = Trust(
    tuple(
        ChainTrust(name, bytes.fromhex(chain_id), ("nowhere:1",), Path("none.pem"), 10_000)
        for name, chain_id in VECTOR["chains"].items()
    ),
    (),
)


def test_the_kept_passport_is_verified_as_it_was():
    passport = from_bytes(FILE)
    assert sha256(codec.encode(passport)).hexdigest() == VECTOR["message_sha256"]
    assert from_bytes(to_bytes(passport)) == passport
    for later_ms in (0, 10 * 365 * 86_400_000):
        report = verify(passport, TRUST, lambda later_ms=later_ms: VECTOR["now_ms"] + later_ms)
        assert report.problem == ""
        assert said(report) == VECTOR["report"]
    assert VECTOR["report"]["verdict"] == "findings"
    assert {code for code, _, _ in VECTOR["report"]["findings"]} == {"RECALLED"}


def test_the_same_story_is_found_in_one_made_now():
    assert passport_vector()["report"] == VECTOR["report"]
