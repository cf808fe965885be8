"""What is true: bytes, blocks, state and rules. Pure: no clock, socket, randomness or asyncio.

Read in this order; each file imports only those before it:
limits, errors, codec, hashes, merkle, tree_proof, pages, tree, decimals, gs1_keys, gs1_urns, identifiers, kv, leveldb, block, vouched, overlay, state, starts, ranges,
history, event_fields, event_values, roots, event, plain_event, context, genesis, members, grants, joining, governance, recovery, recording, delegations, manifest, containers, intervals, lots,
custody, memberships, attestations, policies, commissioning, inbound, shipping, packing, transformation, notes, undoing, corrections, capture, operations,
execute, rows, page_rows, durable_tree, boundaries, store, view, admission, snapshot, snapshot_load,
snapshots, application.
"""
