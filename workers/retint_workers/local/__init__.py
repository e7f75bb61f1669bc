"""Restoring without a server: `retint restore` and `retint preview`."""
