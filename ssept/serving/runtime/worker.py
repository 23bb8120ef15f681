"""A worker: one of the server processes that the supervisor starts.

`python -m ssept.serving.runtime.worker LISTENER STARTED PARENT MEMORY PLACE WORKERS ACCESS_LOG`:
the first four are inherited file descriptors. The worker writes to STARTED when it answers, and
shuts down at the end of PARENT.
"""

import os
import signal
import socket
import sys
import threading
from typing import IO

from ssept.errors import SseptError
from ssept.serving.core.worker_memory import WorkerMemory
from ssept.serving.runtime.open_connections import shared_bytes
from ssept.serving.runtime.uvicorn_server import serve
from ssept.serving.settings import from_environment


def main() -> int:
    """Run a worker as the arguments describe it."""
    listener, ready, parent, memory, place, workers, access_log = map(int, sys.argv[1:])
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to reload
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    try:
        settings = from_environment()
        shared = WorkerMemory(shared_bytes(settings), place, workers, memory)
        with socket.socket(fileno=listener) as one, os.fdopen(ready, "wb", 0) as parents:
            serve(one, settings, bool(access_log), lambda _: _report(parents), shared)
    except SseptError as error:
        print(f"ssept: error: {error}", file=sys.stderr)
        return 1
    return 0


def _end_with(parent: int) -> None:
    """Stop this worker when its parent has ended: one that is killed cannot stop its workers."""
    os.read(parent, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def _report(parent: IO[bytes]) -> None:
    parent.write(b"1")


if __name__ == "__main__":
    sys.exit(main())
