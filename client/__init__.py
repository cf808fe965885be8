"""The other side of the API: keys, connections, verification, audits, the command line.

Read in this order; each file imports only those before it:
clock, keys, trust, connection, verified, audit, audit_report, submit.
"""
