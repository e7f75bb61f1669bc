"""Cards of the networks, and reading, verifying and importing of weights files."""
