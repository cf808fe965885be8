"""The engine with one of its guards removed: each must be caught by some scenario."""
