"""Scale runs: cells measured at each point against the baseline, beside a least time."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssept.artifacts import Artifact
from ssept.decide.journal import Record, append, provenance, utc_now
from ssept.decide.scale.gemm import products
from ssept.decide.scale.measured_points import SCHEMA, by_point, matching, read
from ssept.decide.scale.onnx_cost import work_of
from ssept.decide.scale.points import Point
from ssept.decide.scale.random_models import models
from ssept.decide.scale.roofline import Ceilings, Product, Work, least_time
from ssept.errors import SseptError
from ssept.measure.calls import CheckedCall, checked_recommend
from ssept.measure.latency import session_times
from ssept.measure.statistics import session_ratio
from ssept.providers import PROVIDERS, applicable
from ssept.providers.session import Ids
from ssept.variants import BASELINE, VARIANTS
from ssept.variants.parallel import Result

BASELINE_PROVIDER = "cpu"
TOP_K = 10
MS_PER_S, MS_PER_NS = 1e3, 1e-6


@dataclass(frozen=True)
class ScaleCell:
    """A variant on a provider."""

    variant: str
    provider: str

    @property
    def name(self) -> str:
        """As in the matrix."""
        return f"{self.variant}-{self.provider}"

    @property
    def bounded(self) -> bool:
        """Whether a least time is known: an ONNX file, on the CPU, in the file's own precision.

        A provider that multiplies in another one declares what that costs.
        """
        provider = PROVIDERS[self.provider]
        exact = provider.max_score_error == 0 and not provider.nvidia
        return exact and VARIANTS[self.variant].format == "onnx"


REFERENCE = ScaleCell(BASELINE, BASELINE_PROVIDER)


def cells_of(
    variants: Sequence[str], providers: Sequence[str]
) -> tuple[list[ScaleCell], list[ScaleCell]]:
    """Return the baseline and each variant on each provider.

    Returns:
        Those that the provider can run, the baseline first, and those whose format it does not run.
    """
    asked = [ScaleCell(*names) for names in itertools.product(variants, providers)]
    cells = list(dict.fromkeys([REFERENCE, *asked]))
    runs = {cell: applicable(cell.variant, cell.provider) for cell in cells}
    return [cell for cell in cells if runs[cell]], [cell for cell in cells if not runs[cell]]


@dataclass(frozen=True)
class ScalePlan:
    """The points and cells to measure, and how.

    Attributes:
        points: where, those of the same model one after the other.
        cells: what, at each of them.
        threads: that a call may use.
        seconds: of the timed loop of a cell; longer where calls take long.
    """

    points: Sequence[Point]
    cells: Sequence[ScaleCell]
    threads: int
    seconds: float

    def missing(self, records: Iterable[Record]) -> dict[Point, list[ScaleCell]]:
        """Return the cells without a record, by point."""
        done = by_point(records)
        lacking = {
            point: [cell for cell in self.cells if cell.name not in done.get(point, {})]
            for point in self.points
        }
        return {point: cells for point, cells in lacking.items() if cells}


@dataclass(frozen=True)
class ScaleResult:
    """The result of a run.

    Attributes:
        records: of the plan's settings on this machine, those of earlier runs included.
        unmeasured: why cells are not in them, by "cell at point".
    """

    records: list[Record]
    unmeasured: dict[str, str]


def run_scale(
    plan: ScalePlan, path: Path, progress: Callable[[str, int, int], None]
) -> ScaleResult:
    """Measure what a file of records does not have yet, and add each point when it is finished.

    Args:
        plan: what to measure.
        path: the file.
        progress: called before a cell, with what is done next, how many cells of this run are
            done and how many there are.

    Raises:
        SseptError: a package is missing, the baseline cannot be measured, or the file is damaged.
    """
    about = _about(plan)
    missing = plan.missing(matching(read(path), about))
    total, done = sum(map(len, missing.values())), 0
    unmeasured: dict[str, str] = {}
    peaks = products(plan.threads) if missing else []
    for (items, length), points in itertools.groupby(missing, lambda at: (at.items, at.length)):
        here = list(points)
        progress(f"building for {items:,} items, length {length}", done, total)
        variants = {cell.variant for point in here for cell in missing[point]} | {BASELINE}
        with models(items, length, sorted(variants)) as built:
            for point in here:
                timing = _Timing(point, built, plan, peaks)
                for cell in missing[point]:
                    progress(f"{cell.name} at {point}", done, total)
                    timing.measure(cell)
                    done += 1
                timing.finish()
                unmeasured |= timing.unmeasured
                if timing.cells:
                    append(path, _record(about, point, timing.cells))
    return ScaleResult(matching(read(path), about), unmeasured)


class _Timing:
    """The cells of one point."""

    def __init__(
        self, point: Point, built: Mapping[str, Result], plan: ScalePlan, peaks: Sequence[Product]
    ) -> None:
        self.point, self._built, self._plan = point, built, plan
        self.cells: dict[str, Record] = {}
        self.unmeasured: dict[str, str] = {}
        self._user, self._sequence = self._artifact(REFERENCE).model.random_inputs(point.batch)
        self._works = {name: _work(result, self._call) for name, result in built.items()}
        sizes = [work.bytes for work in self._works.values() if isinstance(work, Work)]
        self._ceilings = Ceilings(peaks, sizes, plan.threads)
        self._ceilings.look()

    @property
    def _call(self) -> tuple[Ids, Ids, int]:
        return self._user, self._sequence, TOP_K

    def measure(self, cell: ScaleCell) -> None:
        """Time a cell against the baseline, or note why it cannot be."""
        try:
            times = session_times(
                lambda: self._fresh(cell),
                lambda: self._fresh(REFERENCE),
                seconds=self._plan.seconds,
            )
        except SseptError as error:
            self.unmeasured[f"{cell.name} at {self.point}"] = str(error)
            return
        baseline_ns, cell_ns = (np.concatenate(side) for side in zip(*times, strict=True))
        self.cells[cell.name] = {
            **asdict(cell),
            "size_bytes": self._artifact(cell).size_bytes,
            "sessions": len(times),
            "pairs": len(cell_ns),
            "speedup": asdict(session_ratio(times)),
            "median_ms": float(np.median(cell_ns)) * MS_PER_NS,
            "baseline_ms": float(np.median(baseline_ns)) * MS_PER_NS,
        }

    def finish(self) -> None:
        """Look at the ceilings again, and put the least times beside the measured ones."""
        self._ceilings.look()
        for facts in self.cells.values():
            facts["least"] = self._least(ScaleCell(facts["variant"], facts["provider"]))

    def _fresh(self, cell: ScaleCell) -> CheckedCall:
        """Start a session; return a call of it."""
        session = PROVIDERS[cell.provider].load(self._artifact(cell), self._plan.threads)
        return checked_recommend(session, self.point.batch, TOP_K, cell.provider)

    def _artifact(self, cell: ScaleCell) -> Artifact:
        result = self._built[cell.variant]
        if isinstance(result, SseptError):
            raise result
        return result

    def _least(self, cell: ScaleCell) -> Record:
        """Return the least time with its inputs, or why it is not known."""
        work = self._works[cell.variant]
        if not cell.bounded:
            return {"unknown": "only of ONNX files in FP32 and INT8 on a CPU"}
        if not isinstance(work, Work):
            return {"unknown": work}
        rates = self._ceilings.rates(work.bytes)
        least = least_time(work, rates)
        return {
            "ms": least.seconds * MS_PER_S,
            "bound_by": least.bound_by,
            "work": asdict(work),
            "rates_per_s": asdict(rates),
            "look_spread": self._ceilings.spread(),
        }


def _work(result: Result, call: tuple[Ids, Ids, int]) -> Work | str:
    """Return the work of a variant's file, or why it is not known."""
    if not isinstance(result, Artifact):
        return str(result)
    if result.format != "onnx":
        return f"{result.path.name} is not an ONNX file"
    try:
        return work_of(result, *call)
    except SseptError as error:
        return str(error)


def _about(plan: ScalePlan) -> Record:
    """Return what each record has besides its point."""
    settings = {"threads": plan.threads, "seconds": plan.seconds, "k": TOP_K}
    return {"schema": SCHEMA, "settings": settings, **provenance()}


def _record(about: Record, point: Point, cells: Mapping[str, Any]) -> Record:
    return {**about, "utc": utc_now(), "point": asdict(point), "cells": cells}
