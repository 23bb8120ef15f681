"""The commands of `ssept`: each a thin call into the library; a new one is one module and one line.

`ssept.cli.main` imports this, and so all that the commands need, only where an error is met.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from ssept.cli import data, doctor, findings, report, serve, triton
from ssept.cli.decide import (
    capacity,
    choose,
    compare,
    gate,
    promise,
    scale,
    self_test,
    sweep,
    tune,
)
from ssept.cli.model import build, evaluate, golden, train
from ssept.cli.process import TRACEBACK_OPTION, TRACEBACK_VARIABLE, ArgumentsExit
from ssept.providers.onnxruntime import check_one_onnxruntime

COMMANDS = {
    "data": data,
    "train": train,
    "evaluate": evaluate,
    "build": build,
    "golden": golden,
    "choose": choose,
    "report": report,
    "findings": findings,
    "compare": compare,
    "gate": gate,
    "doctor": doctor,
    "tune": tune,
    "scale": scale,
    "sweep": sweep,
    "self-test": self_test,
    "promise": promise,
    "capacity": capacity,
    "serve": serve,
    "triton": triton,
}


def run(arguments: Sequence[str]) -> int:
    """Run a command; returns its exit code.

    Raises:
        ArgumentsExit: there is nothing to run.
    """
    parsed, unknown = _parser(arguments).parse_known_args(arguments)
    if unknown:
        parsed.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if parsed.command is not doctor:  # which explains what this refuses
        check_one_onnxruntime()
    status: int | None = parsed.run(parsed)
    return status or 0


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """A help formatter that adds a default where there is one and the help does not name it."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        named = action.default in (None, False, "", []) or "(default" in (action.help or "")
        if not named and isinstance(action.default, list):  # as it is written on the command line
            return f"{action.help} (default: {','.join(map(str, action.default))})"
        return action.help if named else super()._get_help_string(action)


class _Parser(argparse.ArgumentParser):
    """A parser with the options of all commands."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.add_argument(
            TRACEBACK_OPTION,
            action="store_true",
            default=argparse.SUPPRESS,
            help=f"show where in the code an error was met (or set {TRACEBACK_VARIABLE}=1)",
        )

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """End the program, so that `main` knows that it was argparse."""
        if message:
            self._print_message(message, sys.stderr)
        raise ArgumentsExit(status)


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="ssept",
        description="Benchmark SSE-PT, a sequential recommender, in the ways it can be served.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        subparser = commands.add_parser(
            name,
            help=command.HELP,
            description=command.HELP,
            formatter_class=_Help,
        )
        subparser.set_defaults(command=command, parser=subparser)
        if name in arguments:  # to declare the options of all would import torch for `train`
            command.add_arguments(subparser)
    return parser
