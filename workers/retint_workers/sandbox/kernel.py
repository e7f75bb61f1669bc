"""The C library, for calls to the kernel that Python has no name for."""

import ctypes

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
