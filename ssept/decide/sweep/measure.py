"""Measurements of sets of layers in INT8, with temporary files."""

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ssept.artifacts import Artifact, Model, Signature, artifact_of
from ssept.data.dataset import Dataset
from ssept.decide.journal import Record
from ssept.decide.sweep.search import FP32, File, LayerSet
from ssept.decide.sweep.state import FILES, RATIOS, Measurements
from ssept.decide.user_accuracy import CONFIDENCE as NDCG_CONFIDENCE
from ssept.decide.user_accuracy import TOP_K, chosen_cases, user_ndcg
from ssept.errors import SseptError
from ssept.estimate import Estimate
from ssept.measure.calls import SESSIONS, CheckedCall, checked_recommend
from ssept.measure.latency import session_times
from ssept.measure.statistics import session_ratio
from ssept.metrics import FloatArray, bootstrap_relative_change
from ssept.providers import PROVIDERS
from ssept.providers.session import Session
from ssept.variants import CUSTOM

MS_PER_NS = 1e-6
ERROR = 0.01  # shared among the layers (Bonferroni), since the best of a round is looked for


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """The files to measure, and how.

    Attributes:
        checkpoint: the file of the network.
        model: what it is, and its sizes.
        dataset: that it was trained on.
        users: the largest number of users to rank for; None for all.
        provider: a name in PROVIDERS, of one that runs ONNX files.
        batch_sizes: sequences in a call.
        threads: that a call may use.
        seconds: of the timed calls of a ratio, at least.
        max_loss: the share of NDCG@10 that the chosen set may lose.
    """

    checkpoint: Path
    model: Model
    dataset: Dataset
    users: int | None
    provider: str
    batch_sizes: tuple[int, ...]
    threads: int
    seconds: float
    max_loss: float


class MeasuredSets:
    """Sets of a plan's checkpoint, by what is kept or by measuring now.

    Attributes:
        layers: the names of all layers, in the order of the network.
    """

    def __init__(self, plan: SweepPlan, kept: Measurements) -> None:
        """Learn the layers' names, from a first build.

        Raises:
            SseptError: a package that builds is missing.
        """
        self._plan = plan
        self._kept = kept
        with tempfile.TemporaryDirectory(prefix="ssept-sweep-") as folder:
            self.layers = self._write(Path(folder) / "fp32.onnx", FP32)

    def file(self, int8: LayerSet) -> File:
        """Return the file with these layers in INT8; see `File`.

        Raises:
            SseptError: too few users have a hit.
        """
        found = self._kept.found(FILES, self.name(int8), lambda: self._ranked(int8))
        change = Estimate(**found["ndcg_change"])
        return File(found["size_bytes"], found["ndcg"], change)

    def ratios(self, int8: LayerSet, against: LayerSet) -> dict[int, Estimate]:
        """Return how many times as fast as another set it is, by batch size."""
        name = f"{self.name(int8)} / {self.name(against)}"
        found = self._kept.found(RATIOS, name, lambda: self._timed(int8, against))
        return {int(batch): Estimate(**timed["ratio"]) for batch, timed in found.items()}

    def name(self, int8: LayerSet) -> str:
        """Return the name of a set in the file of measurements."""
        return "+".join(layer for layer in self.layers if layer in int8) or "fp32"

    # Speed

    @property
    def _confidence(self) -> float:
        return 1 - ERROR / len(self.layers)

    @property
    def _sessions(self) -> int:
        """The pairs of sessions of a ratio: without 2 / 2**n <= error no interval has an end."""
        return max(SESSIONS, math.ceil(math.log2(2 * len(self.layers) / ERROR)))

    def _timed(self, int8: LayerSet, against: LayerSet) -> Record:
        with self._built(int8) as cell, self._built(against) as baseline:
            return {
                str(batch): self._ratio(cell, baseline, batch) for batch in self._plan.batch_sizes
            }

    def _ratio(self, cell: Artifact, baseline: Artifact, batch: int) -> Record:
        def fresh(artifact: Artifact) -> CheckedCall:
            return checked_recommend(self._load(artifact), batch, TOP_K, self._plan.provider)

        times = session_times(
            lambda: fresh(cell),
            lambda: fresh(baseline),
            seconds=self._plan.seconds,
            sessions=self._sessions,
        )
        baseline_ns, cell_ns = (np.concatenate(side) for side in zip(*times, strict=True))
        return {
            "ratio": asdict(session_ratio(times, self._confidence)),
            "sessions": len(times),
            "pairs": len(cell_ns),
            "median_ms": float(np.median(cell_ns)) * MS_PER_NS,
            "against_ms": float(np.median(baseline_ns)) * MS_PER_NS,
        }

    # Accuracy

    def _ranked(self, int8: LayerSet) -> Record:
        reference = self._reference
        with self._built(int8) as artifact:
            values = self._ndcg(self._load(artifact)) if int8 else reference
        change = bootstrap_relative_change(reference, values, confidence=NDCG_CONFIDENCE)
        if change.low == -np.inf:
            raise self._too_few_hits()
        return {
            "size_bytes": artifact.size_bytes,
            "ndcg": float(values.mean()),
            "ndcg_change": asdict(change),
        }

    @cached_property
    def _reference(self) -> FloatArray:
        """Each user's NDCG@10 with all layers in FP32, float64[users]."""
        with self._built(FP32) as artifact:
            values = self._ndcg(self._load(artifact))
        if not values.any():
            raise self._too_few_hits()
        return values

    def _ndcg(self, session: Session) -> FloatArray:
        """Return each user's NDCG@10, float64[users]."""
        cases = chosen_cases(self._plan.dataset, self._plan.users)
        return user_ndcg(session.scores, cases, self._plan.model.max_length)

    def _too_few_hits(self) -> SseptError:
        plan = self._plan
        users = min(plan.users or plan.dataset.users, plan.dataset.users)
        return SseptError(
            f"{plan.checkpoint}: too few of {users} users have a target among their {TOP_K} best "
            "items to bound a loss: rank for more users (--users), or take a trained checkpoint"
        )

    # Files

    def _load(self, artifact: Artifact) -> Session:
        return PROVIDERS[self._plan.provider].load(artifact, self._plan.threads)

    @contextmanager
    def _built(self, int8: LayerSet) -> Iterator[Artifact]:
        """Build the file as served, with its top-k head; it is removed after the block."""
        from ssept.variants.topk import append

        with tempfile.TemporaryDirectory(prefix="ssept-sweep-") as name:
            base, path = Path(name) / "base.onnx", Path(name) / "topk.onnx"
            self._write(base, int8)
            append(base, path)
            yield artifact_of(path, CUSTOM, "onnx", self._plan.model, {}, Signature(topk=True))

    def _write(self, path: Path, int8: LayerSet) -> list[str]:
        """Write the file without its head; returns the names of all layers."""
        try:
            from ssept.variants.fused import write
        except ImportError as error:
            raise SseptError(f"sweeping needs {error.name}: install the train extra") from error
        return write(self._plan.checkpoint, path, int8)
