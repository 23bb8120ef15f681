"""Saved runs as they are compared and shown: cells, what was measured of them, the baseline."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from ssept.results.schema import (
    ACCURACY,
    LATENCY,
    ONE_CORE,
    REAL_LENGTHS,
    Accuracy,
    Benchmark,
    Content,
    Energy,
    Facts,
    PlainBenchmark,
    PlainContent,
    ServedRatio,
    Timed,
)
from ssept.variants import CUSTOM

SHORT = 12  # of a hash's digits: enough to distinguish two


class Combination(NamedTuple):
    """A variant on a provider."""

    variant: str
    provider: str

    def __str__(self) -> str:
        return "-".join(self)


class MeasureKey(NamedTuple):
    """What was measured of a cell, as far as a summary keeps it apart."""

    kind: str
    batch: int | None = None
    split: str | None = None

    def __str__(self) -> str:
        return f"{self.kind.removesuffix('_lengths')} {self.batch or self.split or ''}".strip()


def measure_key(facts: Facts) -> MeasureKey:
    """Name what facts describe: latencies by their batch, accuracies by their split."""
    if isinstance(facts, Accuracy):
        return MeasureKey(facts.measure, split=facts.split)
    if isinstance(facts, Energy) or (
        isinstance(facts, Timed) and facts.measure in (LATENCY, REAL_LENGTHS)
    ):
        return MeasureKey(facts.measure, facts.batch)
    return MeasureKey(facts.measure)


@dataclass(frozen=True, kw_only=True)
class CellKey:
    """What makes two measurements the same one.

    Attributes:
        params: what the test was parametrised with, as canonical JSON.
        options: of the provider, as canonical JSON.
        call, length: of the timed calls; None where nothing was timed, or over real histories.
        load: of a server: which load, and against which other one.
    """

    combination: Combination
    measure: MeasureKey
    params: str
    threads: int
    options: str
    call: str | None = None
    length: int | None = None
    batch: int | None = None
    load: str | None = None

    @property
    def name(self) -> str:
        """The combination, and what is not the default of the matrix."""
        threads = f"threads {self.threads}" if self.threads != 1 else ""
        options = options_text(json.loads(self.options))
        return ", ".join(filter(None, (str(self.combination), threads, options)))

    @property
    def what(self) -> str:
        """What was measured, as the summary of a run calls it."""
        if self.measure.kind == ACCURACY:
            return "NDCG@10"
        return self.load or str(self.measure)

    def settings_beside(self, other: "CellKey") -> str:
        """Return the settings of this cell that differ from another's."""
        names = ("threads", "options", "call", "length")
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in names}
        return ", ".join(f"{name} {own}" for name, (own, its) in pairs.items() if own != its)


@dataclass(frozen=True)
class Baseline:
    """What the ratios of a run are relative to; None where the run does not name it.

    Attributes:
        combination: variant and provider.
        checkpoint_sha256: of the model.
        file_sha256: of the model file itself, which an exporter may change for one checkpoint.
        threads: of its calls, and of the cells' unless `ssept tune` chose theirs.
    """

    combination: Combination
    checkpoint_sha256: str | None
    file_sha256: str | None
    threads: int | None


@dataclass(frozen=True)
class Run:
    """A saved run of any project that uses pytest-benchmark, and where it was read."""

    path: Path
    content: PlainContent

    @property
    def benchmarks(self) -> Sequence[PlainBenchmark]:
        """As pytest-benchmark saved them."""
        return self.content.benchmarks

    @property
    def commit(self) -> str:
        """The code's short commit, and whether uncommitted changes were measured."""
        about = self.content.commit_info
        commit = ((about and about.id) or "no commit")[:SHORT]
        return f"{commit} dirty" if about and about.dirty else commit


@dataclass(frozen=True)
class MatrixRun(Run):
    """A saved run of the matrix: cells, and their ratios to a baseline."""

    content: Content

    @property
    def benchmarks(self) -> Sequence[Benchmark]:
        """As the matrix saved them."""
        return self.content.benchmarks

    @property
    def facts(self) -> list[Facts]:
        """What the matrix says of each benchmark."""
        return [benchmark.extra_info for benchmark in self.benchmarks]

    @cached_property
    def threads(self) -> set[int]:
        """Those of the cells that may have more than one."""
        return {facts.threads for facts in self.facts if facts.measure != ONE_CORE}

    @cached_property
    def baseline(self) -> Baseline:
        """The baseline; its threads, which the file does not say, where all cells agree."""
        variant, _, provider = self.content.ssept.baseline.partition("-")
        # The file of --onnx is a model of its own beside those of the checkpoint.
        related = [one for one in self.facts if (one.variant == CUSTOM) == (variant == CUSTOM)]
        files = [one.artifact_sha256 for one in related if one.variant == variant]
        return Baseline(
            Combination(variant, provider),
            related[0].checkpoint_sha256 if related else None,
            files[0] if files else None,
            next(iter(self.threads)) if len(self.threads) == 1 else None,
        )

    @cached_property
    def cells(self) -> dict[CellKey, Benchmark]:
        """What can be compared: speed against a baseline, and accuracy on the test split."""
        return {_key(each): each for each in self.benchmarks if _comparable(each.extra_info)}


def options_text(options: dict[str, Any]) -> str:
    """Format a provider's options as a user writes them."""
    return ", ".join(f"{name}={value}" for name, value in sorted(options.items()))


def _comparable(facts: Facts) -> bool:
    on_test = isinstance(facts, Accuracy) and facts.split == "test"
    return on_test or isinstance(facts, Timed | ServedRatio)


def _key(benchmark: Benchmark) -> CellKey:
    facts = benchmark.extra_info
    key = CellKey(
        combination=Combination(facts.variant, facts.provider),
        measure=measure_key(facts),
        params=json.dumps(benchmark.params, sort_keys=True),
        threads=facts.threads,
        options=json.dumps(facts.options, sort_keys=True),
    )
    if isinstance(facts, Timed):
        return replace(key, call=facts.call, length=facts.length, batch=facts.batch)
    if isinstance(facts, ServedRatio):
        return replace(key, load=f"against {facts.against}, {facts.load}")
    return key
