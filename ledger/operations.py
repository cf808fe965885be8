"""The ledger's own operations and changes, by the names of their fields on the wire.

Consensus adds the evidence it judges, the bridge its packets and clients (bridge/machine.py).
"""

from typing import Final

from ledger.attestations import attest, revoke_attestation
from ledger.capture import capture
from ledger.context import ChangeTable, OperationTable
from ledger.delegations import delegate, revoke_delegation
from ledger.governance import govern, set_parameters, set_validators
from ledger.grants import put_grant, revoke_grant
from ledger.members import put_key, put_member, revoke_key
from ledger.policies import put_policy, revoke_policy
from ledger.shipping import return_offer

OPERATIONS: Final[OperationTable] = {
    "capture": capture,
    "attest": attest,
    "revoke_attestation": revoke_attestation,
    "return_offer": return_offer,
    "govern": govern,
    "delegate": delegate,
    "revoke_delegation": revoke_delegation,
}

CHANGES: Final[ChangeTable] = {
    "put_member": put_member,
    "put_key": put_key,
    "revoke_key": revoke_key,
    "put_grant": put_grant,
    "revoke_grant": revoke_grant,
    "set_validators": set_validators,
    "set_parameters": set_parameters,
    "put_policy": put_policy,
    "revoke_policy": revoke_policy,
}
