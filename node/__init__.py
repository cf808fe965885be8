"""Processes: what puts the pure parts to work on a disk, a clock and a network.

Read in this order; each file imports only those before it:
config, certificates, journal_file, pool, chain_host, peers, driver, services, server, relay, testnet_layout,
testnet, cli.
"""
