"""Validators' faults, each proven by itself: two votes that no honest validator signs together, and who signed them.

What a chain has recorded is found through the histories of its members (complete, see client/verified.py), and each
fault is judged here again from its two votes alone. A fault can be written to a file, which anyone with a trust file
can judge without a node and without us:

1. The genesis in the file hashes to the chain id of the trust file; its validators are the first trusted set.
2. Headers lead from there to the height of the votes: each certified by exactly the set trusted before it, past no
   recovery that the trust file does not list.
3. The first header at or above the votes' height was certified by the set in force at that height.
4. The votes convict a validator of that set (consensus/evidence.py, the same code that runs on chain).
5. What else the file says for people is what was found; it is compared, never used.

No honest validator signs two such votes, so no file shows one guilty, whoever wrote it.
"""

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from bridge.light_client import from_genesis, verify_header
from bridge.recovered import follow_recovery
from client.histories import ProvenEntry
from client.trust import ChainTrust, Trust
from client.verified import NotVerifiable, VerifiedChain
from consensus import evidence
from ledger import codec, genesis, state
from ledger.block import block_hash, decode_header
from ledger.errors import Invalid, Malformed, Refused
from ledger.limits import HEADERS_PER_REPLY_MAX, U64_MAX
from proto.chiptrace.v1.consensus_pb2 import SignedHeader, Vote, VoteKind
from proto.chiptrace.v1.ledger_pb2 import (
    EntryKind,
    Evidence,
    EvidenceRecord,
    MemberRecord,
    Reason,
    ValidatorSet,
)
from proto.chiptrace.v1.node_pb2 import HeadersRequest

FORMAT: Final = "chiptrace evidence 1"
FILE_BYTES_MAX: Final = 67_108_864
HEADERS_MAX: Final = (
    100_000  # on the way from a genesis; a chain that changed its set more often is not followed
)
_HEADER_BYTES_MAX: Final = 262_144


@dataclass(frozen=True, slots=True)
class Fault:
    """A validator's fault that the asker has judged."""

    chain_id: bytes
    member: str
    key: bytes
    first: Vote
    second: Vote
    genesis: bytes
    headers: tuple[SignedHeader, ...]  # from the genesis to the set of the votes' height
    recorded_at: int = 0  # height; 0: not known to be recorded
    recorded_ms: int = 0
    transaction: bytes = b""

    @property
    def kind(self) -> str:
        """What the two votes are, in words."""
        names = sorted({VoteKind.Name(vote.kind).lower() for vote in (self.first, self.second)})
        return f"{names[0]} twice" if len(names) == 1 else f"{names[0]} and {names[1]}"


# ---- sets of old heights --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Step:
    """A header of the way, with the set that certified it."""

    validators: ValidatorSet
    height: int
    signed: SignedHeader


class Way:
    """Headers that lead from a genesis on, every one verified, and the sets that they show."""

    def __init__(
        self, trust: ChainTrust, genesis_bytes: bytes, headers: Iterable[SignedHeader], now_ms: int
    ) -> None:
        """Raises Malformed, Invalid for a header that does not follow from those before it."""
        chain_id = trust.chain_id
        # (1) The genesis is the chain's.
        if genesis.chain_id(genesis_bytes) != chain_id:
            raise Invalid("its genesis is not the one of the chain id", Reason.WRONG_CHAIN)
        document = genesis.decode_genesis(genesis_bytes)
        first = ValidatorSet(in_force_from=1, validators=document.validators)
        self.chain_id = chain_id
        self.genesis = genesis_bytes
        self._steps: list[_Step] = []
        trusted = from_genesis(chain_id, first, document.time_ms)
        # (2) Each header is certified by exactly the set trusted before it.
        for signed in headers:
            if signed.recovery and block_hash(chain_id, signed.header) != trusted.latest_block_hash:
                # Of a recovered chain the first header is certified by the set that the recovery names.
                accepted = [item.document for item in trust.recoveries]
                believed, _ = follow_recovery(trusted, signed, accepted, now_ms)
                certifying = believed.validators
            else:
                believed = verify_header(trusted, signed, now_ms, None)
                certifying = trusted.validators
            self._steps.append(_Step(certifying, believed.latest_height, signed))
            trusted = believed
        self.height = trusted.latest_height
        self.newest = trusted.validators  # in force above that height, as far as is known
        sets = [step.validators for step in self._steps] + [trusted.validators]
        self.members = {validator.member for found in sets for validator in found.validators}

    def set_at(self, height: int) -> tuple[ValidatorSet, tuple[SignedHeader, ...]]:
        """The set in force at a height, and the headers that show it. Raises Invalid(BAD_VALIDATORS)."""
        for count, step in enumerate(self._steps, start=1):
            # (3) The first header that reaches the height: a set's hash names the height it is in force from, so that no
            # other was in force since the header before.
            if height <= step.height:
                return step.validators, tuple(item.signed for item in self._steps[:count])
        raise Invalid(
            f"the headers end at height {self.height}; the set of height {height} is not shown by them",
            Reason.BAD_VALIDATORS,
        )


