"""The Bencher Metric Format: https://bencher.dev/docs/reference/bencher-metric-format/."""

from collections.abc import Sequence

from ssept.report.page.material import Material, labelled
from ssept.report.page.measures import Measure, measures_of
from ssept.results.cells import MatrixRun

NS_PER_MS = 1e6
# By the name of a figure: the measure as Bencher has it, and the factor to its unit. Latency is in
# nanoseconds and throughput in calls a second there; the others are measures of one's own.
MEASURES = {
    "p50_ms": ("latency", NS_PER_MS),
    "p99_ms": ("latency-p99", NS_PER_MS),
    "fps": ("throughput", 1.0),
    "speedup": ("speedup", 1.0),
    "full.ndcg": ("ndcg", 1.0),
    "size_bytes": ("file-size", 1.0),
    "rate": ("requests-per-second", 1.0),
}

BencherMetrics = dict[str, dict[str, dict[str, float]]]


def bencher_metrics(run: MatrixRun) -> BencherMetrics:
    """Return the figures of a run by test and measure, with their intervals."""
    found: BencherMetrics = {}
    for each in measures_of(Material(runs=labelled([run]))):
        if each.figure in MEASURES:
            name, factor = MEASURES[each.figure]
            found.setdefault(each.test, {})[name] = _metric(each, factor)
    return found


def bencher_files(runs: Sequence[MatrixRun]) -> BencherMetrics:
    """Return those of several runs; of a test in two of them, the later run's."""
    found: BencherMetrics = {}
    for run in runs:
        found |= bencher_metrics(run)
    return found


def _metric(measure: Measure, factor: float) -> dict[str, float]:
    ends = {"lower_value": measure.low, "upper_value": measure.high}
    known = {name: end * factor for name, end in ends.items() if end is not None}
    return {"value": measure.value * factor, **known}
