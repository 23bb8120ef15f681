"""One side of a gate: a program that runs whatever revision of ssept its Python imports.

It is started as a file by any Python and uses nothing but that side's public door, so that the
two sides may be two revisions. A request is a line of JSON on standard input, the answer a line
on standard output: what was asked for, or `{"error": …}`. The worker leaves at the end of its
input, and dies with the process that started it.
"""

import ctypes
import gc
import importlib.util
import json
import os
import secrets
import signal
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TOP_K = 10
# Providers compile for each new shape in its first calls. Fewer calls are made if they are long,
# since every pass warms up again.
WARMUP_CALLS = 10
LEAST_WARMUP_CALLS = 3
WARMUP_SECONDS = 0.02
SEED = 0
# What compares answers needs nothing of ssept, and so does not depend on the side's revision.
ANSWERS = Path(__file__).parents[3] / "measure" / "answers.py"
PR_SET_PDEATHSIG = 1  # linux/prctl.h
CUSTOM = "custom"
# A unit of extra work. So small an array stays in the first-level cache, and drives nothing of
# the session's out of the others.
WORK_ELEMENTS = 512
UNITS_PER_TIMING = 100
CALIBRATION_ROUNDS = 30
LEAST_CALIBRATION_ROUNDS = 5
CALIBRATION_SECONDS = 0.1


class AnswerError(Exception):
    """A timed call was answered differently than the same input was before."""


class LoadedCell:
    """A loaded session with some inputs of one batch size, and their answers."""

    def __init__(self, session: Any, batch: int, max_error: float, extra_work: float) -> None:
        """Make seeded inputs, warm the session up with them, and calibrate the extra work.

        Args:
            session: of ssept.
            batch: sequences in a call.
            max_error: the largest difference that the provider's arithmetic makes to a score.
            extra_work: work to do after each timed call, as a share of the call's median time.

        Raises:
            AnswerError: an answer has NaN, or all are the same.
        """
        import numpy as np

        model = session.artifact.model
        random = np.random.default_rng(SEED)
        self._session = session
        self._user = random.integers(0, model.users + 1, batch)
        shape = (WARMUP_CALLS, batch, model.max_length)
        self._sequences = random.integers(1, model.items + 1, shape)
        self._unit = np.ones(WORK_ELEMENTS).cumsum
        self._max_error = max_error
        self._compare = _comparison()
        self.call_ns = self._learn()
        self.units = self._calibrated(extra_work) if extra_work else 0

    def times_ns(self, calls: int) -> list[int]:
        """Time calls after an untimed one, which brings the weights into the caches.

        Raises:
            AnswerError: one was answered differently than the same input before.
        """
        self._call()
        answers = [self._kept()]
        times = []
        for _ in range(calls):
            self._take_another()
            times.append(self._timed_ns(self.units))
            answers.append(self._kept())
        for place, answer in answers:
            if why := self._compare.difference(answer, self._expected[place], self._max_error):
                raise AnswerError(f"a timed call was answered differently than before: {why}")
        return times

    def _learn(self) -> int:
        """Call each input once; returns the time of the fastest call."""
        self._expected: list[Any] = []
        times = []
        for place in _repeats(LEAST_WARMUP_CALLS, WARMUP_CALLS, WARMUP_SECONDS):
            self._sequence = self._sequences[place]
            times.append(self._timed_ns(0))
            self._place = place
            self._expected.append(self._kept()[1])
        for answer in self._expected:
            if why := self._compare.difference(answer, answer):
                raise AnswerError(why)
        if self._compare.all_equal(self._expected):
            raise AnswerError(f"{len(times)} different inputs have the same answer")
        return min(times)

    def _kept(self) -> tuple[int, Any]:
        """Copy the last answer; with the place of its input."""
        return self._place, self._compare.copied(self._answer)

    def _take_another(self) -> None:
        """Choose another input for the next call, at random."""
        count = len(self._expected)
        self._place = (self._place + 1 + secrets.randbelow(count - 1)) % count
        self._sequence = self._sequences[self._place]

    def _timed_ns(self, units: int) -> int:
        start = time.perf_counter_ns()
        self._call()
        self._work(units)
        return time.perf_counter_ns() - start

    def _call(self) -> None:
        self._answer = self._session.recommend(self._user, self._sequence, TOP_K)

    def _work(self, units: int) -> None:
        for _ in range(units):
            self._unit()

    def _calibrated(self, share: float) -> int:
        """Return the units of work that take `share` of a call's median time."""
        calls, units = [], []
        for _ in _repeats(LEAST_CALIBRATION_ROUNDS, CALIBRATION_ROUNDS, CALIBRATION_SECONDS):
            self._call()
            calls.append(self._timed_ns(0))
            start = time.perf_counter_ns()
            self._work(UNITS_PER_TIMING)
            units.append(time.perf_counter_ns() - start)
        return round(share * UNITS_PER_TIMING * statistics.median(calls) / statistics.median(units))


