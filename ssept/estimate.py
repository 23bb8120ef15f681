"""A value and its confidence interval, which nearly every stage passes on."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Estimate:
    """A value with its confidence interval; the ends are infinite where the data set no bound."""

    value: float
    low: float
    high: float

    def map(self, function: Callable[[float], float]) -> "Estimate":
        """Apply an increasing function to the value and both ends."""
        return Estimate(*(float(function(each)) for each in (self.value, self.low, self.high)))

    def as_json(self) -> dict[str, float | None]:
        """Return plain JSON values; null for what is not finite."""
        return {name: n if math.isfinite(n) else None for name, n in asdict(self).items()}
