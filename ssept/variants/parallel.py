"""Several variants of a checkpoint, each built in a process of its own, side by side.

Processes and not threads: torch's exporter, `logging` and `warnings` keep global state. Each is
the leader of a process group, and ends with all that it started when this process ends, however
that happens; an unfinished variant is not in the cache.

`python -m ssept.variants.parallel ANSWER` is such a process: it reads a request from standard
input, and writes to the file descriptor ANSWER, which it inherits. `multiprocessing` would start
it with the current folder first in `sys.path`.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path

from ssept.artifacts import Artifact
from ssept.children import command
from ssept.errors import SseptError
from ssept.files import explained
from ssept.variants import VARIANTS, at_hand, build, find

TOLD_EVERY_SECONDS = 1.0

Result = Artifact | SseptError


@dataclass(frozen=True)
class Outcome:
    """How the building of one variant ended.

    Attributes:
        variant: its name.
        result: the artifact, or why there is none; variants that lack the same base share it.
        seconds: how long it was built, start of the process included; None if it was not.
    """

    variant: str
    result: Result
    seconds: float | None = None


def build_all(
    checkpoint: Path,
    variants: Iterable[str],
    data: Path | None = None,
    jobs: int = 1,
    building: Callable[[list[str]], None] = lambda _: None,
    *,
    shipped: bool = True,
) -> Iterator[Outcome]:
    """Build variants of a checkpoint; yield each when ready. A failure stops no other.

    Args:
        checkpoint, data: as for `build`.
        variants: names in VARIANTS; what they are built from is built first.
        jobs: how many to build at the same time; each takes about 0.5 GB of memory.
        building: called every second with those being built.
        shipped: whether files that came with ssept may be taken.

    Raises:
        SseptError: no such variant, or `jobs` is less than 1.
        CheckpointError: the checkpoint cannot be read.
    """
    if jobs < 1:
        raise SseptError(f"jobs {jobs}: expected at least 1")
    wanted = set(variants)
    order = TopologicalSorter(_with_bases(wanted))
    order.prepare()
    results: dict[str, Result] = {}
    missing: list[str] = []
    running: list[_Job] = []
    try:
        while order.is_active():
            ended = []
            for name in order.get_ready():
                if result := _at_hand(checkpoint, name, data, results, shipped):
                    ended.append(Outcome(name, result))
                else:
                    missing.append(name)
            while missing and len(running) < jobs:
                running.append(_Job(checkpoint, missing.pop(0), data, shipped))
            if not ended:
                building([job.variant for job in running])
                ended = _ended(running)
            for outcome in ended:
                results[outcome.variant] = outcome.result
                order.done(outcome.variant)
                if outcome.variant in wanted:
                    yield outcome
    finally:
        for job in running:
            job.kill()


def _with_bases(variants: Iterable[str]) -> dict[str, list[str]]:
    """Collect the variants and their bases, each with its own base."""
    bases: dict[str, list[str]] = {}
    waiting = list(variants)
    while waiting:
        name = waiting.pop()
        base = find(name).base
        bases[name] = [base] if base else []
        waiting += bases[name]
    return bases


def _at_hand(
    checkpoint: Path, variant: str, data: Path | None, results: dict[str, Result], shipped: bool
) -> Result | None:
    """Return the result where nothing is built: the checkpoint, a file at hand, or an error."""
    base = VARIANTS[variant].base
    if base is None:
        return build(checkpoint, variant)
    found = results[base]
    if isinstance(found, SseptError):
        return found
    try:
        return at_hand(found, variant, data, shipped=shipped)
    except SseptError as error:
        return error


class _Job:
    """The process that builds a variant."""

    def __init__(self, checkpoint: Path, variant: str, data: Path | None, shipped: bool) -> None:
        self.variant = variant
        self.answer, sender = Pipe(duplex=False)
        self._started = time.monotonic()
        request = {
            "checkpoint": checkpoint,
            "variant": variant,
            "data": data,
            "shipped": shipped,
        }
        with sender:
            self._process = subprocess.Popen(  # noqa: S603 - this module
                command("ssept.variants.parallel", sender.fileno()),
                pass_fds=[sender.fileno()],
                stdin=subprocess.PIPE,  # which closes when this process ends
                text=True,
                start_new_session=True,  # Ctrl-C reaches this process alone
            )
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # it may have died already
            self._process.stdin.write(json.dumps(request, default=str) + "\n")
            self._process.stdin.flush()

    def outcome(self) -> Outcome:
        """How it ended, once there is something to read from `answer`."""
        try:
            result: Result = self.answer.recv()
        except EOFError:  # it died; a traceback, if any, is on standard error
            self.kill()
            result = SseptError(
                f"{self.variant}: the process that built it ended with {self._process.returncode}"
            )
        self._close()
        return Outcome(self.variant, result, time.monotonic() - self._started)

    def kill(self) -> None:
        """End the process and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._close()

    def _close(self) -> None:
        self._process.communicate()
        self.answer.close()


def _ended(running: list[_Job]) -> list[Outcome]:
    """Take out the jobs that end within TOLD_EVERY_SECONDS."""
    readable = wait([job.answer for job in running], TOLD_EVERY_SECONDS)
    done = [job for job in running if job.answer in readable]
    for job in done:
        running.remove(job)
    return [job.outcome() for job in done]


def main() -> None:
    """Build what the request asks for, and send the artifact or the error."""
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    checkpoint, data = Path(request["checkpoint"]), request["data"]
    result: Result
    try:
        result = build(
            checkpoint,
            request["variant"],
            Path(data) if data is not None else None,
            shipped=request["shipped"],
        )
    except SseptError as error:
        result = error
    except OSError as error:
        result = SseptError(explained(error))
    with Connection(int(sys.argv[1]), readable=False) as answer:
        answer.send(result)


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1):  # no lock of `sys.stdin`'s is held at this one's own end
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
