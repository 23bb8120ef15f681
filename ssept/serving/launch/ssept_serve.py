"""`ssept serve` as a process of its own, for the time of a block: for fixtures and tests."""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ssept.children import command
from ssept.serving.launch.supervised import ADDRESS, DIRECT, HTTP_SECONDS, HttpServerProcess
from ssept.serving.settings import ServerSettings, to_environment

START_SECONDS = 120  # models may have to be built first


class SseptServer(HttpServerProcess):
    """A running `ssept serve`; with several workers, `pid` is that of their supervisor."""

    STARTED = re.compile(r"^ssept: .* at http://[^\s,]*:(\d+),", re.MULTILINE)

    def __init__(self, settings: ServerSettings, arguments: Sequence[str], log: Path) -> None:
        """Start it, with more arguments of `ssept serve`."""
        program = command("ssept.cli", "serve", f"--host={ADDRESS}", *arguments)
        variables = os.environ | to_environment(settings)
        super().__init__("ssept serve", program, variables, log)

    def _is_ready(self) -> bool:
        if not super()._is_ready():
            return False
        try:
            with DIRECT.open(f"{self.url}/health/ready", timeout=HTTP_SECONDS):
                return True
        except OSError:
            return False


@contextlib.contextmanager
def running(
    settings: ServerSettings,
    log: Path,
    port: int = 0,
    workers: int = 1,
    start_seconds: float = START_SECONDS,
) -> Iterator[SseptServer]:
    """Run a server for the time of the block; it also stops if this process is killed.

    Args:
        settings: what it serves, and how.
        log: the file for what it says; it stays.
        port: where it listens on 127.0.0.1; 0 for one that is free.
        workers: how many processes answer.
        start_seconds: how long it may take to be ready.

    Raises:
        ServerError: it does not get ready; with the last lines of its log.
    """
    server = SseptServer(settings, [f"--port={port}", f"--workers={workers}"], log)
    with server.ready_within(start_seconds):
        yield server
