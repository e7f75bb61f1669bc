"""The dispatcher: fair turns, in-flight windows, bundles of ready jobs, expired leases, the sweep of orphans."""
