"""What a reason code means to a person, and what to do next. Codes without a line here speak for themselves."""

from typing import Final

from proto.chiptrace.v1.ledger_pb2 import Reason

_MEANING: Final[dict[int, str]] = {
    Reason.MALFORMED: "the bytes are not the one accepted encoding; make them with this version of chiptrace",
    Reason.OVERSIZE: "it is larger than a limit allows; split it",
    Reason.WRONG_CHAIN: "it was made for another chain; check --chain and the trust file",
    Reason.BAD_SIGNATURE: "a signature does not fit its bytes and key; sign again with the right key file",
    Reason.EXPIRED: "its validity had ended; submit it anew, and check this machine's clock",
    Reason.NOT_YET_VALID: "its validity lies more than an hour ahead; check this machine's clock",
    Reason.REPEATED: "the same command was recorded already; look at the first transaction before you try again",
    Reason.UNKNOWN_KEY: "the key is not registered on this chain; governance adds keys (put_key)",
    Reason.KEY_NOT_VALID: "the key is revoked, or not valid at this time; sign with a valid one",
    Reason.ROLE_NOT_ALLOWED: "a key of this role may not do that; sign with one whose role may",
    Reason.NOT_GRANTED: "the member holds no grant for this identifier's company prefix; the holder must commission it",
    Reason.DELEGATION_EXCEEDED: "more than was delegated; the holder of the grant delegates more, or commissions it",
    Reason.DELEGATION_NOT_VALID: "the delegation's time has not come, or is over; the holder of the grant delegates anew",
    Reason.DELEGATION_REVOKED: "the delegation was revoked, or ended with its grant; the holder delegates anew",
    Reason.NOT_DELEGATED: "nothing is delegated there; the holder of the grant delegates (`chiptrace delegate`)",
    Reason.TOO_MANY_ROWS: "containers of many kinds cost much; ship, pack or send fewer of them at once, or try again",
    Reason.TOO_MANY_RECORDS: "too much is entered or looked through at once; split the work, or try again",
    Reason.LICENCE_MISSING: "a policy lets it leave only under a licence; name one that fits (`--licence`)",
    Reason.NOT_HOME_CHAIN: "parts of this prefix begin on another chain and arrive here over the bridge",
    Reason.NOT_IN_CUSTODY: "another member possesses the part; only the possessor acts on it, others may attest",
    Reason.NOT_OWNER: "the part belongs to another member",
    Reason.NOT_ENOUGH_APPROVALS: "more members must approve the proposal with their admin keys",
    Reason.UNKNOWN_MEMBER: "no member of this chain has that name",
    Reason.ALREADY_COMMISSIONED: "this serial exists already; a second body with it is a clone, or the serial a mistake",
    Reason.UNKNOWN_PART: "the part has no record on this chain; commission it, or receive it over the bridge; what came inside "
    "a container is made known by `chiptrace materialise ID --from CHAIN`",
    Reason.UNKNOWN_LOT: "the lot has no record on this chain; commission an amount of it first",
    Reason.NOT_LIVE: "the part is offered, in transit, departed, consumed or destroyed; nothing happens to it now; what "
    "came home inside a container is made known by `chiptrace materialise ID --from CHAIN`",
    Reason.NOT_OFFERED_TO_YOU: "the part was offered to another member, or to nobody",
    Reason.ALREADY_OFFERED: "the part is on offer already; take that offer back first (`chiptrace return-offer`)",
    Reason.INSIDE_CONTAINER: "the part is inside a container or assembly; act on that, or take it out first",
    Reason.NOT_INSIDE: "the part is not inside that container",
    Reason.NOT_FREE_STANDING: "the container stands inside another one; take it out first",
    Reason.QUANTITY_EXCEEDED: "more than there is; check the amount and its unit",
    Reason.EVENT_REPEATED: "this very event is in the history already",
    Reason.CORRECTION_NOT_APPLICABLE: "it is undone already, or the member neither has nor commissioned what it names",
    Reason.YIELD_EXCEEDED: "the run would put out, scrap and sample more than was declared of what went in",
    Reason.YIELD_INVALID: "a yield is declared with what goes in, in numbers, from the first event of a run on",
    Reason.RUN_CLOSED: "the run was closed; name another transformationID",
    Reason.EVENT_TIME_OUT_OF_BOUNDS: "the event's time lies in the future; check the clock that made it",
    Reason.IDENTIFIER_INVALID: "an identifier is not in a form that the ledger takes",
    Reason.EVENT_INVALID: "the event breaks a rule of EPCIS 2.0; `chiptrace epcis check` names the field",
    Reason.CLIENT_FROZEN: "the other chain was caught contradicting itself; governance of both chains may thaw it",
    Reason.CLIENT_EXPIRED: "the client saw no header of the other chain for too long; governance must renew it",
    Reason.TIMED_OUT: "the packet came too late; the sender gets the part back",
    Reason.PROPOSAL_EXPIRED: "the proposal's time is over; propose anew and have it approved again",
    Reason.PROPOSAL_REPEATED: "the proposal was carried out before; nothing is left to do",
    Reason.JOIN_PROOF_MISSING: "a validator joins only in step; add the proof of its node (`chiptrace node join-proof`)",
    Reason.JOIN_PROOF_STALE: "the proof is too old; make a new one (`chiptrace node join-proof`) and submit at once",
    Reason.JOIN_PROOF_MISMATCH: "the validator's node follows another chain or another fork; sync it anew",
    Reason.JOIN_PROOF_UNUSED: "a join proof is of a key that does not join by this proposal; leave it away",
    Reason.POOL_FULL: "the node has too much to do; try again in a moment",
    Reason.DISK_NEARLY_FULL: "the node's disk is nearly full, so it takes no transactions; ask another one",
    Reason.NOT_SYNCED: "the node is catching up; ask another one, or wait",
    Reason.HEIGHT_NOT_SERVED: "the node no longer proves that height; ask again for a newer one",
}


def meaning(reason: "Reason.ValueType") -> str:
    """One sentence for people, or nothing."""
    return _MEANING.get(reason, "")


def known(reason: "Reason.ValueType") -> "Reason.ValueType":
    """The reason that a node gave; REASON_UNSPECIFIED for a number that this version has no name for."""
    return reason if reason in Reason.values() else Reason.REASON_UNSPECIFIED
