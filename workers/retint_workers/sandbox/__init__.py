"""Child processes with limits, for functions that open foreign files.

children      the parent's side: run_in_child, iterate_in_child, run_in_own_child
messages      how values come back: typed, without pickle
access        which files a child may reach, and how much memory and disk it may use
forkserver    the process that children are forked from: it has no secrets, and all modules loaded
serving       the child's side
confinement   what a child may not do: limits, Landlock, a filter of system calls; `landlock` and `seccomp`
"""
