"""Subcommands of `retint` for networks: train, evaluate, weights, networks."""
