"""What a process that opens foreign files may not do: it confines itself, and cannot go back.

What the kernel does not offer, a process goes without; `retint doctor` says what is active.
"""

import ctypes
import os
import resource
import signal
import site
import struct
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import retint
import retint_models
import retint_workers
from retint_workers.sandbox import landlock, seccomp
from retint_workers.sandbox.access import Access
from retint_workers.sandbox.kernel import libc

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 4, 38
CLONE_NEWNET = 0x40000000
CAPSET = {"x86_64": 126, "aarch64": 91}
CAPABILITIES_VERSION = 0x20080522
FILE_CAPABILITIES = 0b110
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: root opens files that belong to others. Landlock says which."""
MOST_FILES = 256
"""Most files that a child has open at once."""
MAPPED_MIB = 65536
"""Addresses for more than memory: code, stacks, and files that are mapped."""
SYSTEM_PATHS = (
    "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/etc/fonts",
    "/dev/null", "/dev/zero", "/dev/urandom", "/dev/random",
    "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/cpu",
)  # fmt: skip
"""What libraries read besides Python's own files. Not /proc: there are the secrets of other processes."""

_granted_bytes: int | None = None


@dataclass(frozen=True)
class Confinement:
    """What is active in a process.

    Attributes:
        landlock: version of Landlock; 0 without.
        has_filter: whether system calls are filtered.
    """

    landlock: int
    has_filter: bool

    def describe(self) -> str:
        """Say it in plain words."""
        active = ["no secrets", "limits of memory, time and file size"]
        missing: list[str] = []
        (active if self.has_filter or self.landlock >= 4 else missing).append("no network")
        (active if self.landlock else missing).append("files by Landlock")
        (active if self.has_filter else missing).append("a filter of system calls")
        text = ", ".join(active)
        return f"{text}; this kernel does not offer: {', '.join(missing)}" if missing else text


def confine(access: Access) -> Confinement:
    """Confine this process, whose only thread this is.

    Raises:
        OSError: the kernel offers something and then refuses it.
    """
    global _granted_bytes
    for kind, limit in _list_limits(access):
        resource.setrlimit(kind, (limit, limit))
    _granted_bytes = None if access.memory_mib is None else access.memory_mib << 20
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    readable = [Path(path) for path in (*SYSTEM_PATHS, *_list_python_paths())]
    version = landlock.restrict([*readable, *(path for path, *_ in access.readable)], access.folders)
    _drop_capabilities()
    return Confinement(version, seccomp.apply())


def used_bytes() -> int:
    """Return how much memory of its own this process has in use, as `RLIMIT_DATA` counts it."""
    used = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData"))
    return int(used.split()[1]) * 1024


def granted_bytes() -> int | None:
    """Return how much memory this process got for its work when it was confined; None where nothing limits it.

    What its libraries had taken before comes on top, so that a file may need as much after any other work.
    """
    return _granted_bytes


def die_with_parent() -> None:
    """End this process when the one that forked it ends."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def leave_network() -> None:
    """Leave the machine's networks, where this process has the right to; the filter of system calls is another wall."""
    libc.unshare(CLONE_NEWNET)


def _list_limits(access: Access) -> Iterator[tuple[int, int]]:
    yield resource.RLIMIT_CORE, 0
    yield resource.RLIMIT_NOFILE, MOST_FILES
    if access.memory_mib is not None:
        yield resource.RLIMIT_DATA, used_bytes() + (access.memory_mib << 20)
        yield resource.RLIMIT_AS, _measure_addresses() + ((access.memory_mib + MAPPED_MIB) << 20)
    if access.file_bytes is not None:
        yield resource.RLIMIT_FSIZE, access.file_bytes


def _measure_addresses() -> int:
    """Return the bytes of addresses that this process has in use."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _list_python_paths() -> list[str]:
    """List the folders of Python, its packages and Retint's."""
    packages = [str(Path(package.__path__[0]).parent) for package in (retint, retint_models, retint_workers)]
    named = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return [sys.prefix, sys.base_prefix, *named, *packages, *site.getsitepackages()]


def _drop_capabilities() -> None:
    """Give up what root may do, but for opening files."""
    if os.geteuid() != 0 or os.uname().machine not in CAPSET:
        return
    header = struct.pack("=Ii", CAPABILITIES_VERSION, 0)
    held = _read_capabilities() & FILE_CAPABILITIES
    sets = struct.pack("=6I", held, held, 0, 0, 0, 0)
    if libc.syscall(CAPSET[os.uname().machine], header, sets) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _read_capabilities() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith("CapPrm:"))
