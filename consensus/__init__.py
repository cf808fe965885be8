"""Who agreed: Simplex, one height at a time. A pure state machine; time comes in as a number.

Read in this order; each file imports only those before it:
quorum, messages, certificate, effects, schedule, presence, tally, safety, journal, bodies, proposals, outbox, early,
voter, height, repair, patience, boundaries, catchup, body_fetch, sync, answers, evidence, engine.
"""
