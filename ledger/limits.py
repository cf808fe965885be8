"""Every limit of the system, with its unit in its name. One table, so that nothing is bounded twice."""

from typing import Final

# Bytes of one thing.
TRANSACTION_BYTES_MAX: Final = 262_144
BLOCK_BYTES_MAX: Final = 4_194_304
RECOVERY_BYTES_MAX: Final = 32_768
PACKET_VALUE_BYTES_MAX: Final = 262_144
PEER_MESSAGE_BYTES_MAX: Final = 8_388_608
RPC_MESSAGE_BYTES_MAX: Final = 8_388_608
GENESIS_BYTES_MAX: Final = 4_194_304
EVENT_BYTES_MAX: Final = 131_072
IDENTIFIER_BYTES_MAX: Final = 512
NAME_BYTES_MAX: Final = 256
KEY_COMPONENT_BYTES_MAX: Final = IDENTIFIER_BYTES_MAX
TEXT_BYTES_MAX: Final = 65_536
EPCIS_DOCUMENT_BYTES_MAX: Final = 16_777_216

# Counts.
VALIDATORS_MAX: Final = 31
ADMIN_KEYS_PER_MEMBER_MAX: Final = 16
IDENTIFIERS_PER_MEMBER_MAX: Final = 64
APPROVALS_PER_PROPOSAL_MAX: Final = 128
SIGNATURES_PER_TRANSACTION_MAX: Final = 8
OPERATIONS_PER_TRANSACTION_MAX: Final = 1_000
TRANSACTIONS_PER_BLOCK_MAX: Final = 10_000
KEYS_PER_TRANSACTION_MAX: Final = 10_000
KEYS_PER_BLOCK_MAX: Final = 20_000
# A long record counts as so many keys more: what one block reads, and what it writes, has 40 MB at most.
VALUE_BYTES_PER_KEY: Final = 2_048
# Of manifests that are gone through: 64 containers of as many kinds as can be, and four times as many.
ROWS_PER_TRANSACTION_MAX: Final = 65_536
ROWS_PER_BLOCK_MAX: Final = 262_144
# Of what is gone through again and again under the same keys: entries, pieces of intervals, claims that may be licences.
RECORDS_PER_TRANSACTION_MAX: Final = 16_384
RECORDS_PER_BLOCK_MAX: Final = 65_536
IDENTIFIERS_PER_EVENT_MAX: Final = 1_000
EVENT_FIELDS_MAX: Final = 64
# Under which an identifier can lie, from the outermost: no namespace is granted deeper.
PREFIXES_MAX: Final = 32
CANDIDATES_MAX: Final = 64  # of what may have gone into one transformation
VALUE_NODES_MAX: Final = 10_000
VALUE_DEPTH_MAX: Final = 16
EPCIS_DOCUMENT_DEPTH_MAX: Final = 64
CHANGES_PER_PROPOSAL_MAX: Final = 1_000
DELEGATED_UNITS_MAX: Final = 16
RUN_UNITS_MAX: Final = 16  # in which a run declares, makes, scraps and samples
POLICIES_PER_PREFIX_MAX: Final = 16  # in force
POLICY_NAMES_MAX: Final = 64  # of members, of issuers, of destinations
LICENCES_NAMED_MAX: Final = 64  # by one shipping
COPIES_PER_PAGE: Final = 64  # attestations that one chain has told here about one subject
WAITING_SENT_MAX: Final = 16  # of what waits for a client, with one update of it
PASSED_ON_MAX: Final = 8  # chains that passed a notice on
REHOMED_MEMBERS_MAX: Final = 256  # of a lost chain, from whom somebody takes over
# How far back the height may lie at which a joining validator's node was in step.
JOIN_PROOF_HEIGHTS_MAX: Final = 10_000
CONTAINER_DEPTH_MAX: Final = 8
MANIFEST_ROWS_MAX: Final = 1_024
CLIENT_HEADERS_KEPT: Final = 1_000
HEADERS_PER_UPDATE_MAX: Final = 64
GOVERNANCE_KEYS_PER_CLIENT_MAX: Final = 64
# No honest part crosses so often; a chain that lies about a hop must not make ours overflow.
HOP_MAX: Final = 2**62
TREE_DEPTH_MAX: Final = 256
STATE_VALUE_BYTES_MAX: Final = 131_072

# Snapshots: at most 64 GiB.
SNAPSHOT_CHUNK_BYTES: Final = 1_048_576
SNAPSHOT_CHUNKS_MAX: Final = 65_536
SNAPSHOT_RECORD_BYTES_MAX: Final = 8_388_608
SNAPSHOTS_OFFERED_MAX: Final = 8

# Served by a node.
PROVABLE_HEIGHTS_KEPT: Final = 64
PROVE_KEYS_MAX: Final = 256
HISTORY_ITEMS_MAX: Final = 256
HISTORIES_PER_REPLY_MAX: Final = 256
LOG_LEAVES_MAX: Final = 1_024
HEADERS_PER_REPLY_MAX: Final = 64
PACKETS_PER_REPLY_MAX: Final = 256
SUBMIT_TRANSACTIONS_MAX: Final = 1_000
POOL_TRANSACTIONS_MAX: Final = 20_000
POOL_BYTES_MAX: Final = 67_108_864

# Times, in milliseconds.
TRANSACTION_VALIDITY_MS_MAX: Final = 3_600_000
PACKET_TIMEOUT_MS_MAX: Final = 86_400_000
TIME_PRECISION_MS: Final = 5_000
# Of another chain's header, ahead of who judges it: both clocks and one slow block.
HEADER_AHEAD_MS_MAX: Final = 30_000
PROPOSAL_EXPIRY_MS_MAX: Final = 604_800_000
# Three of the longest heartbeats: on an idle chain the newest block may be one old.
JOIN_PROOF_AGE_MS_MAX: Final = 1_800_000

# Decimals.
DECIMAL_COEFFICIENT_BYTES_MAX: Final = 16
DECIMAL_EXPONENT_MAX: Final = 18
U64_MAX: Final = 2**64 - 1
