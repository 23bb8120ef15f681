"""Run a program whose system calls are refused, as by a container's seccomp profile.

python refusing.py CALL=ERRNO[,CALL=ERRNO …] PROGRAM ARGUMENT …
"""

import ctypes
import errno
import os
import platform
import struct
import sys

NUMBERS = {
    "x86_64": (0xC000003E, {"sched_setaffinity": 203, "pidfd_open": 434, "perf_event_open": 298}),
    "aarch64": (0xC00000B7, {"sched_setaffinity": 122, "pidfd_open": 434, "perf_event_open": 241}),
}
# Of linux/bpf_common.h, linux/seccomp.h and linux/prctl.h.
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050000
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, MODE_FILTER = 38, 22, 2


class Program(ctypes.Structure):
    """`struct sock_fprog`: instructions of 8 bytes each."""

    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def refuse(call: str, error: int) -> None:
    """Let a system call fail, in this process and all that it starts."""
    architecture, numbers = NUMBERS[platform.machine()]
    lines = [
        (LOAD, 0, 0, 4),
        (JUMP_IF_EQUAL, 0, 3, architecture),
        (LOAD, 0, 0, 0),
        (JUMP_IF_EQUAL, 0, 1, numbers[call]),
        (RETURN, 0, 0, REFUSE | error),
        (RETURN, 0, 0, ALLOW),
    ]
    code = b"".join(struct.pack("HBBI", *line) for line in lines)
    libc = ctypes.CDLL(None, use_errno=True)
    program = Program(len(lines), code)
    for arguments in (
        (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (PR_SET_SECCOMP, MODE_FILTER, ctypes.byref(program), 0, 0),
    ):
        if libc.prctl(*arguments):
            raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    for what in sys.argv[1].split(","):
        name, _, number = what.partition("=")
        refuse(name, getattr(errno, number))
    os.execvp(sys.argv[2], sys.argv[2:])
