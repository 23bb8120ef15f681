"""A value and its confidence interval, which nearly every stage passes on."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A value with its confidence interval; the ends are infinite where the data set no bound."""

    value: float
    low: float
    high: float

    def map(self, function: Callable[[float], float]) -> "Estimate":
        """Apply an increasing function to the value and both ends."""
        return Estimate(*(float(function(each)) for each in (self.value, self.low, self.high)))
