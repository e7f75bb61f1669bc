"""The moves of a job's life, one guarded statement each.

Functions take a Session first; the caller owns the transaction. A statement names the state that it expects and, where
an attempt is at stake, the attempt's number (the fencing token); what it returns is what really happened. Two moves
that meet on PostgreSQL may deadlock: the database then aborts one of them, which is a Transient like any other.

    leases      what a worker does: claim, extend, release, settle
    queueing    what the dispatcher does: queue, unqueue, extend_deadlines, reclaim_expired
    takeovers   what the dispatcher does with jobs whose result is here: take_over
    changes     what a person does with one job: add_job, replace_job, cancel_job, retry_job
    long_moves  what a person asks of many jobs: cancel_batch, retry_failures, run_again
    attempts    the record of how attempts ended, append-only
    tallies     how many jobs stand where, and why some failed

Four moves resemble each other:

| function | called by | when | from | to | a fault? |
|---|---|---|---|---|---|
| `leases.release` | a worker | it stops before it has begun these jobs | running | ready | no |
| `queueing.unqueue` | the dispatcher | their message was lost or not sent | queued | ready | no |
| `queueing.extend_deadlines` | the dispatcher | their message still waits in the broker | queued | queued | no |
| `queueing.reclaim_expired` | the dispatcher | their worker's lease ran out | running | ready, quarantined | yes |
"""
