"""The search for a set of INT8 layers that no change of one layer improves.

1. Everything in FP32 is the reference, and is timed against itself too: what that ratio differs
   from 1 by is the machine's.
2. Each layer alone in INT8 is timed against the reference, and its NDCG@10 compared. It *pays*
   where the geometric mean of its ratios over the batch sizes is above 1 by its interval, or where
   the mean is above NOT_SLOWER by its interval and the file is smaller.
3. All layers that pay are taken together. While that set may lose more than is allowed (the lower
   end of the interval decides), the layer goes that loses most for the speed it gains.
4. From the set that is left, each layer of it is put back and each other one added, one at a time.
   What may lose too much is not timed; the others are timed against the set itself, and of those
   that pay the fastest becomes the set. That is repeated until none pays, ROUNDS times at most; a
   set that was left is not tried again.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from ssept.estimate import Estimate

LayerSet = frozenset[str]
Progress = Callable[[str, int, int], None]

FP32: LayerSet = frozenset()
NOT_SLOWER = 0.99
ROUNDS = 10
LEAST_GAIN = 1e-6  # on the log scale: for the layers that gain nothing, which are the first to go


@dataclass(frozen=True)
class File:
    """A set's model file.

    Attributes:
        size_bytes: with the top-k head.
        ndcg: NDCG@10, the mean over users.
        ndcg_change: of it, relative to everything in FP32.
    """

    size_bytes: int
    ndcg: float
    ndcg_change: Estimate


class Sets(Protocol):
    """Measures sets of layers in INT8."""

    @property
    def layers(self) -> Sequence[str]:
        """The names of all layers, in the order of the network."""

    def file(self, int8: LayerSet) -> File:
        """Return the file with these layers in INT8."""

    def ratios(self, int8: LayerSet, against: LayerSet) -> dict[int, Estimate]:
        """Return how many times as fast as another set it is, by batch size."""


@dataclass(frozen=True, kw_only=True)
class LayerTrial:
    """A set of layers in INT8 beside another one.

    Attributes:
        int8, against: both sets.
        file: of the first.
        smaller: whether it is smaller than that of the other.
        ratios: how many times as fast as the other, by batch size.
    """

    int8: LayerSet
    against: LayerSet
    file: File
    smaller: bool
    ratios: Mapping[int, Estimate]

    @cached_property
    def speed(self) -> Estimate:
        """The geometric mean of the ratios."""
        return geometric_mean(list(self.ratios.values()))

    @property
    def pays(self) -> bool:
        """Whether it is faster, or smaller and not slower."""
        return self.speed.low > 1 or (self.smaller and self.speed.low > NOT_SLOWER)


@dataclass(frozen=True)
class Round:
    """The neighbours of a set, which differ from it by one layer.

    Attributes:
        start: the set.
        trials: of the neighbours that keep the accuracy.
        lossy: the neighbours that may lose too much.
    """

    start: LayerSet
    trials: Sequence[LayerTrial]
    lossy: Sequence[LayerSet]

    @property
    def better(self) -> LayerSet | None:
        """The fastest neighbour that pays, by the lower end of its interval."""
        paying = [trial for trial in self.trials if trial.pays]
        return max(paying, key=lambda trial: trial.speed.low).int8 if paying else None


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """The result of a search.

    Attributes:
        layers: all of them.
        max_loss: the share of NDCG@10 that may be lost.
        reference: everything in FP32, against itself.
        alone: each layer.
        dropped: what paid alone and cost too much accuracy together, in the order of going.
        rounds: the last one changed nothing, unless there are ROUNDS.
        chosen: the set that is left, against everything in FP32.
    """

    layers: Sequence[str]
    max_loss: float
    reference: LayerTrial
    alone: Mapping[str, LayerTrial]
    dropped: Sequence[str]
    rounds: Sequence[Round]
    chosen: LayerTrial

    @property
    def settled(self) -> bool:
        """Whether no neighbour of the chosen set is better."""
        return self.rounds[-1].better is None


def geometric_mean(ratios: Sequence[Estimate]) -> Estimate:
    """Return the geometric mean of independent ratios, with an interval of about their confidence.

    "Square and add" on the log scale, as `ssept.decide.compare.rows.difference` does for a
    difference (Zou and Donner, Statistics in Medicine 27, 2008, pages 1693-1702).
    """
    value, low, high = np.log([(each.value, each.low, each.high) for each in ratios]).T
    mean = value.mean()
    below, above = (
        math.hypot(*distances) / len(ratios) for distances in (value - low, high - value)
    )
    return Estimate(mean, mean - below, mean + above).map(np.exp)


def search(sets: Sets, max_loss: float, progress: Progress) -> SweepResult:
    """Search as the module describes.

    Args:
        sets: what measures.
        max_loss: the share of NDCG@10 that may be lost.
        progress: called before each trial with what is tried, how many trials of its step are
            done, and how many there are.
    """
    return _Search(sets, max_loss, progress).found()


class _Search:
    def __init__(self, sets: Sets, max_loss: float, progress: Progress) -> None:
        self.sets = sets
        self.max_loss = max_loss
        self.progress = progress

    def found(self) -> SweepResult:
        layers = self.sets.layers
        self.progress("all in FP32", 0, 1)
        reference = self.trial(FP32, FP32)
        alone = {}
        for number, layer in enumerate(layers):
            self.progress(f"{layer} alone", number, len(layers))
            alone[layer] = self.trial(frozenset({layer}), FP32)
        paying, dropped = self.reduced(alone)
        rounds = self.rounds(paying)
        chosen = rounds[-1].better or rounds[-1].start
        self.progress("the chosen set", 0, 1)
        last = self.trial(chosen, FP32)
        return SweepResult(
            layers=layers,
            max_loss=self.max_loss,
            reference=reference,
            alone=alone,
            dropped=dropped,
            rounds=rounds,
            chosen=last,
        )

    def reduced(self, alone: Mapping[str, LayerTrial]) -> tuple[LayerSet, list[str]]:
        """Return the layers that pay, and in order those removed for their loss of accuracy."""
        chosen = [layer for layer, trial in alone.items() if trial.pays]
        dropped: list[str] = []
        total = len(chosen)
        while not self.holds(frozenset(chosen)):
            self.progress("those that pay, together", len(dropped), total)
            dropped.append(max(chosen, key=lambda layer: _price(alone[layer])))
            chosen.remove(dropped[-1])
        return frozenset(chosen), dropped

    def rounds(self, start: LayerSet) -> list[Round]:
        rounds: list[Round] = []
        seen = {start}
        better: LayerSet | None = start
        while better is not None and len(rounds) < ROUNDS:
            rounds.append(self.round(len(rounds) + 1, better, seen))
            better = rounds[-1].better
            seen |= {better} if better is not None else set()
        return rounds

    def round(self, number: int, start: LayerSet, seen: set[LayerSet]) -> Round:
        trials, lossy = [], []
        layers = self.sets.layers
        for done, layer in enumerate(layers):
            sign = "-" if layer in start else "+"
            self.progress(f"round {number}: {sign} {layer}", done, len(layers))
            neighbour = start ^ {layer}
            if neighbour in seen:
                continue
            if self.holds(neighbour):
                trials.append(self.trial(neighbour, start))
            else:
                lossy.append(neighbour)
        return Round(start, trials, lossy)

    def holds(self, int8: LayerSet) -> bool:
        return self.sets.file(int8).ndcg_change.low >= -self.max_loss

    def trial(self, int8: LayerSet, against: LayerSet) -> LayerTrial:
        file, other = self.sets.file(int8), self.sets.file(against)
        return LayerTrial(
            int8=int8,
            against=against,
            file=file,
            smaller=file.size_bytes < other.size_bytes,
            ratios=self.sets.ratios(int8, against),
        )


def _price(alone: LayerTrial) -> float:
    """Return the loss of a layer for its gain in speed."""
    return -alone.file.ndcg_change.value / max(math.log(alone.speed.value), LEAST_GAIN)
