"""The report of a choice over several machines."""

from typing import Any

from tabulate import tabulate

from ssept.decide.choose.everywhere import Everywhere, OnMachine
from ssept.percent import percent
from ssept.report.choose import choice_json, sentence
from ssept.report.text import NOTHING, filled

SCHEMA = 1
SHOWN_ROWS = 12
LEGEND = (
    "By how much the best cell of each machine is better, inside that machine's own run; worst: "
    "the largest of these. A cell that is not in the table breaks a promise or was not measured on "
    "one of the machines."
)
COST_LEGEND = (
    "cost: of a million sequences, if every CPU makes such calls, each as fast as a single one."
)


def everywhere_text(found: Everywhere, *, full: bool = False) -> str:
    """Return what to deploy on each machine, and one for all, at most 100 columns wide."""
    blocks = [
        filled(f"Machine {number}, {each.name} ({each.run.path.name}): {sentence(each.found)}")
        for number, each in enumerate(found.machines, 1)
    ]
    blocks.append(filled(together(found)))
    columns = everywhere_columns(found)
    shown = len(found.regrets) if full else SHOWN_ROWS
    table = {name: column[:shown] for name, column in columns.items()}
    if found.regrets:
        align = ["left", *["right"] * (len(table) - 1)]
        blocks.append(tabulate(table, headers="keys", colalign=align, disable_numparse=True))
        blocks.append(filled(LEGEND))
        if _has_prices(found):
            blocks.append(filled(COST_LEGEND))
    if (hidden := len(found.regrets) - shown) > 0:
        blocks.append(f"{hidden} more cells: --full shows them.")
    if found.lacking and full:
        blocks += [
            f"{name}: not on machine {', '.join(map(str, numbers))}"
            for name, numbers in found.lacking.items()
        ]
    return "\n\n".join(blocks)


def together(found: Everywhere) -> str:
    """Say in a sentence or two which cell is good on all machines, and what is cheapest."""
    if found.chosen is None:
        return "One for all machines: no cell keeps the promises on each of them."
    worst = max(found.regrets[found.chosen])
    said = f"One for all machines: {found.chosen}. " + (
        "It is the best on each."
        if worst == 0
        else f"The best of a machine is at most {percent(worst, '.1f')} better."
    )
    costs = [
        (cost, name, number)
        for number, each in enumerate(found.machines, 1)
        for name, candidate in each.able.items()
        if (cost := each.cost_per_million(candidate)) is not None
    ]
    if costs:
        cost, name, number = min(costs)
        said += f" Cheapest: {name} on machine {number}, {cost:.3g} for a million sequences."
    return said


def everywhere_columns(found: Everywhere) -> dict[str, list[str]]:
    """Return the columns of the table by title: each cell's regret and cost on each machine."""
    columns = {"cell": [*found.regrets]}
    columns["worst"] = [f"+{percent(max(each), '.1f')}" for each in found.regrets.values()]
    for place, each in enumerate(found.machines):
        columns[f"machine {place + 1}"] = [
            f"+{percent(regrets[place], '.1f')}" for regrets in found.regrets.values()
        ]
        if each.price is not None:
            columns[f"cost {place + 1}"] = [_cost(each, name) for name in found.regrets]
    return columns


def everywhere_json(found: Everywhere) -> dict[str, Any]:
    """Return the same as plain JSON values."""
    return {
        "schema": SCHEMA,
        "sentence": together(found),
        "chosen": found.chosen,
        "machines": [
            {
                "name": each.name,
                "file": each.run.path.name,
                "price_per_hour": each.price,
                "choice": choice_json(each.found),
                "cost_per_million": {
                    name: each.cost_per_million(candidate) for name, candidate in each.able.items()
                },
            }
            for each in found.machines
        ],
        "regrets": {name: list(regrets) for name, regrets in found.regrets.items()},
        "lacking": {name: list(numbers) for name, numbers in found.lacking.items()},
    }


def _cost(each: OnMachine, name: str) -> str:
    cost = each.cost_per_million(each.able[name])
    return NOTHING if cost is None else f"{cost:.3g}"


def _has_prices(found: Everywhere) -> bool:
    return any(each.price is not None for each in found.machines)
