"""Arms of a race: timed in turn in fresh sessions, or ranked for the users of a data set."""

import functools
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssept.artifacts import Artifact
from ssept.data.dataset import Cases, load_dataset
from ssept.decide.user_accuracy import TOP_K, chosen_cases, user_ndcg
from ssept.errors import SseptError
from ssept.measure.calls import CheckedCall, checked_recommend, collection_off
from ssept.metrics import FloatArray
from ssept.providers import PROVIDERS
from ssept.providers.session import Session
from ssept.results.cells import Combination

LEAST_CALLS = 6
MS_PER_NS = 1e-6
REFERENCE = ""  # the baseline's place among the arms; none of them is called so


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A cell in a race, with its model file."""

    artifact: Artifact
    provider: str
    threads: int
    batch: int

    @property
    def cell(self) -> Combination:
        """Its variant and provider."""
        return Combination(self.artifact.variant, self.provider)

    @property
    def name(self) -> str:
        """As of `Candidate`."""
        threads = f"-t{self.threads}" if self.threads > 1 else ""
        return f"{self.cell}{threads}-b{self.batch:03}"

    def start(self) -> Session:
        """Load a fresh session."""
        return PROVIDERS[self.provider].load(self.artifact, self.threads)

    def call(self) -> CheckedCall:
        """Load a fresh session; return a call of it, warm."""
        return checked_recommend(self.start(), self.batch, TOP_K, self.provider)


@dataclass(frozen=True)
class Timed:
    """An arm in one pass: its log speed relative to the baseline's, and its calls in ms."""

    log_speed: float
    calls_ms: list[float]


def timed(
    arms: Sequence[Arm], baseline: Arm, seconds: float, least_calls: int = LEAST_CALLS
) -> dict[str, Timed | SseptError]:
    """Time arms and the baseline in turn, in fresh sessions.

    The order is drawn, and turned round in every second round. As in the matrix, an untimed call
    of the same session comes before each timed one.

    Args:
        arms: with distinct names.
        baseline: what the log speeds are relative to.
        seconds: of all calls together, at least.
        least_calls: timed calls of each, at least.

    Returns:
        By name; the error of an arm that cannot be loaded, or answers wrongly.
    """
    by_name = {arm.name: arm for arm in arms} | {REFERENCE: baseline}
    found: dict[str, Timed | SseptError] = {}
    calls: dict[str, CheckedCall] = {}
    for name in random.sample([*by_name], len(by_name)):
        try:
            calls[name] = by_name[name].call()
        except SseptError as error:
            found[name] = error
    if REFERENCE in calls:
        times = _times(calls, seconds, least_calls, found)
        base = np.array(times.pop(REFERENCE, [])) / baseline.batch
    if isinstance(problem := found.get(REFERENCE), SseptError):
        raise problem
    for name, own_ns in times.items():
        own = np.array(own_ns) / by_name[name].batch
        log_speed = float(np.median(np.log(base / own)))
        found[name] = Timed(log_speed, [ns * MS_PER_NS for ns in own_ns])
    return found


def _times(
    calls: Mapping[str, CheckedCall],
    seconds: float,
    least_calls: int,
    failed: dict[str, Timed | SseptError],
) -> dict[str, list[int]]:
    """Return the nanoseconds of each call, round by round; takes out what fails."""
    order = [*calls]
    times: dict[str, list[int]] = {name: [] for name in order}
    rounds = 0
    with collection_off():
        end = time.monotonic() + seconds
        while rounds < least_calls or rounds % 2 or time.monotonic() < end:
            if rounds % 2:
                order.reverse()
            else:
                random.shuffle(order)
            for name in [*order]:
                try:
                    times[name].append(_timed_ns(calls[name]))
                except SseptError as error:
                    failed[name] = error
                    order.remove(name)
                    del times[name]
            rounds += 1
    return times


def _timed_ns(call: CheckedCall) -> int:
    call()
    call.take(call.other_place())
    start = time.perf_counter_ns()
    call()
    taken = time.perf_counter_ns() - start
    call.check()
    return taken


def ranked(arm: Arm, data: Path, users: int | None) -> FloatArray:
    """Return NDCG@10 of each user, float64[users]: the mean over the user's two targets.

    Args:
        arm: that scores.
        data: a folder of prepared data.
        users: the size of a fixed random sample; None for all.
    """
    return user_ndcg(arm.start().scores, _cases(data, users), arm.artifact.model.max_length)


@functools.cache
def _cases(data: Path, users: int | None) -> list[Cases]:
    return chosen_cases(load_dataset(data), users)
