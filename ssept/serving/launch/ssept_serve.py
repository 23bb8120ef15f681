"""`ssept serve` as a process of its own, for the time of a block: for fixtures and tests."""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ssept.children import command
from ssept.serving.launch.supervised import ADDRESS, DIRECT, HTTP_SECONDS, Kept
from ssept.serving.settings import Settings, to_environment

START_SECONDS = 120  # models may have to be built first
STARTED = re.compile(r"^ssept: .* at http://[^\s,]*:(\d+),", re.MULTILINE)


class Server(Kept):
    """A running server.

    Attributes:
        pid: of its process; of the one that looks after the others where there are several.
        port: where it listens, on 127.0.0.1; known once it is ready.
        log: the file that it writes.
    """

    port: int = 0

    def __init__(self, settings: Settings, arguments: Sequence[str], log: Path) -> None:
        """Start it, with more arguments of `ssept serve`."""
        program = command("ssept.cli", "serve", f"--host={ADDRESS}", *arguments)
        variables = os.environ | to_environment(settings)
        super().__init__("ssept serve", program, variables, log)

    @property
    def http(self) -> str:
        """Host and port, as tritonclient and perf_analyzer want it."""
        return f"{ADDRESS}:{self.port}"

    @property
    def url(self) -> str:
        """What the addresses of all its paths begin with, without a slash at the end."""
        return f"http://{self.http}"

    def _is_ready(self) -> bool:
        if not self.port:
            said = STARTED.search(self.log.read_text(encoding="utf-8", errors="replace"))
            if said is None:
                return False
            self.port = int(said[1])
        try:
            with DIRECT.open(f"{self.url}/health/ready", timeout=HTTP_SECONDS):
                return True
        except OSError:
            return False


@contextlib.contextmanager
def running(
    settings: Settings,
    log: Path,
    port: int = 0,
    workers: int = 1,
    start_seconds: float = START_SECONDS,
) -> Iterator[Server]:
    """A server, ready, for the time of the block; it ends with this process, however that ends.

    Args:
        settings: what it serves, and how.
        log: the file for what it says; it stays.
        port: where it listens on 127.0.0.1; 0 for one that is free.
        workers: how many processes answer.
        start_seconds: how long it may take to be ready.

    Raises:
        ServerError: it does not get ready; with the last lines of its log.
    """
    server = Server(settings, [f"--port={port}", f"--workers={workers}"], log)
    try:
        server.wait_until_ready(start_seconds)
        yield server
    finally:
        server.stop()
