"""Reports of a capacity: the sentence, and the arithmetic line by line."""

from typing import Any

from tabulate import tabulate

from ssept.decide.capacity.replicas import Capacity
from ssept.percent import percent
from ssept.report.text import filled

HOW_WIDTH = 48
DIGITS = 6


def sentence(found: Capacity) -> str:
    """Return how many replicas are needed, in a sentence."""
    demand = found.demand
    many = f"{found.replicas:,} replica{'s' if found.replicas > 1 else ''}"
    text = (
        f"{many} for a peak of {demand.peak_rate:,.6g} requests a second with a p99 of at most "
        f"{found.limit_ms:g} ms and {percent(demand.headroom)} headroom"
    )
    if found.cost_per_hour is not None:
        text += f", at a cost of {found.cost_per_hour:,.6g} an hour"
    return f"{text}{' (by a predicted rate)' if found.predicted else ''}."


def capacity_text(found: Capacity) -> str:
    """Return the sentence, the arithmetic and what is assumed, at most 100 columns wide."""
    rows = [(step.what, step.how, f"{step.value:,.{DIGITS}g}", step.unit) for step in found.steps]
    table = tabulate(
        rows,
        tablefmt="plain",
        disable_numparse=True,
        colalign=("left", "left", "right", "left"),
        maxcolwidths=[None, HOW_WIDTH, None, None],
    )
    asked = f"--p99-ms={found.limit_ms:g} --rate={found.load_each:.6g}"
    check = f"Check it: ssept promise URL {asked}"
    return "\n\n".join([filled(sentence(found)), table, *map(filled, found.assumed), check])


def capacity_json(found: Capacity) -> dict[str, Any]:
    """Return all of it as plain JSON values."""
    return {"sentence": sentence(found)} | found.as_json()