def _comparison() -> Any:
    """Return this revision's module that compares answers."""
    spec = importlib.util.spec_from_file_location("answers", ANSWERS)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _repeats(least: int, most: int, seconds: float) -> Iterator[int]:
    """Count from 0 at least `least` times, then until `most` or until the time is over."""
    end = time.monotonic() + seconds
    for number in range(most):
        if number >= least and time.monotonic() >= end:
            return
        yield number


class Worker:
    """Answers requests; each public method is one kind of them."""

    def __init__(self) -> None:
        self._cells: dict[str, LoadedCell] = {}
        self._sessions: dict[tuple[Any, ...], Any] = {}

    def facts(self) -> dict[str, Any]:
        """Return the path of ssept and the version of Python."""
        ssept = importlib.import_module("ssept")
        return {"ssept": ssept.__file__, "python": sys.version.split()[0]}

    def support(self, wanted: list[tuple[str, str]]) -> dict[str, Any]:
        """Return for each variant on a provider whether it applies, and why it cannot run here."""
        from ssept.providers import PROVIDERS
        from ssept.variants import VARIANTS

        support = []
        for variant, name in wanted:
            applicable, reason = True, None
            provider = PROVIDERS.get(name)
            kind = getattr(VARIANTS.get(variant), "format", "onnx")
            if provider is None:
                reason = f"unknown provider {name}"
            elif variant not in VARIANTS and variant != CUSTOM:  # ONNX files always ran
                reason = f"unknown variant {variant}"
            elif kind in provider.formats:
                reason = provider.unavailable()
            else:
                applicable = False
            support.append({"applicable": applicable, "reason": reason})
        return {"support": support}

    def prepare(self, source: str, variant: str, provider: str, threads: int) -> dict[str, Any]:
        """Build what is missing; returns the file and what to load in place of `source`."""
        artifact = self._session(source, variant, provider, threads).artifact
        path = Path(artifact.path)
        # A built file lies beside its manifest: loading it from there needs no torch.
        built = variant != CUSTOM and (path.parent / "manifest.json").is_file()
        return {
            "source": str(path.parent) if built else source,
            "file": path.name,
            "sha256": artifact.sha256,
            "size_bytes": artifact.size_bytes,
            "users": artifact.model.users,
            "items": artifact.model.items,
            "max_length": artifact.model.max_length,
            "data_hash": artifact.model.data_hash,
        }

    def load(
        self,
        cell: str,
        source: str,
        variant: str,
        provider: str,
        threads: int,
        batch: int,
        extra_work: float = 0.0,
    ) -> dict[str, Any]:
        """Load a cell; returns the time of a call and the units of extra work in it."""
        session = self._session(source, variant, provider, threads)
        from ssept.providers import PROVIDERS

        max_error = getattr(PROVIDERS[provider], "max_score_error", 0.0)
        ready = self._cells[cell] = LoadedCell(session, batch, max_error, extra_work)
        return {"call_ns": ready.call_ns, "units": ready.units}

    def time(self, cell: str, calls: int) -> dict[str, Any]:
        """Time a number of calls of a cell."""
        gc.disable()
        try:
            return {"ns": self._cells[cell].times_ns(calls)}
        finally:
            gc.enable()

    def scores(
        self, source: str, variant: str, provider: str, threads: int, inputs: str, out: str
    ) -> dict[str, Any]:
        """Write the scores, float32[n, items + 1], of the users and sequences in `inputs`."""
        import numpy as np

        session = self._session(source, variant, provider, threads)
        with np.load(inputs) as batch:
            np.save(out, session.scores(batch["user"], batch["sequence"]))
        return {}

    def _session(self, source: str, variant: str, provider: str, threads: int) -> Any:
        import ssept

        key = (source, variant, provider, threads)
        if key not in self._sessions:
            self._sessions[key] = ssept.load(
                source, variant=variant, provider=provider, threads=threads
            )
        return self._sessions[key]


def main() -> None:
    """Answer requests until there are no more."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    worker = Worker()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(worker, request.pop("do"))(**request)
        except Exception as error:  # noqa: BLE001 - whatever a revision raises is an answer
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
