"""Landlock: a process gives up its right to open files, but for some folders, and to connect over TCP.

Source: the kernel's Documentation/userspace-api/landlock.rst and include/uapi/linux/landlock.h. What a kernel does not
know yet is left out: renames between folders come with version 2, truncation with 3, TCP with 4, devices with 5, the
sockets and signals of other processes with 6.
"""

import ctypes
import os
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from retint_workers.sandbox.kernel import libc

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
GET_VERSION = 1
RULE_PATH_BENEATH = 1
WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << bit for bit in range(1, 6))
MAKE_DIR, MAKE_REG = 1 << 7, 1 << 8
REFER, TRUNCATE = 1 << 13, 1 << 14
FIRST_RIGHTS = (1 << 13) - 1
"""The rights to files that every version knows."""
LATER_RIGHTS = {2: REFER, 3: TRUNCATE, 5: 1 << 15}
READ = READ_FILE | READ_DIR
WRITE = READ | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | REFER | TRUNCATE
OF_FILES = WRITE_FILE | READ_FILE | TRUNCATE
"""The rights that a rule about a single file may name."""
TCP = 0b11
OTHER_PROCESSES = 0b11


def find_version() -> int:
    """Return the version of Landlock that this kernel offers; 0 where there is none."""
    return max(0, int(libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(GET_VERSION))))


def restrict(readable: Iterable[Path], writable: Iterable[Path]) -> int:
    """Let this process open nothing from now on but what lies beneath these files and folders.

    Files that are open already stay so. A path that does not exist is passed over.

    Returns:
        The version of Landlock that does so; 0 where the kernel has none.

    Raises:
        OSError: the kernel has Landlock, and refuses.
    """
    version = find_version()
    if version == 0:
        return 0
    rights = FIRST_RIGHTS
    for since, right in LATER_RIGHTS.items():
        rights |= right if version >= since else 0
    attributes = [rights, *([TCP] if version >= 4 else []), *([OTHER_PROCESSES] if version >= 6 else [])]
    packed = struct.pack(f"={len(attributes)}Q", *attributes)
    ruleset = _call(CREATE_RULESET, packed, ctypes.c_size_t(len(packed)), ctypes.c_uint32(0))
    try:
        for paths, allowed in ((readable, READ), (writable, WRITE)):
            for path in paths:
                with suppress(FileNotFoundError):
                    _add_rule(ruleset, path, allowed & rights)
        _call(RESTRICT_SELF, ruleset, ctypes.c_uint32(0))
    finally:
        os.close(ruleset)
    return version


def _add_rule(ruleset: int, path: Path, rights: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not path.is_dir():
            rights &= OF_FILES
        rule = struct.pack("=Qi", rights, descriptor)
        _call(ADD_RULE, ruleset, RULE_PATH_BENEATH, rule, ctypes.c_uint32(0))
    finally:
        os.close(descriptor)


def _call(*arguments: object) -> int:
    result = int(libc.syscall(*arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"Landlock: {os.strerror(ctypes.get_errno())}")
    return result
