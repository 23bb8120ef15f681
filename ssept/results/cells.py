"""What saved runs hold: cells, what was measured of them, and the baseline of their ratios."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssept.variants import CUSTOM

Facts = dict[str, Any]
Benchmark = dict[str, Any]
SHORT = 12  # of a hash's digits: enough to tell two apart
ACCURACY = "accuracy"
SERVED = "served ratio"  # of two servers under one load
ONE_CORE = "edge"  # always one thread on one core, the baseline's calls too


@dataclass(frozen=True)
class Run:
    """A saved run.

    Attributes:
        path: where it was read.
        content: pytest-benchmark's JSON, with the part `ssept` where the matrix wrote it.
    """

    path: Path
    content: dict[str, Any]

    @property
    def of_matrix(self) -> bool:
        """Whether it holds cells and their ratios to a baseline."""
        return "ssept" in self.content

    @property
    def benchmarks(self) -> list[Benchmark]:
        """As pytest-benchmark saved them."""
        found: list[Benchmark] = self.content["benchmarks"]
        return found

    @property
    def facts(self) -> list[Facts]:
        """What the matrix says of each benchmark."""
        return [benchmark["extra_info"] for benchmark in self.benchmarks]

    @property
    def commit(self) -> str:
        """The code's short commit, and whether uncommitted changes were measured."""
        about = self.content.get("commit_info") or {}
        commit = str(about.get("id") or "no commit")[:SHORT]
        return f"{commit} dirty" if about.get("dirty") else commit

    @property
    def threads(self) -> set[int]:
        """Those of the cells that may have more than one."""
        return {facts["threads"] for facts in self.facts if facts["measure"] != ONE_CORE}


@dataclass(frozen=True)
class Cell:
    """What makes two measurements the same one.

    Attributes:
        params: what the test was parametrised with, as canonical JSON.
        options: of the provider, as canonical JSON.
        call, length: of the timed calls; None where nothing was timed, or over real histories.
        load: of a server: which load, and against which other one.
    """

    variant: str
    provider: str
    measure: str
    batch: int | None
    params: str
    threads: int
    options: str
    call: str | None
    length: int | None
    load: str | None

    @property
    def pair(self) -> str:
        """Variant and provider, as in the ids of tests."""
        return f"{self.variant}-{self.provider}"

    @property
    def name(self) -> str:
        """The pair, and what is not the default of the matrix."""
        threads = f"threads {self.threads}" if self.threads != 1 else ""
        return ", ".join(filter(None, (self.pair, threads, options_text(json.loads(self.options)))))

    @property
    def what(self) -> str:
        """What was measured, as the summary of a run calls it."""
        if self.measure == ACCURACY:
            return "NDCG@10"
        if self.load is not None:
            return self.load
        kind = self.measure.removesuffix("_lengths")
        return f"{kind} {self.batch}" if self.measure in ("latency", "real_lengths") else kind

    def settings_beside(self, other: "Cell") -> str:
        """Those settings of this cell that are others than another's."""
        names = ("threads", "options", "call", "length")
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in names}
        return ", ".join(f"{name} {own}" for name, (own, its) in pairs.items() if own != its)


@dataclass(frozen=True)
class Baseline:
    """What the ratios of a run are relative to; None where the run does not tell.

    Attributes:
        pair: variant and provider.
        checkpoint_sha256: of the model.
        file_sha256: of the model file itself, which an exporter may change for one checkpoint.
        threads: of its calls, and of the cells' unless `ssept tune` chose theirs.
    """

    pair: str
    checkpoint_sha256: str | None
    file_sha256: str | None
    threads: int | None


def baseline_of(run: Run) -> Baseline:
    """The baseline of a run of the matrix.

    The file does not say the baseline's threads: they are those of the cells where all agree.
    """
    pair: str = run.content["ssept"]["baseline"]
    variant = pair.partition("-")[0]
    # The file of --onnx is a model of its own beside those of the checkpoint.
    related = [facts for facts in run.facts if (facts["variant"] == CUSTOM) == (variant == CUSTOM)]
    files = [facts["artifact_sha256"] for facts in related if facts["variant"] == variant]
    threads = sorted(run.threads)
    return Baseline(
        pair,
        related[0]["checkpoint_sha256"] if related else None,
        files[0] if files else None,
        threads[0] if len(threads) == 1 else None,
    )


def cells_of(run: Run, select: str) -> dict[Cell, Benchmark]:
    """What can be compared of a run: speed against a baseline, and accuracy on the test split.

    Args:
        run: of the matrix.
        select: only tests in whose id this stands, in capitals or not.
    """
    found = {}
    for benchmark in run.benchmarks:
        facts = benchmark["extra_info"]
        accuracy = facts["measure"] == ACCURACY and facts["split"] == "test"
        speed = "speedup" in facts or facts["measure"] == SERVED
        if (speed or accuracy) and selected(benchmark["name"], select):
            found[_cell(benchmark)] = benchmark
    return found


def selected(name: str, select: str) -> bool:
    """Whether a test's name holds this text, in capitals or not, as pytest's -k takes it."""
    return select.lower() in name.lower()


def options_text(options: dict[str, Any]) -> str:
    """A provider's options as a user writes them."""
    return ", ".join(f"{name}={value}" for name, value in sorted(options.items()))


def _cell(benchmark: Benchmark) -> Cell:
    facts = benchmark["extra_info"]
    return Cell(
        facts["variant"],
        facts["provider"],
        facts["measure"],
        facts.get("batch"),
        json.dumps(benchmark.get("params"), sort_keys=True),
        facts["threads"],
        json.dumps(facts["options"], sort_keys=True),
        facts.get("call"),
        facts.get("length"),
        f"against {facts['against']}, {facts['load']}" if facts["measure"] == SERVED else None,
    )
