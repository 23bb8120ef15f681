"""A supervised server process: started, checked and stopped from this process."""

import contextlib
import functools
import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import psutil

from ssept.children import isolated
from ssept.errors import ServerError
from ssept.serving.launch import watchdog

WATCHDOG = Path(watchdog.__file__)
ADDRESS = "127.0.0.1"
POLL_SECONDS = 0.05
HTTP_SECONDS = 5
SHOWN_LINES = 6
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # without a proxy


class SupervisedProcess(ABC):
    """A running server, with a watchdog that stops it even if this process is killed.

    Attributes:
        pid: of the server's process.
        log: the file that it writes.
    """

    def __init__(
        self,
        program: str,
        command: Sequence[str],
        variables: Mapping[str, str],
        log: Path,
        *,
        shared_memory: str | None = None,
        folder: Path | None = None,
        place: Path | None = None,
        umask: int = -1,
        afterwards: Sequence[Sequence[str]] = (),
    ) -> None:
        """Start it.

        Args:
            program: its name, for messages.
            command, variables: what to start, and its environment variables.
            log: the file for its output; it stays.
            shared_memory: a prefix of names in /dev/shm that are the server's.
            folder: the server's own, deleted with it.
            place: the folder to start it in; None for the current one.
            umask: the permission bits that its files must not have; -1 for this process's umask.
            afterwards: commands to run when the server has ended.

        Raises:
            ServerError: the watchdog does not start.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        self._program = program
        self._request = {
            "command": [*command],
            "variables": {**variables},
            "log": str(log),
            "owner": os.getpid(),
            "shared_memory": shared_memory,
            "folder": str(folder) if folder else None,
            "place": str(place) if place else None,
            "umask": umask,
            "afterwards": [[*words] for words in afterwards],
        }
        self._watchdog = subprocess.Popen(  # noqa: S603
            isolated(WATCHDOG),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._watchdog.stdin is not None
        assert self._watchdog.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it may have failed already
            self._watchdog.stdin.write(json.dumps(self._request) + "\n")
            self._watchdog.stdin.flush()
        pid = self._watchdog.stdout.readline()
        if not pid:
            raise ServerError(f"{program}: its watchdog {WATCHDOG.name} failed, see above")
        self.pid = int(pid)

    def check(self) -> None:
        """Raise an error if the server has ended.

        Raises:
            ServerError: it has ended; with the last lines of its log.
        """
        if self._watchdog.poll() is not None:
            status = self._status
            if not status:
                how = "was stopped, because its watchdog was killed"
            elif status[0] == "-":
                how = f"was ended by signal {status[1:]}"
            else:
                how = f"ended with {status}"
            raise ServerError(f"{self._program}: {how}: {self._reasons()}")

    def wait(self) -> None:
        """Wait until the server ends, which is an error, or until an interruption.

        Raises:
            ServerError: it has ended; with the last lines of its log.
        """
        self._watchdog.wait()
        self.check()

    def wait_until_ready(self, seconds: float) -> None:
        """Wait until it is ready.

        Raises:
            ServerError: it has ended, or is not ready in time; with the last lines of its log.
        """
        end = time.monotonic() + seconds
        while not self._is_ready():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._watchdog.wait(POLL_SECONDS)
            self.check()
            if time.monotonic() > end:
                raise ServerError(
                    f"{self._program}: not ready after {seconds:g} s: {self._reasons()}"
                )

    @contextlib.contextmanager
    def ready_within(self, seconds: float) -> Iterator[None]:
        """Wait until the server is ready, and stop it when the block ends.

        Raises:
            ServerError: as `wait_until_ready`.
        """
        try:
            self.wait_until_ready(seconds)
            yield
        finally:
            self.stop()

    def stop(self) -> None:
        """Stop the server; returns when its processes and its files are gone."""
        assert self._watchdog.stdin is not None
        assert self._watchdog.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # what it has not read, if it was killed
            self._watchdog.stdin.close()
        if self._watchdog.wait() < 0:
            self._finish()
        self._watchdog.stdout.close()

    def _finish(self) -> None:
        """Do what a watchdog that was killed has left; the system has told the server to stop."""
        with contextlib.suppress(psutil.Error):
            psutil.Process(self.pid).wait(watchdog.STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        watchdog.clear(self._request)

    @abstractmethod
    def _is_ready(self) -> bool:
        """Return whether this server, and not another one on its port, is ready."""

    def _reasons(self) -> str:
        """Return the lines of the log that explain a failure, and where the log is."""
        lines = self._explaining(self._log_text())
        return "\n".join([*lines, f"(its log: {self.log})"])

    def _log_text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def _explaining(self, log: str) -> list[str]:
        """Return the lines of the log that explain a failure."""
        return log.splitlines()[-SHOWN_LINES:]

    @functools.cached_property
    def _status(self) -> str:
        """Exit status, or minus a signal, that the watchdog reports once."""
        assert self._watchdog.stdout is not None
        return self._watchdog.stdout.readline().strip()


class HttpServerProcess(SupervisedProcess):
    """A server process on a free port of `ADDRESS`, which it writes to its log.

    Attributes:
        STARTED: a pattern for its log; group 1 is the port.
        port: known once the server is ready.
    """

    STARTED: ClassVar[re.Pattern[str]]
    port = 0

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return ADDRESS, self.port

    @property
    def http(self) -> str:
        """Host and port as one text, as tritonclient and perf_analyzer take it."""
        return f"{ADDRESS}:{self.port}"

    @property
    def url(self) -> str:
        """The URL before each path, without a slash at the end."""
        return f"http://{self.http}"

    def _is_ready(self) -> bool:
        if not self.port and (found := self.STARTED.search(self._log_text())):
            self.port = int(found[1])
        return bool(self.port)
