"""What another chain may believe: light clients, packets, custody over chains. Pure rules and one pure planner.

Read in this order; each file imports only those before it:
packet, snapshot_tables, light_client, recovered, anchor, client_step, clients, whereabouts, proofs, sending, attest_port, serial_lots, senders, contents, transfer,
amounts, amount_transfer, rehoming, custody_transfer, arrivals, following, handlers, machine, relayer_plan, relayer_outbox.
"""
