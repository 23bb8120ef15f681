"""Figures of candidates that need no timing: the model file, its accuracy, the memory it takes."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

from ssept.artifacts import Artifact
from ssept.decide.choose.process import FreshProcess
from ssept.decide.choose.timing import Arm, ranked
from ssept.errors import SseptError
from ssept.estimate import Estimate
from ssept.measure.cold_start import cold_start
from ssept.metrics import FloatArray, bootstrap_relative_change
from ssept.providers import PROVIDERS, applicable
from ssept.results.cells import Combination
from ssept.variants.parallel import build_all

# One-sided 0.05 %: among a hundred files that lose exactly what is allowed, the chance that one is
# dropped for it is 5 %.
CONFIDENCE = 0.999
RESAMPLES = 10_000
Progress = Callable[[str, int, int], None]


def built_arms(
    checkpoint: Path,
    data: Path,
    variants: Sequence[str],
    providers: Sequence[str],
    settings: Iterable[tuple[int, int]],
    progress: Progress,
) -> tuple[list[Arm], dict[str, str]]:
    """Build the variants that some provider here can run; return the arms.

    Args:
        checkpoint, data: that the variants are built from and calibrated with.
        variants, providers: by name.
        settings: threads and batch sizes, for each cell.
        progress: called with what is done, how many files are ready and how many are wanted.

    Returns:
        The arms, and why others are left out, by the variant, the provider or the cell.
    """
    reasons = {name: reason for name in providers if (reason := PROVIDERS[name].unavailable())}
    here = [name for name in providers if name not in reasons]
    cells = [Combination(*each) for each in product(variants, here) if applicable(*each)]
    wanted = list(dict.fromkeys(cell.variant for cell in cells))
    artifacts: dict[str, Artifact] = {}
    jobs = len(os.sched_getaffinity(0))
    progress("building model files", 0, len(wanted))
    for outcome in build_all(
        checkpoint,
        wanted,
        data,
        jobs,
        lambda names: progress(f"building {', '.join(names)}", len(artifacts), len(wanted)),
    ):
        if isinstance(outcome.result, SseptError):
            reasons[outcome.variant] = str(outcome.result)
        else:
            artifacts[outcome.variant] = outcome.result
    return [
        Arm(artifact=artifacts[cell.variant], provider=cell.provider, threads=threads, batch=batch)
        for cell in cells
        if cell.variant in artifacts
        for threads, batch in settings
    ], reasons


def per_user_ndcg(
    arms: Sequence[Arm], data: Path, users: int | None, progress: Progress
) -> dict[Combination, FloatArray | SseptError]:
    """Rank for the users of a data set, in a process for each CPU; one arm of each cell will do.

    Returns:
        NDCG@10 of each user, float64[users], or why a cell could not rank.
    """
    found: dict[Combination, FloatArray | SseptError] = {}
    waiting = {arm.cell: arm for arm in arms}
    total = len(waiting)

    def work(_: int) -> None:
        while waiting:
            with FreshProcess() as process:
                _rank_until_it_fails(process)

    def _rank_until_it_fails(process: FreshProcess) -> None:
        while waiting:
            try:
                cell, arm = waiting.popitem()
            except KeyError:  # the other one took the last
                return
            try:
                found[cell] = process.ask(ranked, arm, data, users)
            except SseptError as error:
                found[cell] = error
                return  # the process may have died of it
            progress("ranking for users", len(found), total)

    cpus = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(cpus) as executor:
        try:
            for _ in executor.map(work, range(cpus)):
                pass
        finally:
            waiting.clear()  # interrupted: each thread ends after the cell that it is at
    return found


def ndcg_changes(
    found: Mapping[Combination, FloatArray | SseptError], baseline: Combination
) -> dict[Combination, Estimate]:
    """Compare each cell's NDCG@10 with the baseline's, for the same users.

    Raises:
        SseptError: the baseline could not rank.
    """
    reference = found[baseline]
    if isinstance(reference, SseptError):
        raise reference
    return {
        cell: bootstrap_relative_change(
            reference, values, confidence=CONFIDENCE, resamples=RESAMPLES
        )
        for cell, values in found.items()
        if not isinstance(values, SseptError)
    }


def peak_memory(arms: Sequence[Arm], progress: Progress) -> dict[str, int | SseptError]:
    """Start a process for each arm that loads it and answers once; its peak in bytes by name."""

    def peak(arm: Arm) -> int | SseptError:
        try:
            return cold_start(arm.artifact, arm.provider, arm.threads).peak_rss_bytes
        except SseptError as error:
            return error

    found: dict[str, int | SseptError] = {}
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as executor:
        try:
            for arm, memory in zip(arms, executor.map(peak, arms), strict=True):
                found[arm.name] = memory
                progress("measuring memory", len(found), len(arms))
        finally:
            executor.shutdown(cancel_futures=True)
    return found
