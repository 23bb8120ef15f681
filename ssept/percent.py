"""Shares, as people write them: 3 %."""

import math

EXPECTED = "a share from 0 up, as 3% or 0.03"


def share(value: object) -> float:
    """Read a share: "3%", "0.03" or 0.03.

    Raises:
        ValueError: it is none. A bare number from 1 up is refused: 3 is not 3 %.
    """
    text = str(value).strip()
    number = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    if not 0 <= number < math.inf or (number >= 1 and not text.endswith("%")):
        raise ValueError(text)
    return number


def percent(value: float, form: str = "g") -> str:
    """Write a share in percent, the number formatted as `form` says: "3 %"."""
    return f"{100 * value:{form}} %"
