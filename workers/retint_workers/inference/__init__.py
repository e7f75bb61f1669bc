"""Loads networks and runs them on proxies: the stages colorize and defade."""
