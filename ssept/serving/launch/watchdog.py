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

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # of linux/prctl.h
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108
MARK = ".made-by-ssept"  # of ssept.files.owned, which this program cannot import
STOP_SECONDS = 15  # the server takes 4 to 5 of them
LOOK_MS = 200  # where the system gives no file descriptors of processes


def main() -> None:
    """Run the server that standard input describes."""
    request = json.loads(sys.stdin.readline())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and by that through `finally`
    # What the server's own processes leave behind becomes this one's to wait for.
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
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
            # If this process is killed, it cannot stop the server. It has one thread alone.
            preexec_fn=lambda: prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0),
        )
    try:
        _say(server.pid)
        _wait(server, request["owner"])
        ended_by_itself = server.poll() is not None
    finally:
        _stop(server)
        clear(request)
    if ended_by_itself:
        _say(server.returncode)


def _wait(server: "subprocess.Popen[bytes]", owner: int) -> None:
    """Return when the server or its owner has ended, or standard input has."""
    poll = select.poll()
    poll.register(sys.stdin, select.POLLIN)
    pause = None
    try:
        for pid in (owner, server.pid):
            poll.register(os.pidfd_open(pid), select.POLLIN)
    except OSError:  # a sandbox refuses it, or the process is gone
        pause = LOOK_MS
    while os.getppid() == owner and server.poll() is None and not poll.poll(pause):
        pass


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


def clear(request: dict[str, Any]) -> None:
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
