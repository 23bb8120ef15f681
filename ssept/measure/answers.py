"""Answers of timed calls compared with the right ones: wrong, swapped, cached or NaN.

It needs nothing of ssept: the gate's worker loads this file beside any revision of the package.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# Of the largest score: what another order of adding changes. Alone and under load the same batch
# gave the same bits on every provider tried here.
ROUNDING = 1e-5
SHOWN_ITEMS = 3


def copied(answer: Any) -> Any:
    """Copy an answer, since a runtime may use the memory of its outputs again.

    Args:
        answer: all scores, float32[B, items + 1]; ids and scores of the best, [B, k] each; or a
            list of such answers.
    """
    if isinstance(answer, list | tuple):
        return type(answer)(copied(part) for part in answer)
    return np.array(answer)


def difference(answer: Any, expected: Any, max_error: float = 0.0) -> str | None:
    """Describe how an answer differs from the expected one; None if it does not.

    Args:
        answer, expected: as for `copied`, both of the same kind.
        max_error: the largest difference of a score. Items within it of the last place may be
            exchanged for others. If it is infinite, half of the best items must be the same.
    """
    if isinstance(expected, list):
        if len(answer) != len(expected):
            return f"{len(answer)} answers instead of {len(expected)}"
        pairs = zip(answer, expected, strict=True)
        return next((why for one in pairs if (why := difference(*one, max_error))), None)
    if isinstance(expected, tuple):
        return _of_best(answer, expected, max_error)
    scores, wanted = np.asarray(answer)[:, 1:], expected[:, 1:]  # column 0 is padding
    if why := _of_shape_or_nan(scores, wanted):
        return why
    if np.array_equal(scores, wanted) or _close(scores, wanted, max_error).all():
        return None
    return f"scores that differ by up to {np.abs(scores - wanted).max():.3g}"


def all_equal(answers: Sequence[Any]) -> bool:
    """Whether several inputs all have the same answer, to the bit."""
    return len(answers) > 1 and len({_flat(answer) for answer in answers}) == 1


def overlap(answer: Any, expected: Any) -> float:
    """Compute the mean share of the expected best items that are in the answer."""
    rows = zip(answer[0].tolist(), expected[0].tolist(), strict=True)
    return float(np.mean([len({*given} & {*wanted}) / len(wanted) for given, wanted in rows]))


def _flat(answer: Any) -> bytes:
    if isinstance(answer, list | tuple):
        return b"".join(map(_flat, answer))
    return bytes(answer.tobytes())


def _of_shape_or_nan(scores: Any, wanted: Any) -> str | None:
    if scores.shape != wanted.shape:
        return f"shape {list(scores.shape)} instead of {list(wanted.shape)}"
    if scores.size and np.isnan(scores.max()):  # the largest of any with NaN is NaN
        return "a score is NaN"
    return None


def _close(scores: Any, wanted: Any, max_error: float) -> Any:
    """Compare scores one by one; equal infinities are close, NaN never is."""
    with np.errstate(invalid="ignore"):  # of two infinities
        return (scores == wanted) | (np.abs(scores - wanted) <= _tolerance(wanted, max_error))


def _tolerance(wanted: Any, max_error: float) -> float:
    finite = np.abs(wanted[np.isfinite(wanted)])
    return max_error + ROUNDING * float(finite.max(initial=0))


def _of_best(answer: Any, expected: Any, max_error: float) -> str | None:
    ids, scores = map(np.asarray, answer)
    want_ids, wanted = expected
    for found, right in ((ids, want_ids), (scores, wanted)):
        if why := _of_shape_or_nan(found, right):
            return why
    if np.array_equal(ids, want_ids) and _close(scores, wanted, max_error).all():
        return None
    tolerance = _tolerance(wanted, max_error)
    rows = zip(ids.tolist(), scores.tolist(), want_ids.tolist(), wanted.tolist(), strict=True)
    for place, (items, values, want_items, want_values) in enumerate(rows):
        given = dict(zip(items, values, strict=True))
        if not _same_best(given, dict(zip(want_items, want_values, strict=True)), tolerance):
            given_best, right_best = (
                f"items {', '.join(map(str, row[:SHOWN_ITEMS]))} … (best score {best[0]:.4g})"
                for row, best in ((items, values), (want_items, want_values))
            )
            return f"row {place} has {given_best} instead of {right_best}"
    return None


def _same_best(given: Mapping[int, float], wanted: Mapping[int, float], tolerance: float) -> bool:
    common = given.keys() & wanted.keys()
    if len(given) != len(wanted) or 2 * len(common) < len(wanted):
        return False
    if math.isinf(tolerance):
        return True
    if not all(abs(given[item] - wanted[item]) <= tolerance for item in common):
        return False
    # An item of one side alone has nearly the last place's score, and so is exchangeable.
    return all(
        best[item] - min(best.values()) <= 2 * tolerance
        for best in (given, wanted)
        for item in best.keys() - common
    )
