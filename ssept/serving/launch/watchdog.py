"""The watchdog of a server: it starts the server, and stops all of it when its owner ends.

A program of its own, in a session of its own, so that it outlives an owner that was killed. It
reads a JSON object, one line, from standard input (others may see arguments, and the variables may
be secret):

    command, variables: what to start, and its environment variables
    log: the file for its output
    owner: the id of the process that the server ends with
    shared_memory: a prefix of names in /dev/shm that are the server's; or null
    folder: the server's own, deleted with it; or null
    place: the folder to start it in; null for the current one
    umask: the permission bits that its files must not have; -1 for this process's umask
    afterwards: commands to run when the server has ended

It writes the server's process id and later how that process ended, a line each, as `subprocess`
gives it, to standard output. It stops the server at the end of standard input.
"""

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

PR_SET_CHILD_SUBREAPER = 36  # of linux/prctl.h
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108
MARK = ".made-by-ssept"  # of ssept.files.owned, which this program cannot import
STOP_SECONDS = 15  # the server takes 4 to 5 of them


def main() -> None:
    """Run the server that standard input describes."""
    request = json.loads(sys.stdin.readline())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and by that through `finally`
    # What the server's own processes leave behind becomes this one's to wait for.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    owner = os.pidfd_open(request["owner"])
    with Path(request["log"]).open("wb") as log:
        server = subprocess.Popen(  # noqa: S603
            request["command"],
            env=request["variables"],
            cwd=request["place"],
            umask=request["umask"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _say(server.pid)
        poll = select.poll()
        for end in (owner, os.pidfd_open(server.pid), sys.stdin.fileno()):
            poll.register(end, select.POLLIN)
        if os.getppid() == request["owner"]:  # else it was gone before it could be watched
            poll.poll()
        ended_by_itself = server.poll() is not None
    finally:
        _stop(server)
        _clear(request)
    if ended_by_itself:
        _say(server.returncode)


def _say(number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # there may be nobody left to read it
        print(number, flush=True)


def _stop(server: "subprocess.Popen[bytes]") -> None:
    """End the server, and wait for every process that it started."""
    if server.poll() is None:
        server.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):  # its stubs are of its process group
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


def _clear(request: dict[str, Any]) -> None:
    """Delete what the server leaves when it is killed."""
    for command in request["afterwards"]:
        subprocess.run(command, capture_output=True, check=False)  # noqa: S603
    if request["shared_memory"]:
        for left in SHARED_MEMORY.glob(f"{request['shared_memory']}*"):
            left.unlink(missing_ok=True)
    if request["folder"] and (Path(request["folder"]) / MARK).is_file():
        shutil.rmtree(request["folder"], ignore_errors=True)


if __name__ == "__main__":
    main()
