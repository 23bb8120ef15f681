"""Races put together from stored passes over all cells, where the passes together know the best."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssept.data.synthetic import prepared_synthetic
from ssept.decide.choose.figures import built_arms
from ssept.decide.choose.kept import Kept
from ssept.decide.choose.race import Timing
from ssept.decide.choose.rule import Race
from ssept.decide.choose.timing import LEAST_CALLS
from ssept.decide.gate.self_test.rates import Share
from ssept.decide.journal import Record
from ssept.errors import SseptError
from ssept.providers import PROVIDERS
from ssept.results.cells import Combination
from ssept.variants import BASELINE, CUSTOM, VARIANTS

PASSES = "race_passes"
RACES = 200
WITHIN = 0.03  # of the best: farther off, a named winner is an error
EXHAUSTIVE_PASSES = 14  # of every cell, with which racing is compared
LEAST_STORED = 20


@dataclass(frozen=True)
class Races:
    """What the races showed.

    Attributes:
        errors: races whose leader is not within `WITHIN` of the best.
        left_one: races that left one cell.
        work: the median number of cells timed in all passes of a race.
        cells: that started in each.
    """

    errors: Share
    left_one: int
    work: float
    cells: int

    @property
    def what(self) -> str:
        """The study in words."""
        return (
            f"races put together from passes over all {self.cells} cells, {self.work:.0f} "
            f"cell-passes in the median where {EXHAUSTIVE_PASSES} of all are "
            f"{EXHAUSTIVE_PASSES * self.cells}; error: the named one is over {WITHIN:.0%} slower "
            "than the best by all passes"
        )


def all_cells(checkpoint: Path, number: int) -> Record:
    """Time every cell that runs here once, in a fresh process, as a pass of a race."""
    del number
    variants = [name for name in VARIANTS if name != CUSTOM]
    settings = [(1, 1)]
    data = prepared_synthetic()
    arms, _ = built_arms(checkpoint, data, variants, [*PROVIDERS], settings, lambda *_: None)
    baseline = next(arm for arm in arms if arm.cell == Combination(BASELINE, "cpu"))
    with tempfile.TemporaryDirectory(prefix="ssept-") as folder:
        kept = Kept(Path(folder) / "journal.jsonl", {})
        found = Timing(arms, baseline, kept, 0.0, lambda *_: None).one_pass(arms, LEAST_CALLS)
    if not found.log_speeds:
        raise SseptError(f"the study of races: {'; '.join(found.failed.values())}")
    return {"wrong": False, "log_speeds": dict(found.log_speeds), "failed": sorted(found.failed)}


def resampled_races(records: Sequence[Record]) -> Races:
    """Race the cells in passes that are drawn from stored ones, each as a whole."""
    passes: list[Mapping[str, float]] = [record["trial"]["log_speeds"] for record in records]
    names = [name for name in passes[0] if all(name in each for each in passes)]
    speeds = {name: float(np.mean([each[name] for each in passes])) for name in names}
    random = np.random.default_rng(0)
    limit = max(speeds.values()) - np.log1p(WITHIN)
    errors, left_one, work = 0, 0, []
    for _ in range(RACES):
        race, timed = Race(names), 0
        while not race.over:
            drawn = passes[random.integers(len(passes))]
            timed += len(race.alive)
            race.after_pass({name: drawn[name] for name in race.alive})
        errors += speeds[race.leader] < limit
        left_one += len(race.alive) == 1
        work.append(timed)
    return Races(Share(errors, RACES), left_one, float(np.median(work)), len(names))
