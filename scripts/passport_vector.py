"""The passport that every later version must still verify: `python3 scripts/passport_vector.py FILE` makes a new one.

It is made once and kept: one that is made anew with every version would show nothing of the old ones.
"""

import json
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from client.audit_report import Report  # noqa: E402
from client.passport import to_bytes  # noqa: E402
from ledger import codec  # noqa: E402
from proto.chiptrace.v1.ledger_pb2 import Attest, Operation  # noqa: E402
from tests.client.passports import told  # noqa: E402
from tests.client.test_audit_mutated import lived  # noqa: E402


def passport_vector() -> dict[str, Any]:
    """A part that was boxed, sent to another chain, accepted there, and recalled at home."""
    world, part = lived()
    claim = Attest(id="https://ada.example/2", subject=part, kind="recall", valid_from_ms=1, scope="cracks")
    if not world["a"].operate("ada", Operation(attest=claim)).ok:
        raise SystemExit("the recall was refused")
    world.relay()
    report, passport = told(world, part)
    return {
        "chains": {chain.name: chain.chain_id.hex() for chain in world.chains.values()},
        "now_ms": world.clock.now_ms,
        "file": to_bytes(passport).hex(),
        "message_sha256": sha256(codec.encode(passport)).hexdigest(),
        "report": said(report),
    }


def said(report: Report) -> dict[str, Any]:
    """What a verifier finds, without what later versions may say besides."""
    return {
        "verdict": str(report.verdict),
        "asked": report.asked,
        "findings": [[finding.code, finding.chain, finding.subject] for finding in report.findings],
        "as_of": [[head["chain"], head["height"], head["time_ms"]] for head in report.heads],
        "subjects": [
            {
                "chain": subject.chain,
                "id": subject.id,
                "status": subject.status,
                "steps": [[step.height, step.time_ms, step.member, step.what] for step in subject.steps],
            }
            for subject in report.subjects
        ],
    }


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(passport_vector(), indent=1) + "\n")
