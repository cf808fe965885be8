"""How two chains come to know each other: governance of both, once both geneses exist.

On each chain one proposal creates the light client of the other, anchored at its newest header, and registers the
namespaces whose home is over there. A grant's holder must be a member of the chain that keeps it, so a foreign
namespace stands in the name of the chain's first member; nobody can commission under it here.
"""

import hashlib
from pathlib import Path
from typing import Final

from client import keys
from client.anchors import newest_anchor
from client.clock import now_ms
from client.session import ChainSession
from client.verified import VerifiedChain
from ledger import codec, hashes, identifiers, state
from ledger.hashes import Purpose
from node.testnet_layout import ChainPlace, Network
from proto.chiptrace.v1.bridge_pb2 import ClientRecord
from proto.chiptrace.v1.ledger_pb2 import (
    Change,
    CreateClient,
    Govern,
    GovernanceProposal,
    Operation,
    PutGrant,
    Signature,
)

TRUSTING_PERIOD_MS: Final = 14 * 86_400_000
PROPOSAL_MS: Final = 3_600_000


def is_paired(session: ChainSession, other: ChainPlace) -> bool:
    """Whether the chain has its client of the other, proven under a certified header."""
    return session.verified.record(state.client_key(other.name), ClientRecord) is not None


def pair(
    network: Network, session: ChainSession, seen: VerifiedChain, here: ChainPlace, other: ChainPlace
) -> int:
    """Create the client of `other`, which is verified as `seen`, on `here` and register the foreign namespaces; the
    height it is final at.

    Raises Refused with the chain's reason, NoAnswer when no node answers, NotVerifiable.
    """
    changes = [Change(create_client=_client_of(network, seen, other, here))]
    changes += [Change(put_grant=grant) for grant in _foreign_grants(network, here, other)]
    pairs = [pair for pair in network.pairs if here.name in pair]
    if pairs and other.name in pairs[0]:
        paired = {name for pair in pairs for name in pair}
        for far in network.chains:
            if far.name not in paired:
                changes += [Change(put_grant=grant) for grant in _foreign_grants(network, here, far)]
    nonce = hashlib.sha256(b"pairing" + other.chain_id).digest()[:16]
    proposal = codec.encode(
        GovernanceProposal(
            chain_id=here.chain_id, expires_ms=now_ms() + PROPOSAL_MS, nonce=nonce, changes=changes
        )
    )
    threshold = network.genesis(here.name).parameters.governance_threshold
    approvals = [
        _approval(network.member_directory(here.name, node.member) / "admin.key", here.chain_id, proposal)
        for node in here.nodes[:threshold]
    ]
    operation = Operation(govern=Govern(proposal=proposal, approvals=approvals))
    key = hashlib.sha256(proposal).digest()[:16]
    return session.submitter().submit([operation], key).height


def _client_of(network: Network, seen: VerifiedChain, other: ChainPlace, here: ChainPlace) -> CreateClient:
    genesis = network.genesis(other.name)
    signed, validators = newest_anchor(seen)
    return CreateClient(
        id=other.name,
        chain_id=other.chain_id,
        counterparty_client=here.name,
        validators=validators,
        header=signed.header,
        certificate=codec.encode(signed.certificate),
        trusting_period_ms=TRUSTING_PERIOD_MS,
        governance_keys=[key for member in genesis.members for key in member.admin_keys],
        governance_members=[member.id for member in genesis.members for _ in member.admin_keys],
        governance_threshold=genesis.parameters.governance_threshold,
    )


def _foreign_grants(network: Network, here: ChainPlace, other: ChainPlace) -> list[PutGrant]:
    genesis = network.genesis(other.name)
    own = [grant.prefix for grant in network.genesis(here.name).grants]
    return [
        PutGrant(prefix=grant.prefix, holder=here.nodes[0].member, home_chain=other.chain_id)
        for grant in genesis.grants
        if all(not identifiers.grants_overlap(grant.prefix, prefix) for prefix in own)
    ]


def _approval(key_file: Path, chain_id: bytes, proposal: bytes) -> Signature:
    seed = keys.read_seed(key_file)
    return Signature(
        key=hashes.public_key(seed), signature=hashes.sign(seed, Purpose.PROPOSAL, chain_id, proposal)
    )
