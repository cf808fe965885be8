"""The guards of the bridge, each with the edit that removes it, and the test that must fail then.

An edit replaces text that occurs exactly once in its file, so the list cannot rot unseen: test_guards.py checks it,
and a guard that is rewritten must be listed anew. Run by scripts/bridge_guards.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.bridge.guards_of_claims import CLAIMS
from tests.bridge.guards_of_custody import CUSTODY
from tests.bridge.guards_of_serials import SERIALS

CLIENTS = "tests/bridge/test_clients.py::test_"
PROOFS = "tests/bridge/test_attack_proofs.py::test_attack_"
TRUST = "tests/bridge/test_attack_trust.py::test_attack_"
PACKETS = "tests/bridge/test_attack_packets.py::test_attack_"


@dataclass(frozen=True)
class Guard:
    """One guard, and the case of the list of known attacks that it answers (0: a rule of custody of our own)."""

    case: int
    name: str
    file: str  # without its ending
    old: str
    new: str
    test: str
    backed_by: tuple[int, str, str, str, str, str] | None = None  # another guard's row: both are removed

    def edits(self) -> list[Guard]:
        """What is removed."""
        return [self] if self.backed_by is None else [self, Guard(*self.backed_by)]


ATTACKS = [
    Guard(
        1,
        "an inclusion proof names no other leaf",
        "ledger/tree_proof",
        '            if other != (b"", b""):\n',
        "            if depth > 10_000:\n",
        PROOFS + "01_something_rides_along_that_no_hash_covers",
    ),
    Guard(
        1,
        "nothing rides along with a header",
        "bridge/light_client",
        "    if signed.recovery:\n",
        "    if signed.recovery == header.recovery and header.recovery:\n",
        PROOFS + "01_something_rides_along_that_no_hash_covers",
    ),
    Guard(
        2,
        "unknown fields are refused",
        "ledger/codec",
        "        message.DiscardUnknownFields()\n",
        "",
        PROOFS + "02_a_proof_of_another_kind",
    ),
    Guard(
        3,
        "the other leaf is not the key's own",
        "ledger/tree_proof",
        "    if difference == 0:\n",
        "    if difference < 0:\n",
        PROOFS + "03_absence_of_what_is_there",
    ),
    Guard(
        4,
        "no empty root",
        "ledger/tree_proof",
        "        if len(self._root) != HASH_BYTES or self._root == ZERO:\n",
        "        if len(self._root) != HASH_BYTES:\n",
        PROOFS + "04_empty_proofs_and_empty_trees",
    ),
    Guard(
        5,
        "depth is bounded",
        "ledger/tree_proof",
        "    if depth > TREE_DEPTH_MAX:\n",
        "    if depth > TREE_DEPTH_MAX << 30:\n",
        PROOFS + "05_depths_and_lengths_are_not_the_provers_to_choose",
    ),
    Guard(
        6,
        "the index is inside the tree",
        "ledger/merkle",
        "    if proof.index >= proof.size:\n",
        "    if proof.size == 0:\n",
        PROOFS + "06_an_index_beyond_the_tree",
    ),
    Guard(
        6,
        "a path has its exact length",
        "ledger/merkle",
        '            _refuse("the path is too long")\n        if index & 1 or index == last:\n            found = node',
        "            break\n        if index & 1 or index == last:\n            found = node",
        PROOFS + "06_an_index_beyond_the_tree",
    ),
    Guard(
        7,
        "a member who signs twice counts once",
        "bridge/client_step",
        "    agreed = len({members[key] for key in approved})\n",
        "    agreed = len(approved)\n",
        CLIENTS + "07_one_member_with_many_keys_does_not_thaw",
    ),
    Guard(
        8,
        "the proof is of the packet acted on",
        "bridge/packet",
        "        + sha256(packet.value)\n",
        "",
        PACKETS + "08_the_proven_packet_is_not_the_one_acted_on",
    ),
    Guard(
        9,
        "a new anchor forgets what was kept",
        "bridge/client_step",
        "    return Effects(keep=effects.keep, forget=before)\n",
        "    return Effects(keep=effects.keep)\n",
        PROOFS + "09_a_value_that_stands_for_nothing_is_believed",
    ),
    Guard(
        10,
        "signatures are verified",
        "consensus/certificate",
        "        if len(signature) != SIGNATURE_BYTES or not verify(key, signed, signature):\n",
        "        if len(signature) > SIGNATURE_BYTES or not (key and signed and verify):\n",
        TRUST + "10_signatures_that_were_checked_elsewhere",
    ),
    Guard(
        10,
        "another header of a kept height is looked at",
        "bridge/client_step",
        "    if kept.block_hash != block_hash(client.chain_id, signed.header):\n",
        "    if kept.height != height:\n",
        TRUST + "10_signatures_that_were_checked_elsewhere",
    ),
    Guard(
        11,
        "the ports are on the list, both of them",
        "bridge/handlers",
        "    if application is None or packet.source_port != packet.destination_port:\n",
        "    if application is None:\n",
        PACKETS + "11_a_packet_for_what_is_no_application",
    ),
    Guard(
        12,
        "a quorum",
        "consensus/certificate",
        "    if len(indexes) < quorum(n):\n",
        "    if len(indexes) < quorum(n) - 1:\n",
        TRUST + "12_fewer_keys_than_a_quorum",
    ),
    Guard(
        12,
        "a key stands once in a set",
        "bridge/light_client",
        "    if len(keys) != count:\n",
        "    if len(keys) > count:\n",
        TRUST + "12_fewer_keys_than_a_quorum",
    ),
    Guard(
        13,
        "no chain that one member certifies",
        "bridge/client_step",
        "    if known.strict and one_member_suffices(validators):\n",
        "    if len(validators.validators) == 0:\n",
        TRUST + "13_a_chain_that_one_organisation_certifies",
    ),
    Guard(
        13,
        "no change to a chain that one member certifies",
        "bridge/light_client",
        "    if trusted.strict and validators is not trusted.validators and one_member_suffices(validators):\n",
        "    if trusted.strict and validators is None:\n",
        "tests/bridge/test_clients.py::test_12_13_a_client_does_not_follow_to_a_set_that_one_member_certifies",
    ),
    Guard(
        14,
        "a packet is proven before it arrives",
        "bridge/handlers",
        "    verify_remote(\n        ctx.overlay, client, ctx.time_ms, message.proof, sent_key(packet), packet_commitment(packet)\n    )\n",
        "",
        PACKETS + "14_what_brings_a_part_in_without_a_proof",
    ),
    Guard(
        14,
        "every opening is the header's",
        "bridge/proofs",
        "    if app_hash(client.chain_id, proof.opening) != header.app_hash:\n",
        "    if len(header.app_hash) != 32:\n",
        PACKETS + "14_what_brings_a_part_in_without_a_proof",
    ),
    Guard(
        15,
        "closed before the application hears of an answer",
        "bridge/handlers",
        "    ctx.overlay.delete(sent_key(packet))\n    _application(packet).acknowledged("
        "ctx, packet, message.acknowledgement == SUCCESS)\n",
        "    _application(packet).acknowledged(ctx, packet, message.acknowledgement == SUCCESS)\n"
        "    ctx.overlay.delete(sent_key(packet))\n",
        PACKETS + "15_an_application_that_comes_back_in",
    ),
    Guard(
        15,
        "closed before the application hears of a timeout",
        "bridge/handlers",
        "    ctx.overlay.delete(sent_key(packet))\n    _application(packet).timed_out(ctx, packet)\n",
        "    _application(packet).timed_out(ctx, packet)\n    ctx.overlay.delete(sent_key(packet))\n",
        PACKETS + "15_an_application_that_comes_back_in",
    ),
    Guard(
        16,
        "what was undone leaves no trace",
        "bridge/handlers",
        "    inner = replace(ctx, overlay=overlay, entries=[], side=[], reason=Reason.REASON_UNSPECIFIED)\n",
        "    inner = replace(ctx, overlay=overlay, reason=Reason.REASON_UNSPECIFIED)\n",
        PACKETS + "16_the_traces_of_what_was_undone",
    ),
    Guard(
        17,
        "one encoding",
        "ledger/codec",
        "    if canonical != data:\n",
        "    if len(canonical) > len(data):\n",
        PACKETS + "17_bytes_that_two_nodes_read_differently",
    ),
    Guard(
        17,
        "one of two answers",
        "bridge/handlers",
        "    if message.acknowledgement not in (SUCCESS, ERROR):\n",
        "    if message.acknowledgement is None:\n",
        PACKETS + "17_bytes_that_two_nodes_read_differently",
    ),
    Guard(
        18,
        "one constant for every error",
        "bridge/handlers",
        "        return ERROR\n",
        "        return str(error).encode()\n",
        PACKETS + "18_the_text_of_an_error_in_the_state",
    ),
    Guard(
        19,
        "only a finalization certifies",
        "consensus/boundaries",
        "    said = (finalization.kind, finalization.height, finalization.block_hash)\n",
        "    said = (VoteKind.FINALIZE, finalization.height, finalization.block_hash)\n",
        TRUST + "19_a_signature_for_one_thing_serves_as_another",
    ),
    Guard(
        19,
        "a certificate is for the bytes of its header",
        "consensus/boundaries",
        "    if said != (VoteKind.FINALIZE, header.height, block_hash(chain_id, boundary.header)):\n",
        "    if said[:2] != (VoteKind.FINALIZE, header.height):\n",
        TRUST + "19_a_signature_for_one_thing_serves_as_another",
    ),
    Guard(
        19,
        "every purpose has its tag",
        "ledger/hashes",
        "    return tag(purpose, chain_id) + data\n",
        "    return chain_id + data\n",
        TRUST + "19_approvals_of_governance_serve_nothing_else",
    ),
    Guard(
        20,
        "a relayer compares a packet with its commitment",
        "client/relay_end",
        "            holds = value == packet_commitment(action.packet)\n",
        "            holds = value is not None\n",
        "tests/bridge/test_attack_relayer.py::test_attack_20_a_node_that_tells_of_another_packet_than_was_committed_to",
    ),
    Guard(
        20,
        "a relayer verifies what nodes prove",
        "client/relay_end",
        "                tree_proof.verify(self.trust.chain_id, reply.opening.state_root, item.key, value, item.proof)\n",
        "                tree_proof.key_hash(self.trust.chain_id, item.key if value is None else value)\n",
        "tests/bridge/test_attack_relayer.py::test_attack_20_a_node_that_tells_of_another_packet_than_was_committed_to",
    ),
    Guard(
        21,
        "an odd last node is promoted",
        "ledger/merkle",
        "            level[size >> 1] = level[size - 1]\n",
        "            level[size >> 1] = node_hash(level[size - 1], level[size - 1])\n",
        PROOFS + "21_the_last_leaf_paired_with_itself",
    ),
    Guard(
        22,
        "leaves are hashed apart from nodes",
        "ledger/hashes",
        "    return hashlib.sha256(leaf_tag(purpose, chain_id) + data).digest()\n",
        '    return hashlib.sha256(b"\\x01" + data).digest()\n',
        PROOFS + "22_an_inner_node_as_a_leaf",
    ),
    Guard(
        23,
        "the other leaf stands on the key's path",
        "ledger/tree_proof",
        "    if shared < depth:\n",
        "    if shared < 0:\n",
        PROOFS + "23_absence_shown_by_a_leaf_of_elsewhere",
    ),
    Guard(
        24,
        "components of a key have their length",
        "ledger/state",
        '        parts.append(len(data).to_bytes(2, "big"))\n',
        "",
        PACKETS + "24_names_that_begin_alike",
    ),
    Guard(
        25,
        "a client's id is given once",
        "bridge/clients",
        "    if ctx.overlay.get(client_key(record.id)) is not None:\n",
        "    if not record.id:\n",
        TRUST + "25_a_name_is_given_again",
    ),
    Guard(
        26,
        "a receipt is of its route",
        "bridge/packet",
        "    return receipt_key(packet.destination_client, packet.sequence)\n",
        '    return receipt_key("", packet.sequence)\n',
        PACKETS + "26_the_same_sequence_on_two_routes",
    ),
    Guard(
        27,
        "the time of the state, not of the header",
        "bridge/handlers",
        "    if leaf.time_ms < packet.timeout_ms:\n",
        "    if leaf.time_ms < 0:\n",
        PACKETS + "27_a_timeout_by_a_state_from_before_it",
    ),
    Guard(
        27,
        "nothing is received at or after its timeout",
        "bridge/handlers",
        "    if ctx.time_ms >= packet.timeout_ms:\n",
        "    if ctx.time_ms > packet.timeout_ms:\n",
        PACKETS + "27_a_timeout_by_a_state_from_before_it",
    ),
    Guard(
        28,
        "timeouts are in the next day",
        "bridge/packet",
        "    if not now_ms < timeout_ms <= min(now_ms + PACKET_TIMEOUT_MS_MAX, U64_MAX):\n",
        "    if not now_ms < timeout_ms <= U64_MAX:\n",
        PACKETS + "28_timeouts_of_other_units_and_sizes",
    ),
    Guard(
        30,
        "a client begins alive",
        "bridge/client_step",
        '    if has_expired(client, now_ms):\n        raise Refused(\n            f"the anchor is of',
        '    if now_ms < 0:\n        raise Refused(\n            f"the anchor is of',
        TRUST + "30_an_expired_client_or_another_ones_clock",
    ),
    Guard(
        30,
        "expiry is told by the block's time",
        "bridge/clients",
        "    if has_expired(record, now_ms):\n        raise Refused(\n"
        '            f"client {record.id!r} was not updated',
        '    if now_ms < 0:\n        raise Refused(\n            f"client {record.id!r} was not updated',
        TRUST + "30_an_expired_client_or_another_ones_clock",
    ),
    Guard(
        29,
        "a return goes to who shipped the part",
        "bridge/custody_transfer",
        "    if departure.filling is not None or known.gone_to or transfer.receiver != known.holder:\n",
        "    if departure.filling is not None or known.gone_to:\n",
        PACKETS + "29_a_sender_with_the_name_of_one_of_ours",
    ),
]

GUARDS = ATTACKS + [Guard(*row) for row in (*CLAIMS, *CUSTODY, *SERIALS)]