def judge(way: Way, shown: Evidence) -> Fault:
    """The fault that this evidence proves, by itself. Raises Invalid, Refused(NOT_EVIDENCE)."""
    validators, headers = way.set_at(shown.height)
    # (4) The votes convict a validator of that set.
    key = evidence.judge(way.chain_id, validators, shown)
    member = next(validator.member for validator in validators.validators if validator.key == key)
    first, second = Vote.FromString(shown.first), Vote.FromString(shown.second)
    return Fault(way.chain_id, member, key, first, second, way.genesis, headers)


# ---- what a chain has recorded -----------------------------------------------------------------------------------


def recorded(chain: VerifiedChain) -> list[Fault]:
    """Every fault that the chain has recorded, judged anew, oldest record first. Raises NotVerifiable.

    Only a validator has faults, and each stands in the history of its member, so the members of all sets there ever
    were are all that can have one.
    """
    chain.snapshot()
    way = way_of(chain)
    found: list[Fault] = []
    for member in sorted(way.members):
        key = state.member_key(member)
        record = chain.record(key, MemberRecord)
        entries = chain.history(key, record.history) if record is not None else []
        accused = [proven for proven in entries if proven.entry.kind == EntryKind.EVIDENCE]
        found.extend(_fault(chain, way, member, proven) for proven in accused)
    times = chain.times({fault.recorded_at for fault in found})
    timed = [replace(fault, recorded_ms=times[fault.recorded_at]) for fault in found]
    return sorted(timed, key=lambda fault: (fault.recorded_at, fault.member, fault.first.view))


def way_of(chain: VerifiedChain) -> Way:
    """All headers at which the set changed, up to the newest that the chain was followed to. Raises NotVerifiable."""
    newest = chain.trusted().latest_height
    headers: list[SignedHeader] = []
    height = 0
    while height < newest and len(headers) < HEADERS_MAX:
        request = HeadersRequest(from_height=height)
        reply = chain.connection.call(lambda stub: stub.GetHeaders, request)
        if not reply.headers:
            break
        headers.extend(reply.headers[: HEADERS_PER_REPLY_MAX + 1])
        try:
            height = max(height + 1, decode_header(headers[-1].header).height)
        except Malformed:
            break
    try:
        # The genesis is the one whose hash is the chain id, and encodings are canonical: these are its bytes.
        document = b"" if chain.genesis is None else codec.encode(chain.genesis)
        way = Way(chain.trust, document, headers, chain.now_ms())
        if way.height < newest:
            raise Invalid(f"the headers end at height {way.height}, before {newest}", Reason.BAD_VALIDATORS)
    except (Malformed, Invalid) as error:
        raise NotVerifiable(
            f"chain {chain.trust.name}: node {chain.connection.endpoint} gave a false or broken answer for headers: "
            f"{error}. Ask another node of the chain",
            error.reason,
        ) from error
    return way


def _fault(chain: VerifiedChain, way: Way, member: str, proven: ProvenEntry) -> Fault:
    """The fault behind an entry of a member's history: its operation carries the votes."""
    entry = proven.entry
    operations = proven.transaction.body.operations
    try:
        if entry.operation >= len(operations) or not operations[entry.operation].HasField("evidence"):
            raise Invalid("the entry's transaction carries no evidence", Reason.BAD_PROOF)
        fault = judge(way, operations[entry.operation].evidence)
        if fault.member != member:
            raise Invalid(f"the votes convict {fault.member}, not {member}", Reason.BAD_PROOF)
        place = evidence.record_key(way.chain_id, fault.key, fault.first.height, fault.first.view)
        record = chain.record(place, EvidenceRecord)
        if record is None or (record.key, record.recorded_at) != (fault.key, entry.height):
            raise Invalid("the state's record of the fault is another", Reason.BAD_PROOF)
    except (Malformed, Invalid, Refused) as error:
        raise NotVerifiable(
            f"chain {chain.trust.name}: the evidence against {member} in transaction {entry.transaction.hex()} does not "
            f"hold: {error}. More than a third of the validators must be false; ask another node, and the members",
            error.reason,
        ) from error
    return replace(fault, recorded_at=entry.height, transaction=entry.transaction)


