"""Verdicts of other tools' rules on the same calls.

The rules are applied to the calls of the gate's own trials in two ways. *Interleaved* uses all
calls of both sides in the order of measuring: better than these tools measure. *In sequence*
is how they are used, one version after the other: the base's calls of the first half of the
passes against the head's of the second half. Nothing is resampled in either.

pyperf and asv average calls into values of some 0.1 and 0.01 s before their test; here the test
sees single calls, as pytest-benchmark's statistics do.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Times = NDArray[Any]
Rule = Callable[[Times, Times], bool]
T_LEVEL = 0.05
MANN_WHITNEY_LEVEL = 0.002
FACTOR = 1.1


def mean_10(base_ns: Times, head_ns: Times) -> bool:
    """pytest-benchmark, `--benchmark-compare-fail=mean:10%`."""
    return bool(head_ns.mean() > 1.10 * base_ns.mean())


def median_5(base_ns: Times, head_ns: Times) -> bool:
    """pytest-benchmark, `--benchmark-compare-fail=median:5%`."""
    return bool(np.median(head_ns) > 1.05 * np.median(base_ns))


def min_5(base_ns: Times, head_ns: Times) -> bool:
    """pytest-benchmark, `--benchmark-compare-fail=min:5%`."""
    return bool(head_ns.min() > 1.05 * base_ns.min())


def t_test(base_ns: Times, head_ns: Times) -> bool:
    """Judge as pyperf's `compare_to`: Student's t-test with pooled variance, two-sided at 0.05."""
    if head_ns.mean() <= base_ns.mean():
        return False
    # Without any variance there is no p-value, and the difference is all that can be said.
    if not (np.ptp(base_ns) or np.ptp(head_ns)):
        return True
    return bool(stats.ttest_ind(base_ns, head_ns).pvalue < T_LEVEL)


def mann_whitney(base_ns: Times, head_ns: Times) -> bool:
    """Judge as asv's `continuous`: two-sided U test at 0.002, medians apart by a factor of 1.1."""
    if np.median(head_ns) <= FACTOR * np.median(base_ns):
        return False
    return bool(stats.mannwhitneyu(base_ns, head_ns).pvalue < MANN_WHITNEY_LEVEL)


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "mean:10%": mean_10,
        "median:5%": median_5,
        "min:5%": min_5,
        "t-test": t_test,
        "Mann-Whitney": mann_whitney,
    }
)
INTERLEAVED, IN_SEQUENCE = WAYS = ("interleaved", "in sequence")


def rivals(base_ns: Sequence[Times], head_ns: Sequence[Times]) -> dict[str, dict[str, bool]]:
    """Apply each rule to both ways of taking the calls; true where it calls the head slower.

    Args:
        base_ns, head_ns: the times of each side's calls, int64[n] a pass; two passes or more. Of
            an odd number the middle one is in neither half.
    """
    half = len(base_ns) // 2
    calls = {
        INTERLEAVED: (np.concatenate(base_ns), np.concatenate(head_ns)),
        IN_SEQUENCE: (np.concatenate(base_ns[:half]), np.concatenate(head_ns[-half:])),
    }
    return {way: {name: rule(*calls[way]) for name, rule in RULES.items()} for way in WAYS}
