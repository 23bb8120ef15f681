"""Caveats of a comparison of ratios, and reasons why ratios cannot be compared."""

from ssept.results.cells import Baseline, MatrixRun
from ssept.results.conditions import differences, packages
from ssept.results.machines import machine
from ssept.results.schema import ONE_CORE, Facts, ServedRatio, Timed


def why_no_ratio(measure: str, first: Baseline, other: Baseline) -> str:
    """Say why two runs have different baselines of a measure; empty if they have the same."""
    if first.combination != other.combination:
        return f"the baselines differ: {first.combination}, {other.combination}"
    checkpoints = {first.checkpoint_sha256, other.checkpoint_sha256}
    if None in checkpoints:
        return "a run does not name the checkpoint of its baseline"
    if len(checkpoints) > 1:
        return "the baselines differ: they have different checkpoints"
    threads = {first.threads, other.threads} - {None}
    if measure != ONE_CORE and len(threads) > 1:
        return f"the baselines differ: {first.threads} and {other.threads} threads"
    return ""


def cautions(first: MatrixRun, other: MatrixRun, *, changed: bool) -> list[str]:
    """Return whole sentences on the limits of a comparison of two runs of the matrix.

    Args:
        first, other: the runs.
        changed: whether a change of any ratio is given; else only why there can be none.
    """
    baselines = first.baseline, other.baseline
    if why := why_no_ratio("", *baselines):
        but = "" if why_no_ratio(ONE_CORE, *baselines) else f" but of {ONE_CORE}"
        return [f"No ratios are compared{but}: {why}."]
    if not changed:
        return []
    found = []
    if None in (baseline.threads for baseline in baselines):
        found.append(
            "The cells of a run differ in threads, and it does not name the baseline's threads: "
            "they are assumed to be the same in both runs."
        )
    if parts := _changed_baseline(first, other):
        found.append(
            f"Not the same in both: {', '.join(parts)}. The baseline may therefore have "
            "become faster or slower, which shows as a change of every cell."
        )
    own = [*_baseline_against_itself(first), *_baseline_against_itself(other)]
    if own:
        found.append(
            f"The baseline against itself gave ×{min(own):.3f} to ×{max(own):.3f} in these runs, "
            "where nothing differs: treat changes of that size as noise between sessions."
        )
    return found


def unit_of(facts: Facts) -> str:
    """Return what one observation of a cell's ratio is; empty in a run that does not say it."""
    made = facts.interval if isinstance(facts, Timed | ServedRatio) else None
    return made.unit if made else ""


def mixed(first: str, other: str) -> str:
    """Say why some changes have no verdict, in two runs of these labels."""
    return (
        f"Without a verdict: cells whose intervals {first} and {other} made in different ways. "
        "Older runs did not use fresh sessions as observations, so that their intervals are too "
        "narrow: they leave out the differences between sessions of the same file. Measure both "
        "in the same way."
    )


def _changed_baseline(first: MatrixRun, other: MatrixRun) -> list[str]:
    files = {run.baseline.file_sha256 for run in (first, other)} - {None}
    parts = {
        "the baseline's file": len(files) > 1,
        "the machine": differences([machine(run) for run in (first, other)]),
        "packages": differences([packages(run) for run in (first, other)]),
    }
    return [name for name, differs in parts.items() if differs]


def _baseline_against_itself(run: MatrixRun) -> list[float]:
    """Return the ratios that a run measured of its baseline's own cell."""
    return [
        facts.speedup.value
        for facts in (test.extra_info for test in run.cells.values())
        if (facts.variant, facts.provider) == run.baseline.combination and not facts.options
        if isinstance(facts, Timed) and facts.speedup
    ]
