"""Who agreed: Simplex, one height at a time. A pure state machine; time comes in as a number.

Read in this order; each file imports only those before it:
quorum, messages, certificate, effects, schedule, safety, journal, tally, evidence, catchup, engine.
"""
