"""The dispatcher: bundles of ready jobs, fair turns, expired leases, orphaned files."""
