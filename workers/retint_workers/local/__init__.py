"""Restoration without a server: `retint restore`, `retint preview` and `retint render`."""
