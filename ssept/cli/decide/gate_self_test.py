"""`ssept gate --self-test`: rates of false alarms and of detection on this machine."""

import argparse
import dataclasses
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ssept.cli.arguments import minutes, positive
from ssept.cli.measuring import progress_bar
from ssept.errors import GateError
from ssept.expressions import chosen
from ssept.files import save_text, write_json
from ssept.installation import shipped_checkpoint
from ssept.providers import PROVIDERS

if TYPE_CHECKING:
    from ssept.decide.gate.cells import GateCell
    from ssept.decide.gate.self_test.scenarios import Condition
    from ssept.decide.gate.self_test.trials import SelfTest

VARIANT = "onnx"
PROVIDERS_TRIED = ("cpu", "openvino")
RESULTS = Path("results/gate")
INTERRUPTED_STATUS = 3
# Options of the gate that the self-test takes too, and its own.
SHARED = ("select", "checkpoint", "seconds", "json", "markdown")
OWN = {"results": "--results", "conditions": "--conditions", "trials": "--trials",
       "max_minutes": "--max-minutes", "report": "--report"}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; those of the self-test are None unless given."""
    group = parser.add_argument_group(
        "self-test",
        "Trials of the gate with identical code and with slower code, without BASE and HEAD.",
    )
    group.add_argument(
        "--self-test", action="store_true", help="measure the error rates of the gate"
    )
    group.add_argument(
        "--results", type=Path, metavar="DIR", help=f"folder of the trials (default: {RESULTS})"
    )
    group.add_argument(
        "--conditions", metavar="NAMES", help="conditions, separated by commas (default: all)"
    )
    group.add_argument(
        "--trials",
        type=positive,
        metavar="N",
        help="number of suites of each condition (default: its own)",
    )
    group.add_argument(
        "--max-minutes",
        type=minutes,
        metavar="M",
        help="start no suite that may take longer than until minute M",
    )
    group.add_argument(
        "--report",
        action="store_true",
        default=None,
        help="only print the rates of the finished trials",
    )


def check(arguments: argparse.Namespace) -> None:
    """Raise GateError where arguments of the gate and of its self-test are mixed."""
    if not arguments.self_test:
        for name, option in OWN.items():
            if getattr(arguments, name) is not None:
                raise GateError(f"{option} is valid only with --self-test")
        return
    of_both = {*SHARED, *OWN, "self_test"}
    defaults = vars(arguments.parser.parse_args([]))
    for name, value in vars(arguments).items():
        if name not in of_both and value != defaults.get(name, value):
            given = name.upper() if name in ("base", "head") else f"--{name.replace('_', '-')}"
            raise GateError(f"{given} cannot be combined with --self-test")


def self_test(arguments: argparse.Namespace) -> int:
    """Run the missing trials, then print the rates of all trials.

    Raises:
        GateError: an argument is wrong, the cells cannot be measured, or a file is damaged.
    """
    from ssept.decide.gate.self_test.rates import rates_in
    from ssept.decide.gate.self_test.trials import run_self_test
    from ssept.report.self_test import self_test_markdown, self_test_text

    folder = arguments.results or RESULTS
    status = 0
    if not arguments.report:
        wanted = _wanted(arguments, folder)
        try:
            with progress_bar("suite") as show:
                run_self_test(wanted, show)
        except KeyboardInterrupt:
            print("ssept: interrupted: finished suites are kept", file=sys.stderr)
            status = INTERRUPTED_STATUS
    found = rates_in(folder)
    if arguments.json:
        write_json(arguments.json, [rates.as_json() for rates in found])
    if arguments.markdown:
        save_text(arguments.markdown, self_test_markdown(found))
    print(self_test_text(found) or f"{folder}: no finished suite of the self-test")
    return status


def _wanted(arguments: argparse.Namespace, folder: Path) -> "SelfTest":
    from ssept.decide.gate.self_test.trials import SelfTest

    minutes = math.inf if arguments.max_minutes is None else arguments.max_minutes
    if not minutes > 0:
        raise GateError(f"--max-minutes {arguments.max_minutes}: expected minutes above 0")
    checkpoint = arguments.checkpoint or shipped_checkpoint()
    if not checkpoint.is_file():
        raise GateError(f"{checkpoint}: no such file: name a checkpoint with --checkpoint")
    return SelfTest(
        folder=folder,
        conditions=_conditions(arguments),
        cells=_cells(arguments),
        checkpoint=checkpoint,
        seconds=60 * minutes,
    )


def _conditions(arguments: argparse.Namespace) -> Mapping[str, "Condition"]:
    from ssept.decide.gate.self_test.scenarios import CONDITIONS

    names = list(CONDITIONS)
    if arguments.conditions:
        names = [name.strip() for name in arguments.conditions.split(",")]
    if unknown := [name for name in names if name not in CONDITIONS]:
        raise GateError(f"--conditions {unknown[0]}: expected names from {', '.join(CONDITIONS)}")
    changes = {"suites": arguments.trials, "seconds": arguments.seconds}
    if arguments.trials is not None and arguments.trials < 1:
        raise GateError(f"--trials {arguments.trials}: expected a number of suites of at least 1")
    given = {name: value for name, value in changes.items() if value is not None}
    return {
        name: dataclasses.replace(condition, **given)
        for name, condition in CONDITIONS.items()
        if name in names
    }


def _cells(arguments: argparse.Namespace) -> list["GateCell"]:
    """Return the cells of the providers that run here and that -k selects."""
    from ssept.decide.gate.cells import GateCell
    from ssept.decide.gate.self_test.scenarios import BATCH_SIZES

    cells = [
        GateCell(VARIANT, provider, batch)
        for provider in PROVIDERS_TRIED
        if PROVIDERS[provider].unavailable() is None
        for batch in BATCH_SIZES
    ]
    selected = [cell for cell in cells if chosen(cell.id, arguments.select)]
    if not selected:
        ids = ", ".join(cell.id for cell in cells) or "none: no onnxruntime is installed"
        raise GateError(f"-k {arguments.select!r} matches none of the cells that run here: {ids}")
    return selected
