"""Confines this process and says what is active: for `retint doctor`, which cannot undo it."""

from retint.settings import Settings
from retint_workers.sandbox.access import Access
from retint_workers.sandbox.confinement import confine

if __name__ == "__main__":
    print(confine(Access(memory_mib=Settings().child_memory_mib)).describe())  # noqa: T201
