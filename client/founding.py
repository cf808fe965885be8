"""How a chain begins, and how it comes to know another: what is written for the members to compare, and to vote on."""

from pathlib import Path

from bridge import machine
from client import governance_file
from client.anchors import newest_anchor
from client.verified import VerifiedChain
from ledger import codec, state
from ledger.errors import Malformed
from ledger.genesis import chain_id, decode_genesis, genesis_state
from proto.chiptrace.v1.ledger_pb2 import Change, CreateClient, MemberRecord, Parameters


def genesis(path: Path) -> bytes:
    """The bytes of the genesis that a file describes: the same file makes the same bytes everywhere.

    Raises Malformed or Invalid for what no node would begin with, OSError.
    """
    # (1) The bytes, read again as every node reads them.
    data = codec.encode(governance_file.read_genesis(path))
    document = decode_genesis(data)
    # (2) The first state can be made of them.
    genesis_state(chain_id(data), document, machine.changes())
    return data


def client_of(other: VerifiedChain, client: str, counterparty: str, trusting_period_ms: int) -> Change:
    """The change that creates a client of a chain: its newest header, and who of its members may replace a frozen one,
    by the genesis and with the admin keys that are proven now. Raises Malformed, NotVerifiable, NoAnswer."""
    signed, validators = newest_anchor(other)
    founders = [] if other.genesis is None else [member.id for member in other.genesis.members]
    members = {name: other.record(state.member_key(name), MemberRecord) for name in founders}
    admins = [(name, key) for name, record in members.items() if record for key in record.admin_keys]
    parameters = other.record(state.PARAMETERS_KEY, Parameters)
    if not admins or parameters is None:
        raise Malformed(f"chain {other.trust.name} proves no admin keys or no parameters; ask another node")
    return Change(
        create_client=CreateClient(
            id=client,
            chain_id=other.trust.chain_id,
            counterparty_client=counterparty,
            validators=validators,
            header=signed.header,
            certificate=codec.encode(signed.certificate),
            trusting_period_ms=trusting_period_ms,
            governance_keys=[key for _, key in admins],
            governance_members=[name for name, _ in admins],
            governance_threshold=parameters.governance_threshold,
        )
    )
