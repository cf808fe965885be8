"""Joins, leaves and new keys, by governance, while the chain runs: what the admins and operators of members do."""

import dataclasses
import os
import secrets
import signal

from client import governance, keys
from client.clock import now_ms
from ledger import state
from node import config, signer
from node.config import NodeConfig
from proto.chiptrace.v1.ledger_pb2 import (
    Change,
    PutKey,
    Role,
    SetValidators,
    Validator,
    ValidatorsRecord,
)
from tests.perturb.load import MEMBER
from tests.perturb.network import CHAIN, IN_STEP_SECONDS, Violation, wait_for

PROPOSAL_MS = 600_000


def newest_set(net) -> list[Validator]:
    with net.open(MEMBER) as session:
        session.verified.repin()
        return list(session.verified.record(state.VALIDATORS_KEY, ValidatorsRecord).next.validators)


def govern(net, changes, proofs=()) -> int:
    """A proposal of these changes, approved by as many members as it takes and carried out; the height."""
    threshold = net.layout.genesis(CHAIN).parameters.governance_threshold
    data = governance.propose(net.chain.chain_id, now_ms() + PROPOSAL_MS, changes)
    file = net.directory / f"proposal-{secrets.token_hex(4)}"
    file.write_bytes(data)
    proposal = governance.read_proposal(file)
    approvals = [
        governance.approve(proposal, net.layout.member_directory(CHAIN, member) / "admin.key")
        for member in net.members[:threshold]
    ]
    operation = governance.operation(proposal, approvals, proofs)
    with net.open(MEMBER) as session:
        return session.submitter().submit([operation], os.urandom(16)).height


def join(net, member) -> int:
    """Its node follows and is in step: it gives its proof and becomes a validator."""
    key = keys.public_key(net.place(member) / "keys" / signer.KEY_FILE)
    validators = [*newest_set(net), Validator(key=key, member=member)]
    height = govern(net, [Change(set_validators=SetValidators(validators=validators))], [_proof(net, member)])
    _until(net, member, lambda index: index >= 0, "does not vote after it has joined")
    return height


def leave(net, member) -> int:
    """It is a validator no more; its node goes on and follows."""
    validators = [validator for validator in newest_set(net) if validator.member != member]
    height = govern(net, [Change(set_validators=SetValidators(validators=validators))])
    _until(net, member, lambda index: index == -1, "still has a place in the set")
    return height


def rotate(net, member) -> int:
    """A new key in the place of one that may not vote any more. The node is stopped before and running after."""
    _, key = signer.retire_and_create(net.place(member) / "keys")
    for other in net.members:
        if other != member:
            _tell_new_key(net, other, member, key)
    net.start(member)
    validators = [
        Validator(key=key, member=member) if validator.member == member else validator
        for validator in newest_set(net)
    ]
    put = PutKey(key=key, member=member, role=Role.VALIDATOR)
    changes = [Change(put_key=put), Change(set_validators=SetValidators(validators=validators))]
    height = govern(net, changes, [_proof(net, member)])
    _until(net, member, lambda index: index >= 0, "does not vote with its new key")
    return height


def _tell_new_key(net, node, member, key):
    """What the operator of another node does: the new key in its [[peers]] entry, and SIGHUP."""
    file = net.layout.config_file(net.name(node))
    own = config.read(file, NodeConfig)
    peers = tuple(
        dataclasses.replace(peer, key=key.hex()) if peer.member == member else peer for peer in own.peers
    )
    config.write(file, dataclasses.replace(own, peers=peers))
    if pid := net.pid(node):
        os.kill(pid, signal.SIGHUP)


def _proof(net, member):
    def given():
        status = net.status(member)
        return status.join_proof if status and status.HasField("join_proof") else None

    return wait_for(given, IN_STEP_SECONDS, f"{member} gives no proof that it is in step")


def _until(net, member, condition, otherwise):
    def there():
        status = net.status(member)
        return status is not None and condition(status.index)

    try:
        wait_for(there, IN_STEP_SECONDS, f"{member} {otherwise}")
    except Violation as error:
        raise Violation(f"{error}; {net.status(member)}"[:600]) from None
