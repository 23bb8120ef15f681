"""Handles of worker processes, for their parent: requests, answers with time limits, the end."""

import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ssept.children import command, last_words
from ssept.decide.gate.sides.side import Side
from ssept.errors import GateError, one_line
from ssept.measure.machine import bind

WORKER = Path(__file__).with_name("program.py")
END_SECONDS = 10.0
READ_BYTES = 1 << 16
LONGEST = 600  # characters of a worker's error


class WorkerError(GateError):
    """A worker could not do what it was asked; the message names the side and says why."""


class WorkerHandle:
    """One side's process; a context manager, at whose end the process is gone."""

    def __init__(self, role: str, side: Side) -> None:
        """Start it.

        Args:
            role: "base" or "head", for messages.
            side: what it measures.
        """
        self.role, self.side = role, side
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._pending = b""
        self._process = subprocess.Popen(  # noqa: S603 - the side's own Python
            command(WORKER, python=side.python),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=side.environment(),
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for the parent, which ends its workers
        )
        assert self._process.stdin
        assert self._process.stdout
        self._requests, self._answers = self._process.stdin, self._process.stdout

    def __enter__(self) -> "WorkerHandle":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for file in (self._requests, self._answers, self._errors):
            file.close()

    def pin(self, cpus: set[int]) -> None:
        """Let all the threads that it has by now run on these CPUs only, where the system can.

        Raises:
            WorkerError: the worker died.
        """
        try:
            for thread in Path(f"/proc/{self._process.pid}/task").iterdir():
                bind(int(thread.name), cpus)
        except FileNotFoundError as error:
            raise WorkerError(f"{self.role}: {self._ending()}") from error

    def ask(self, do: str, seconds: float, **request: Any) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Args:
            do: the kind of request, a method of the worker's.
            seconds: the longest wait.
            request: its arguments, plain JSON values.

        Raises:
            WorkerError: the worker refused, died, or did not answer in time.
        """
        self.send(do, **request)
        return self.receive(seconds)

    def send(self, do: str, **request: Any) -> None:
        """Send a request, to `receive` its answer later."""
        line = json.dumps({"do": do, **request}) + "\n"
        try:
            self._requests.write(line.encode())
        except BrokenPipeError as error:
            raise WorkerError(f"{self.role}: {self._ending()}") from error

    def receive(self, seconds: float) -> dict[str, Any]:
        """Wait for the answer to the oldest open request; raises as `ask` does."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self._pending:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._answers], [], [], left)[0]:
                raise WorkerError(f"{self.role}: its worker gave no answer within {seconds:g} s")
            read = os.read(self._answers.fileno(), READ_BYTES)
            if not read:
                raise WorkerError(f"{self.role}: {self._ending()}")
            self._pending += read
        line, _, self._pending = self._pending.partition(b"\n")
        try:
            answer: dict[str, Any] = json.loads(line)
            error = answer.get("error")
        except (ValueError, AttributeError) as wrong:
            raise WorkerError(f"{self.role}: its worker's answer is not a JSON object") from wrong
        if error:
            raise WorkerError(f"{self.role}: {one_line(error, LONGEST)}")
        return answer

    def _ending(self) -> str:
        """Say how the process ended, with its last line on standard error."""
        try:
            code = self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            return "its worker closed its output, but still runs"
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - READ_BYTES))
        said = self._errors.read().decode(errors="replace").strip()
        return f"its worker {how}" + (f": {last_words(said, lines=1)}" if said else "")


class WorkerPair:
    """Fresh worker processes of both sides; a context manager."""

    def __init__(self, sides: Mapping[str, Side]) -> None:
        """Start them in the order of `sides`, by role."""
        self.workers: dict[str, WorkerHandle] = {}
        try:
            for role, side in sides.items():
                self.workers[role] = WorkerHandle(role, side)
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> "WorkerPair":
        return self

    def __exit__(self, *_: object) -> None:
        with ExitStack() as stack:  # each ends, whatever becomes of the other
            for worker in self.workers.values():
                stack.push(worker)

    def ask_both(
        self, do: str, seconds: float, requests: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, dict[str, Any] | WorkerError]:
        """Ask both at once; each role's answer, or why there is none.

        Args:
            do: the kind of request.
            seconds: the longest wait for each.
            requests: its arguments, by role.
        """
        answers: dict[str, dict[str, Any] | WorkerError] = {}
        for role, request in requests.items():
            try:
                self.workers[role].send(do, **request)
            except WorkerError as error:
                answers[role] = error
        for role in requests.keys() - answers.keys():
            try:
                answers[role] = self.workers[role].receive(seconds)
            except WorkerError as error:
                answers[role] = error
        return {role: answers[role] for role in requests}
