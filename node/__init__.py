"""Processes: what puts the pure parts to work on a disk, a clock and a network.

Read in this order; each file imports only those before it:
config, logs, certificates, journal_file, signer, pool, kept_views, chain_host, outcomes, verifying_process, verifier, recovery, stored_answers,
open_files, tls_port, calls, peer_outbox, peer_line, peers, snapshot_files, snapshots, snapshot_fetch, state_sync, admission,
inbox, fault_reports, peer_clocks, block_size, blocks_ahead, driver, join_proof, node_status, machine_checks, services, health, stages, server,
header_watch, relay_table, relay_metrics, relay_watch, relay, testnet_plan, testnet_layout, processes, pairing, testnet, sign_state_report, cli_node,
cli_recover, cli_relay, cli_testnet, cli.
"""
