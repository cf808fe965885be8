"""Whole consortia in one thread: virtual time, one seeded generator, faults everywhere, and an oracle that
shares no rule with the engine. A seed and a commit replay a run bit by bit."""
