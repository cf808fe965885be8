"""The bridge as it is, driven by chance and by exhaustion: chains without consensus and storage, a relayer that does what
it likes, chains that forge, and a naive oracle that knows only where things are.

    chain     one chain in memory: the product's execution, tree, headers and proofs; signatures cheap
    places    the oracle: where everything is, and how much of it, by what was answered; it knows no rule
    world     chains with their clients, and all that may be done to them, step by step
    walk      one seeded run of random steps, and the way to rest after it
    search    every sequence of steps within small bounds
"""
