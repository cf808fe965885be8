"""A chain of two_chains that lost its quorum and was recovered with fresh keys, which certify its blocks from then on."""

from ledger import hashes
from ledger.recovery import Opened
from tests.ledger.recovered import apply, approved, document_for, fresh_seeds


def prepare(chain, salt="fresh", approvers=None, **changed) -> Opened:
    """Approves a recovery and gives it to the chain's only node; the next block carries it."""
    opened = apply(chain, approved(chain, document_for(chain, salt=salt, **changed), approvers))
    chain.seeds.update({hashes.public_key(seed): seed for seed in fresh_seeds(chain.members, salt)})
    return opened


def recover(chain, salt="fresh", approvers=None, **changed) -> Opened:
    """Recovers a chain at its tip and goes on to where its state is certified."""
    opened = prepare(chain, salt, approvers, **changed)
    chain.produce()
    chain.settle()
    return opened