# ---- files -----------------------------------------------------------------------------------------------------------


def write(path: Path, faults: Sequence[Fault]) -> None:
    """Write faults of one chain to a file that proves them; at least one."""
    longest = max((fault.headers for fault in faults), key=len)
    document = {
        "format": FORMAT,
        "chain_id": faults[0].chain_id.hex(),
        "faults": [
            {
                **said(fault),
                "first": _text(codec.encode(fault.first)),
                "second": _text(codec.encode(fault.second)),
            }
            for fault in faults
        ],
        "genesis": _text(faults[0].genesis),
        "headers": [_text(codec.encode(signed)) for signed in longest],
    }
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="ascii")


def said(fault: Fault) -> dict[str, Any]:
    """What a fault says to people."""
    return {
        "member": fault.member,
        "key": fault.key.hex(),
        "height": fault.first.height,
        "view": fault.first.view,
        "kind": fault.kind,
    }


def read(path: Path, trust: Trust, now_ms: int) -> tuple[str, list[Fault]]:
    """The faults in a file, each judged by nothing but the trust file; with the chain's name there.

    Raises OSError, Malformed, Invalid, Refused(NOT_EVIDENCE) saying what does not hold.
    """
    document = _document(path)
    chain_id = _bytes(path, document, "chain_id", bytes.fromhex)
    chain = trust.chain_by_id(chain_id)
    if chain is None:
        raise Invalid(
            f"{path} is about chain {chain_id.hex()}, which the trust file does not name", Reason.WRONG_CHAIN
        )
    headers = [
        codec.decode(SignedHeader, _bytes(path, {"headers": text}, "headers", _decoded), _HEADER_BYTES_MAX)
        for text in _list(path, document, "headers")
    ]
    way = Way(chain, _bytes(path, document, "genesis", _decoded), headers, now_ms)
    found = [_read_fault(path, way, item) for item in _list(path, document, "faults")]
    if not found:
        raise Malformed(f"{path} names no fault")
    # As on chain: one fault for each validator, height and view, so that nobody looks worse than it was.
    if len({(fault.key, fault.first.height, fault.first.view) for fault in found}) < len(found):
        raise Invalid(f"{path} names a fault more than once", Reason.NOT_EVIDENCE)
    return chain.name, found


def _read_fault(path: Path, way: Way, item: object) -> Fault:
    if not isinstance(item, dict):
        raise Malformed(f"{path}: a fault must be an object")
    height = item.get("height")
    if not isinstance(height, int) or isinstance(height, bool) or not 0 < height <= U64_MAX:
        raise Malformed(f"{path}: 'height' must be a height")
    first, second = (_bytes(path, item, name, _decoded) for name in ("first", "second"))
    fault = judge(way, Evidence(height=height, first=first, second=second))
    for name, value in said(fault).items():
        if item.get(name) != value:
            raise Invalid(
                f"{path} says {name} {item.get(name)!r}, but the votes show {value!r}", Reason.NOT_EVIDENCE
            )
    return fault


def _list(path: Path, document: dict[str, Any], name: str) -> list[Any]:
    value = document.get(name)
    if not isinstance(value, list):
        raise Malformed(f"{path}: '{name}' must be a list")
    return value


def _document(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        data = file.read(FILE_BYTES_MAX + 1)
    if len(data) > FILE_BYTES_MAX:
        raise Malformed(f"{path} is larger than {FILE_BYTES_MAX} bytes")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"{path} is not JSON: {error}") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise Malformed(f"{path} is no evidence file: its format must be '{FORMAT}'")
    return document


def _bytes(path: Path, document: dict[str, Any], name: str, read_text: Callable[[str], bytes]) -> bytes:
    value = document.get(name)
    try:
        if isinstance(value, str):
            return read_text(value)
    except (ValueError, binascii.Error):
        pass
    raise Malformed(f"{path}: '{name}' cannot be read")


def _decoded(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
