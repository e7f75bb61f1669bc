"""A filter of system calls: what no function that opens files ever needs is answered with "not permitted".

Source: the kernel's Documentation/userspace-api/seccomp_filter.rst and include/uapi/linux/{seccomp,filter,audit}.h;
numbers of system calls from asm/unistd.h. The filter is a program of the classic BPF that reads `struct seccomp_data`:
the call's number at 0, the architecture at 4, the low halves of the first and the fourth argument at 16 and 40.
"""

import ctypes
import errno
import os
import platform
import struct

from retint_workers.sandbox.kernel import libc

# fmt: off
REFUSED: dict[str, tuple[int | None, int | None]] = {
    # Other processes and new programs.
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "process_madvise": (440, 440),
    "kcmp": (312, 272), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424),
    "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # Networks.
    "socket": (41, 198), "socketpair": (53, 199), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    # The kernel, the machine, its file systems and its keys.
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fspick": (433, 433), "mount_setattr": (442, 442), "unshare": (272, 97), "setns": (308, 268),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "fanotify_init": (300, 262),
    "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104), "kexec_file_load": (320, 294),
    "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225), "iopl": (172, None), "ioperm": (173, None),
    "acct": (163, 89), "quotactl": (179, 60), "quotactl_fd": (443, 443), "sethostname": (170, 161),
    "setdomainname": (171, 162), "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171),
    "clock_adjtime": (305, 266), "syslog": (103, 116), "personality": (135, 92), "modify_ldt": (154, None),
    # Links and special files, and properties of files, which Landlock does not watch.
    "symlink": (88, None), "symlinkat": (266, 36), "link": (86, None), "linkat": (265, 37), "mknod": (133, None),
    "mknodat": (259, 33), "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "setxattr": (188, 5),
    "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15),
    "fremovexattr": (199, 16), "setxattrat": (463, 463), "removexattrat": (466, 466), "utime": (132, None),
    "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
    # Memory that the limits do not count.
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "msgget": (68, 186),
    "semget": (64, 190), "mq_open": (240, 180),
}
# fmt: on
"""Calls that are refused: the number on x86_64, and on aarch64 (None: there is no such call)."""
CLONE, CLONE3, OWN_SIGNALS, LIMITS, MMAP = (56, 220), (435, 435), ((62, 129), (234, 131)), (302, 261), (9, 222)
"""Calls that are refused in part: clone but for threads; clone3, whose arguments a filter cannot read, as if the kernel
did not have it; kill and tgkill but to the process itself; prlimit64 but on the process itself; mmap of memory that is
shared and no file's, which RLIMIT_DATA does not count."""
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Column of a machine in these tables, and its AUDIT_ARCH."""
X32 = 0x40000000
"""Bit of the numbers of x86_64's second table of calls."""
CLONE_THREAD = 0x00010000
SHARED_MEMORY = 0x21
"""MAP_SHARED and MAP_ANONYMOUS."""
PR_SET_SECCOMP, MODE_FILTER = 22, 2
LOAD, AND, JUMP_EQUAL, JUMP_GREATER_EQUAL, JUMP_ANY_BIT, RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
NUMBER_AT, ARCHITECTURE_AT, ARGUMENT_AT, FOURTH_ARGUMENT_AT = 0, 4, 16, 40

Instruction = tuple[int, int, int, int]
"""Code, instructions to skip where a test holds, and where it does not, constant."""


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def apply() -> bool:
    """Filter the system calls of this process from now on; return whether that is possible here.

    The process must not be able to gain privileges (PR_SET_NO_NEW_PRIVS).
    """
    if platform.machine() not in MACHINES:
        return False
    column, architecture = MACHINES[platform.machine()]
    instructions = make_program(column, architecture, os.getpid())
    packed = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
    program = _Program(len(instructions), packed)
    return bool(libc.prctl(PR_SET_SECCOMP, MODE_FILTER, ctypes.byref(program), 0, 0) == 0)


def make_program(column: int, architecture: int, process_id: int) -> list[Instruction]:
    """Make the filter of one process on one kind of machine."""
    refuse = (RETURN, 0, 0, ERRNO | errno.EPERM)
    program: list[Instruction] = [
        (LOAD, 0, 0, ARCHITECTURE_AT),
        (JUMP_EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER_AT),
        (JUMP_GREATER_EQUAL, 0, 1, X32),
        refuse,
        (JUMP_EQUAL, 0, 1, CLONE3[column]),
        (RETURN, 0, 0, ERRNO | errno.ENOSYS),
        *_refuse_unless((JUMP_ANY_BIT, CLONE_THREAD), CLONE[column]),
    ]
    for call in OWN_SIGNALS:
        program += _refuse_unless((JUMP_EQUAL, process_id), call[column])
    program += [
        (JUMP_EQUAL, 0, 5, LIMITS[column]),
        (LOAD, 0, 0, ARGUMENT_AT),
        (JUMP_EQUAL, 2, 0, 0),
        (JUMP_EQUAL, 1, 0, process_id),
        refuse,
        (RETURN, 0, 0, ALLOW),
        (JUMP_EQUAL, 0, 5, MMAP[column]),
        (LOAD, 0, 0, FOURTH_ARGUMENT_AT),
        (AND, 0, 0, SHARED_MEMORY),
        (JUMP_EQUAL, 0, 1, SHARED_MEMORY),
        (RETURN, 0, 0, ERRNO | errno.ENOMEM),
        (RETURN, 0, 0, ALLOW),
    ]
    numbers = [numbers[column] for numbers in REFUSED.values() if numbers[column] is not None]
    # Each test jumps over the tests behind it and over the instruction that allows.
    program += [(JUMP_EQUAL, len(numbers) - place, 0, number or 0) for place, number in enumerate(numbers)]
    return [*program, (RETURN, 0, 0, ALLOW), refuse]


def _refuse_unless(test: tuple[int, int], call: int) -> list[Instruction]:
    """Refuse a call unless its first argument passes a test: a code and the constant that it compares with."""
    code, constant = test
    return [
        (JUMP_EQUAL, 0, 4, call),
        (LOAD, 0, 0, ARGUMENT_AT),
        (code, 1, 0, constant),
        (RETURN, 0, 0, ERRNO | errno.EPERM),
        (RETURN, 0, 0, ALLOW),
    ]
