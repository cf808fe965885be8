"""A validator joins only in step: its own node says, signed, where it stands, and that is where the chain stands.

A set that takes in a validator whose node is behind, or was never started, may have no quorum left, and what has no
quorum cannot vote it out again. So the key that joins brings a proof beside the proposal: height and block hash of a
height that its node has decided, signed by the key. The admins do not sign it, so that it can be made when the
proposal is submitted, however long approving took. It adds no right; it takes an excuse away.
"""

from collections.abc import Callable, Sequence
from typing import Final

from ledger import hashes
from ledger.context import Context
from ledger.errors import Refused
from ledger.hashes import HASH_BYTES, Purpose
from ledger.limits import JOIN_PROOF_AGE_MS_MAX, JOIN_PROOF_HEIGHTS_MAX, VALIDATORS_MAX
from proto.chiptrace.v1.ledger_pb2 import JoinProof, Reason

ADVICE: Final = "start the validator's node as an observer, wait until it is in step, then run `chiptrace node join-proof`"


def signed_bytes(chain_id: bytes, height: int, block_hash: bytes) -> bytes:
    """What the validator's key signs: tag `join`, be64(height), block hash."""
    return hashes.signed_bytes(Purpose.JOIN, chain_id, height.to_bytes(8, "big") + block_hash)


def prove(
    chain_id: bytes, height: int, block_hash: bytes, key: bytes, sign: Callable[[bytes], bytes]
) -> JoinProof:
    """The proof that the node of `key` has decided this block. For a node that is in step; it alone holds the key."""
    signature = sign(signed_bytes(chain_id, height, block_hash))
    return JoinProof(chain_id=chain_id, height=height, block_hash=block_hash, key=key, signature=signature)


def check_signature(chain_id: bytes, proof: JoinProof) -> None:
    """Returns only for a proof of this chain signed by the key it names. Raises Refused: WRONG_CHAIN,
    BAD_SIGNATURE, MALFORMED."""
    if proof.chain_id != chain_id:
        raise Refused(
            f"the join proof of {proof.key.hex()} is for chain {proof.chain_id.hex()[:64] or 'none'}, this is "
            f"{chain_id.hex()}; make one with a node of this chain",
            Reason.WRONG_CHAIN,
        )
    if len(proof.block_hash) != HASH_BYTES:
        raise Refused(
            f"the join proof of {proof.key.hex()} names a block by {len(proof.block_hash)} bytes",
            Reason.MALFORMED,
        )
    signed = signed_bytes(chain_id, proof.height, proof.block_hash)
    if not hashes.verify_raw(proof.key, signed, proof.signature):
        raise Refused(
            f"the join proof is not signed by the key {proof.key.hex()} it speaks for; {ADVICE}",
            Reason.BAD_SIGNATURE,
        )


def take(context: Context, proofs: Sequence[JoinProof]) -> None:
    """Checks the proofs of one governance operation and notes whose they are.

    Raises Refused: JOIN_PROOF_UNUSED for too many or two of one key, and per proof WRONG_CHAIN, MALFORMED, BAD_SIGNATURE,
    JOIN_PROOF_MISMATCH, JOIN_PROOF_STALE.
    """
    # (1) Bounded, one for each key.
    if len(proofs) > VALIDATORS_MAX:
        raise Refused(
            f"{len(proofs)} join proofs; at most {VALIDATORS_MAX} validators can join",
            Reason.JOIN_PROOF_UNUSED,
        )
    if len({proof.key for proof in proofs}) != len(proofs):
        raise Refused("two join proofs are of one key; send the newer one only", Reason.JOIN_PROOF_UNUSED)
    for proof in proofs:
        # (2) Signed by the joining key, for this chain.
        check_signature(context.chain_id, proof)
        # (3) Over a block that this chain has decided, not long ago.
        _check_place(context, proof)
    context.in_step = {proof.key: False for proof in proofs}


def _check_place(context: Context, proof: JoinProof) -> None:
    whose = f"the join proof of {proof.key.hex()}"
    # Every node knows the log up to the parent of the block under execution, whatever else it has pruned.
    if not 0 < proof.height < context.height:
        raise Refused(
            f"{whose} is for height {proof.height}; {context.height - 1} heights are decided",
            Reason.JOIN_PROOF_MISMATCH,
        )
    if context.height - proof.height > JOIN_PROOF_HEIGHTS_MAX:
        raise Refused(
            f"{whose} is {context.height - proof.height} heights old, at most {JOIN_PROOF_HEIGHTS_MAX} count; "
            f"make a new one: {ADVICE}",
            Reason.JOIN_PROOF_STALE,
        )
    leaf = context.decided(proof.height)
    if leaf.block_hash != proof.block_hash:
        raise Refused(
            f"{whose} names another block of height {proof.height} than was decided; its node follows another "
            "chain or another fork",
            Reason.JOIN_PROOF_MISMATCH,
        )
    if context.time_ms - leaf.time_ms > JOIN_PROOF_AGE_MS_MAX:
        raise Refused(
            f"{whose} is {context.time_ms - leaf.time_ms} ms old, at most {JOIN_PROOF_AGE_MS_MAX} count; "
            f"make a new one: {ADVICE}",
            Reason.JOIN_PROOF_STALE,
        )


def join(context: Context, key: bytes) -> None:
    """Returns only if the key may enter the set: it has proven to be in step. Raises Refused(JOIN_PROOF_MISSING)."""
    if key not in context.in_step:
        raise Refused(
            f"validator key {key.hex()} is not in the newest set and joins without a proof that its node is in "
            f"step; {ADVICE}, and submit the proposal with the proof",
            Reason.JOIN_PROOF_MISSING,
        )
    context.in_step[key] = True


def check_all_used(context: Context) -> None:
    """Returns only if each proof let a key in. Raises Refused(JOIN_PROOF_UNUSED)."""
    for key, used in context.in_step.items():
        if not used:
            raise Refused(
                f"key {key.hex()} has a join proof, but does not join by this proposal; leave the proof away",
                Reason.JOIN_PROOF_UNUSED,
            )
