"""A limit that a page states is the one in the code: the sentence, with the number taken from there, stands in the page."""

from pathlib import Path

import pytest

from client import audit, audit_inside, audit_profile, passport, question, reach, reach_walk, verified
from ledger import attestations, limits, view
from ledger.genesis import VALIDATORS_MIN
from node import config, tls_port

DOCS = Path(__file__).resolve().parents[2] / "docs"
MIB = 2**20
DAY_MS = 86_400_000
STATED = [
    ("limits", "commissioned one by one, up to {:,} in an event", limits.IDENTIFIERS_PER_EVENT_MAX),
    ("limits", "A list in an event has {:,} serials at most", limits.IDENTIFIERS_PER_EVENT_MAX),
    ("limits", "it stands with up to {} pieces", attestations.CLAIM_PIECES_MAX),
    ("limits", "delegation with {:,} uses and more", verified.HISTORY_ENTRIES_MAX),
    ("limits", "({} fields,", limits.EVENT_FIELDS_MAX),
    ("limits", "fields, {:,} values,", limits.VALUE_NODES_MAX),
    ("limits", "almost {:,} bytes)", limits.EVENT_BYTES_MAX),
    ("limits", "by the keys it touches: {:,},", limits.KEYS_PER_TRANSACTION_MAX),
    ("limits", "and {:,} of a block", limits.KEYS_PER_BLOCK_MAX),
    ("limits", "a container of {:,} kinds", limits.MANIFEST_ROWS_MAX),
    ("limits", "A transaction goes through {:,} rows at most", limits.ROWS_PER_TRANSACTION_MAX),
    ("limits", "and a block through {:,} (TOO_MANY_ROWS", limits.ROWS_PER_BLOCK_MAX),
    ("limits", "A transaction goes through {:,} such records at most", limits.RECORDS_PER_TRANSACTION_MAX),
    ("limits", "and a block through {:,} (TOO_MANY_RECORDS)", limits.RECORDS_PER_BLOCK_MAX),
    ("limits", "Proofs are given under the last {} heights", limits.PROVABLE_HEIGHTS_KEPT),
    ("limits", "where heights changed more than {:,} pages in all", view.PAST_PAGES_MAX),
    ("membership", "A set has {} to", VALIDATORS_MIN),
    ("membership", "to {} validators; 1 to 3 only", limits.VALIDATORS_MAX),
    ("membership", "the height is at most {:,} heights", limits.JOIN_PROOF_HEIGHTS_MAX),
    ("membership", "(three, at most seven)", limits.PROPOSAL_EXPIRY_MS_MAX // DAY_MS == 7),
    ("bridge", "A manifest has at most {:,} rows", limits.MANIFEST_ROWS_MAX),
    ("bridge", "its record {} KiB", limits.STATE_VALUE_BYTES_MAX // 1024),
    ("bridge", "stays below its {} KiB", limits.TRANSACTION_BYTES_MAX // 1024),
    ("lots", "these, in this order, {:,} at most", limits.IDENTIFIERS_PER_EVENT_MAX),
    ("founding", "{} keys at most", limits.GOVERNANCE_KEYS_PER_CLIENT_MAX),
    ("founding", "four to {},", limits.VALIDATORS_MAX),
    ("audit", "up to {:,} subjects", audit.SUBJECTS_MAX),
    ("audit", "{} minutes, ", question.QUESTION_MS_MAX // 60_000),
    ("audit", "{:,} calls and", question.CALLS_MAX),
    ("audit", "and {} GiB for each chain", question.BYTES_MAX // 2**30),
    ("audit", "{:,} entries for each history", verified.HISTORY_ENTRIES_MAX),
    ("audit", "{:,} steps inside containers", audit_inside.STEPS_MAX),
    ("audit", "three times at most", question.ATTEMPTS_MAX == 3),
    ("audit", "At most {:,} steps in all", audit_profile.EXPECTED_STEPS_MAX),
    ("audit", "Bounded like an audit, to {:,} things", reach_walk.REACHED_MAX),
    ("audit", "things and {} steps", reach.DEPTH_MAX),
    ("passports", "| file | {} MiB", passport.FILE_BYTES_MAX // MIB),
    ("passports", "| unpacked | {} MiB", passport.PASSPORT_BYTES_MAX // MIB),
    ("passports", "| {:,}, counted before anything is parsed", passport.ITEMS_MAX),
    ("validator", "| a handshake | {} s", tls_port.HANDSHAKE_MS_MAX // 1_000),
    ("validator", "| {}, {} | POOL_FULL", (
        config.ClientPortConfig(listen="localhost:1").calls_per_identity_max,
        config.ClientPortConfig(listen="localhost:1").calls_max,
    )),
]  # fmt: skip


@pytest.mark.parametrize(("page", "sentence", "limit"), STATED)
def test_what_a_page_states_is_what_the_code_does(page, sentence, limit):
    assert limit, "a number in words is another one now"
    told = sentence.format(*limit) if isinstance(limit, tuple) else sentence.format(limit)
    assert told in " ".join((DOCS / f"{page}.md").read_text().split())
