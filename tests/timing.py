"""How long what is prompt may take in a test."""

AT_ONCE_S = 5.0
"""A second is promised, on a machine that does nothing else. Whoever waits for what stalls would wait twice as long."""
