"""Answers of timed calls: what is wrong, swapped, cached or NaN under load fails the cell."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ssept.errors import AnswerError
from ssept.measure.answers import difference
from ssept.measure.calls import CheckedCall
from ssept.measure.latency import paired_times

ITEMS = 30
QUICK: dict[str, Any] = {"seconds": 0.0, "least_pairs": 40}
BATCHES = [
    (np.arange(2), np.random.default_rng(seed).integers(1, ITEMS + 1, (2, 5))) for seed in range(6)
]
BEFORE = len(BATCHES)  # calls that learn the right answers


class Engine:
    """Scores that depend on each row, of a session whose `fault` changes an answer's scores.

    Attributes:
        calls: how many were made so far.
        answers: the right ones, in the order of the calls.
    """

    def __init__(self, fault: Callable[["Engine", Any], Any] | None = None) -> None:
        self.calls = 0
        self.answers: list[Any] = []
        self._fault = fault

    def scores(self, user: Any, sequence: Any) -> Any:
        self.calls += 1
        rows = [np.random.default_rng([*row, one]) for row, one in zip(sequence, user, strict=True)]
        right = np.stack([row.normal(size=ITEMS + 1) for row in rows]).astype(np.float32)
        self.answers.append(right)
        return self._fault(self, right.copy()) if self._fault else right

    def best(self, user: Any, sequence: Any) -> Any:
        scores = self.scores(user, sequence)
        ids = np.argsort(-scores[:, 1:], axis=1)[:, :5] + 1
        return ids, np.take_along_axis(scores, ids, axis=1)

    def several(self, user: Any, sequence: Any) -> Any:
        return [self.best(user[:1], sequence[:1]), self.best(user[1:], sequence[1:])]


def nan_once(engine: Engine, scores: Any) -> Any:
    if engine.calls == 5 * BEFORE:
        scores[0] = np.nan
    return scores


def wrong_once(engine: Engine, scores: Any) -> Any:
    return scores[:, ::-1] if engine.calls == 5 * BEFORE else scores


class Reused:
    """An output buffer that is used again, and holds the right scores only afterwards."""

    def __call__(self, engine: Engine, scores: Any) -> Any:
        if engine.calls <= BEFORE:
            self.buffer = np.empty_like(scores)
        if len(scores) != len(self.buffer):
            return scores
        wrong = engine.calls % 20 == 0
        self.buffer[:] = engine.answers[-2] if wrong else scores
        return self.buffer


FAULTS: dict[str, tuple[Callable[[], Callable[[Engine, Any], Any]], str]] = {
    "wrong after some calls": (
        lambda: lambda engine, scores: -scores if engine.calls > 4 * BEFORE else scores,
        "instead of|differ by",
    ),
    "wrong once": (lambda: wrong_once, "instead of|differ by"),
    "NaN once": (lambda: nan_once, "a score is NaN"),
    "of the call before": (
        lambda: lambda engine, _: engine.answers[-2 if engine.calls > BEFORE else -1],
        "it is the answer to another input",
    ),
    "of the call before, always": (
        lambda: lambda engine, _: engine.answers[max(0, engine.calls - 2)],
        "it is the answer to another input|instead of|differ by",
    ),
    "cached under load": (
        lambda: lambda engine, scores: engine.answers[0] if engine.calls > 3 * BEFORE else scores,
        "it is the answer to another input",
    ),
    "cached always": (lambda: lambda engine, _: engine.answers[0], "have the same answer"),
    "NaN always": (lambda: lambda _, scores: scores * np.nan, "before the load: a score is NaN"),
    "in a buffer used again": (Reused, "it is the answer to another input|instead of|differ by"),
}


def checked(call: Callable[..., Any]) -> CheckedCall:
    return CheckedCall(call, BATCHES, name="toy-cpu")


@pytest.mark.parametrize("kind", ["scores", "best"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("place", ["cell", "baseline"])
def test_a_fault_under_load_fails_the_loop(fault: str, kind: str, place: str) -> None:
    make, message = FAULTS[fault]
    engines = [Engine(make()), Engine()]

    def measure() -> None:
        calls = [checked(getattr(engine, kind)) for engine in engines]
        paired_times(*(calls if place == "cell" else calls[::-1]), **QUICK)

    with pytest.raises(AnswerError, match=message) as caught:
        measure()
    assert str(caught.value).startswith("toy-cpu: ")
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["scores", "best", "several"])
def test_a_faultless_session_passes(kind: str) -> None:
    calls = [checked(getattr(Engine(), kind)) for _ in range(2)]
    cell_ns, baseline_ns = paired_times(*calls, **QUICK)
    assert len(cell_ns) == len(baseline_ns) == 40


def test_one_wrong_call_of_several_is_found() -> None:
    def fault(engine: Engine, scores: Any) -> Any:
        return -scores if engine.calls == 50 else scores

    with pytest.raises(AnswerError):
        paired_times(checked(Engine(fault).several), checked(Engine().several), **QUICK)


def test_no_timed_call_has_the_input_of_the_call_before() -> None:
    seen: list[int] = []

    def call(user: Any, sequence: Any) -> Any:
        seen.append(int(sequence.sum()))
        return Engine().best(user, sequence)

    paired_times(checked(call), checked(Engine().best), **QUICK)
    loop = seen[BEFORE:]
    assert all(untimed != timed for untimed, timed in zip(loop[::2], loop[1::2], strict=True))
    assert len({*loop[1::2]}) == BEFORE


def best(ids: list[int], scores: list[float]) -> Any:
    return np.array([ids]), np.array([scores], np.float32)


EXPECTED = best([3, 5, 8, 9], [4.0, 3.0, 2.0, 1.0])
INF = float("inf")


@pytest.mark.parametrize(
    ("answer", "max_error"),
    [
        (EXPECTED, 0.0),
        (best([3, 5, 8, 9], [4.00001, 3.0, 2.0, 1.0]), 0.0),
        (best([3, 5, 8, 9], [4.4, 3.3, 2.2, 1.1]), 0.5),
        (best([5, 3, 8, 9], [3.6, 3.5, 2.0, 1.0]), 0.6),
        (best([3, 5, 8, 7], [4.0, 3.0, 2.0, 1.00001]), 0.0),
        (best([3, 5, 6, 7], [9.0, 8.0, 7.0, 6.0]), INF),
    ],
    ids=["equal", "rounded", "within", "exchanged", "tie at the end", "half of them"],
)
def test_what_a_provider_may_do_is_no_difference(answer: Any, max_error: float) -> None:
    assert difference(answer, EXPECTED, max_error) is None


@pytest.mark.parametrize(
    ("answer", "max_error"),
    [
        (best([3, 5, 8, 9], [4.01, 3.0, 2.0, 1.0]), 0.0),
        (best([4, 6, 9, 10], [4.0, 3.0, 2.0, 1.0]), 0.0),
        (best([9, 8, 5, 3], [4.0, 3.0, 2.0, 1.0]), 0.0),
        (best([7, 5, 8, 9], [4.0, 3.0, 2.0, 1.0]), 0.1),
        (best([3, 3, 3, 3], [4.0, 3.0, 2.0, 1.0]), INF),
        (best([3, 6, 7, 2], [4.0, 3.0, 2.0, 1.0]), INF),
        (best([3, 5, 8, 9], [4.0, float("nan"), 2.0, 1.0]), INF),
        (best([3, 5, 8], [4.0, 3.0, 2.0]), INF),
    ],
    ids=["score", "ids", "order", "first", "repeated", "a quarter", "NaN", "shorter"],
)
def test_what_is_no_rounding_is_a_difference(answer: Any, max_error: float) -> None:
    assert difference(answer, EXPECTED, max_error)
