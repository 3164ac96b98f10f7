"""The filter of system calls for code that a model wrote, as `bwrap --seccomp` reads it: a classic BPF program.

Refuses what a function of plain Python never needs and what the other walls do not cover: sockets, memory that counts
for no process (System V segments, memory files), tracing, the kernel's key rings, namespaces and mounts, and
interfaces of the kernel with many past defects. A call of another architecture ends the process. Knows x86-64 and
aarch64; anything else is refused with UnknownArchitectureError.
"""

import errno
import struct

_KILL_PROCESS, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4  # in struct seccomp_data
_X32 = 0x40000000  # calls of the x32 ABI start here; they are the same calls under other numbers
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# name -> number on x86-64, on aarch64 (None: no such call there)
REFUSED: dict[str, tuple[int, int | None]] = {
    "socket": (41, 198),
    "socketpair": (53, 199),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsmount": (432, 432),
    "mount_setattr": (442, 442),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "modify_ldt": (154, None),
}


class UnknownArchitectureError(Exception):
    """The numbers of the calls of a machine are not known here."""


def filter_program(machine: str) -> bytes:
    """Give the program for `platform.machine()`."""
    if machine not in _ARCHITECTURES:
        known = ", ".join(_ARCHITECTURES)
        raise UnknownArchitectureError(f"no filter of system calls is known for {machine}, only for {known}")
    x86 = machine == "x86_64"
    numbers = [number for pair in REFUSED.values() if (number := pair[0 if x86 else 1]) is not None]
    start = [
        _instruction(_LOAD, _ARCHITECTURE_AT),
        _instruction(_EQUAL, _ARCHITECTURES[machine], if_true=1),
        _instruction(_RETURN, _KILL_PROCESS),
        _instruction(_LOAD, _NUMBER_AT),
    ]
    jumps = [(_AT_LEAST, _X32)] if x86 else []
    jumps += [(_EQUAL, number) for number in numbers]
    # Each jump leads to the refusal, which stands after the remaining jumps and the permission.
    tests = [_instruction(code, value, if_true=len(jumps) - place) for place, (code, value) in enumerate(jumps)]
    end = [_instruction(_RETURN, _ALLOW), _instruction(_RETURN, _ERRNO | errno.EPERM)]
    return b"".join(start + tests + end)


def _instruction(code: int, value: int, *, if_true: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, 0, value)
