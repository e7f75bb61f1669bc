"""The C library, for calls to the kernel that Python has no name for."""

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def describe_error() -> str:
    """Return the system's words for the last call that failed."""
    return os.strerror(ctypes.get_errno())
