"""The other side of the API: keys, connections, verification, audits, the command line.

Read in this order; each file imports only those before it:
epcis_json, epcis_vocabulary, epcis_findings, epcis_context, epcis_shapes, epcis_check, epcis_hash_values, epcis_hash,
epcis_hash_document, epcis_normalise, epcis_read, epcis_write, epcis_grants,
clock, keys, trust, connection, log_proofs, records, histories, verified, question, anchors, serials, fetching, serial_lists, audit_packets, audit_kinds, audit_steps, audit_report, audit_profile, audit_keys, audit_rights, audit_policies, audit_claims, audit_rehoming, audit_entries, audit_recoveries,
audit_custody, audit_inside, audit_corrections, audit_contents, audit_crossing, audit_chains, locate, audit, passport, passport_making, passport_answers, passport_verify, reach_report,
reach_amounts, reach_paths, reach_walk, reach, reasons, submit,
faults, witness, materialising, following, relay_end, relay_route, bridge_status, bridge_trace, capture, governance_file, governance, founding, consents, recovery_files, recovery_check, session, console, tree_view, cli_epcis,
cli_parts, cli_crossing, cli_events, cli_rights, cli_lots, cli_govern, cli_found, cli_lost, cli_claims, cli_recover, cli_audit, cli_passport, cli_recall, cli_chain, cli_bridge_forks,
cli_bridge.
"""
