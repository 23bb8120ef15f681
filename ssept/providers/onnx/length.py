"""The longest sequence of an ONNX file with an axis of any length, found by running it."""

from collections.abc import Callable

import numpy as np

from ssept.errors import ArtifactError
from ssept.providers.onnx.names import ASK
from ssept.providers.session import Ids, Scores

MOST = 4096
CLEARLY, LITTLE = 3, 1e-3  # times a change that was there before, and a share of the range
Run = Callable[[Ids], Scores]


def longest(run: Run, fixed: int | None, given: int | None) -> int:
    """Return the longest sequence that a file reads.

    A table of positions has a row for each place, so that the network fails beyond it.

    Args:
        run: gives the scores of int64[B, L], or raises an ArtifactError.
        fixed: the only length that it takes, or None.
        given: what the user says, or None.

    Raises:
        ArtifactError: it runs at no length, at any, or not at the one that is given.
    """
    if given and fixed and given != fixed:
        raise ArtifactError(f"accepts only sequences of {fixed}, but length={given} was given")
    if found := given or fixed:
        run(_sequence(1, found))
        return found
    short = next((length for length in _doubled(1) if _runs(run, length)), None)
    if short is None:
        run(_sequence(1, 1))  # raises the reason
        raise ArtifactError(f"runs at no length up to {MOST}")
    long = next((length for length in _doubled(2 * short) if not _runs(run, length)), None)
    if long is None:
        raise ArtifactError(
            "accepts sequences of any length, so the longest one cannot be detected; give the "
            f"length that it was trained with as length=N {ASK}"
        )
    while long - short > 1:
        middle = (short + long) // 2
        short, long = (middle, long) if _runs(run, middle) else (short, middle)
    return short - 1 if _is_wrapped(run, short) else short


def _doubled(length: int) -> list[int]:
    lengths = []
    while length <= MOST:
        lengths.append(length)
        length *= 2
    return lengths


def _runs(run: Run, length: int) -> bool:
    try:
        run(_sequence(1, length))
    except ArtifactError:
        return False
    return True


def _is_wrapped(run: Run, length: int) -> bool:
    """Whether a sequence of this length gets wrong positions.

    `table[rows - length:]` counts from the end where that is negative: one place too many gives the
    last row to all. Then padding on the left changes the scores, where it did not before.
    """
    return length > 2 and _padded(run, length) > CLEARLY * _padded(run, length - 1) + LITTLE


def _padded(run: Run, length: int) -> float:
    """How much one item of padding on the left changes the scores, as a share of their range."""
    shorter = _sequence(2, length - 1)
    scores = run(shorter)[:, 1:]
    padded = run(np.pad(shorter, ((0, 0), (1, 0))))[:, 1:]
    # Of scores that are not finite, which is looked at later, or almost not.
    with np.errstate(invalid="ignore", over="ignore"):
        return float(np.abs(padded - scores).max() / (np.ptp(scores) or 1))


def _sequence(first: int, length: int) -> Ids:
    """One sequence in which items 1 and 2 alternate: they are in any catalog."""
    return (np.arange(first, first + length, dtype=np.int64) % 2 + 1)[None]
