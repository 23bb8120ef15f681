"""The commands of `ssept`: each a thin call into the library; a new one is one module and one line.

`ssept.cli.main` imports this, and so all that the commands need, only where an error is met.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from ssept.cli import (
    completion,
    data,
    doctor,
    export,
    findings,
    fleet,
    report,
    serve,
    triton,
    verify,
)
from ssept.cli.decide import (
    capacity,
    choose,
    compare,
    gate,
    history,
    promise,
    scale,
    self_test,
    sweep,
    tune,
)
from ssept.cli.model import build, evaluate, golden, train
from ssept.cli.parsers import Help, add_module, with_examples
from ssept.cli.process import TRACEBACK_OPTION, TRACEBACK_VARIABLE, ArgumentsExit
from ssept.providers.onnxruntime import check_one_onnxruntime

COMMANDS = {
    "data": data,
    "train": train,
    "evaluate": evaluate,
    "build": build,
    "golden": golden,
    "choose": choose,
    "fleet": fleet,
    "report": report,
    "findings": findings,
    "compare": compare,
    "verify": verify,
    "export": export,
    "gate": gate,
    "history": history,
    "doctor": doctor,
    "tune": tune,
    "scale": scale,
    "sweep": sweep,
    "self-test": self_test,
    "promise": promise,
    "capacity": capacity,
    "serve": serve,
    "triton": triton,
    "completion": completion,
}
EXAMPLES = {
    "check this machine": "ssept doctor",
    "choose what to deploy on it": "ssept choose --max-minutes=6",
    "compare the working tree with the branch main": "ssept gate main .",
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


class _Parser(argparse.ArgumentParser):
    """A parser with the options of all commands."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.add_argument(
            TRACEBACK_OPTION,
            action="store_true",
            default=argparse.SUPPRESS,
            help=f"print the traceback of an error (or set {TRACEBACK_VARIABLE}=1)",
        )

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """End the program, so that `main` knows that it was argparse."""
        if message:
            self._print_message(message, sys.stderr)
        raise ArgumentsExit(status)


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="ssept",
        description="Measure, compare, choose and serve variants of SSE-PT, a sequential "
        "recommender.",
        epilog=with_examples("`ssept COMMAND --help` explains a command.", EXAMPLES),
        formatter_class=Help,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        subparser = add_module(commands, name, command)
        subparser.set_defaults(command=command)
        if name in arguments:  # to declare the options of all would import torch for `train`
            command.add_arguments(subparser)
    return parser


def parser_of_all() -> argparse.ArgumentParser:
    """Return the parser of all commands with all their options."""
    return _parser(list(COMMANDS))


def parser_of(name: str) -> argparse.ArgumentParser:
    """Return the parser of a command with all its options."""
    (commands,) = (
        action
        for action in _parser([name])._actions  # argparse has no other way
        if isinstance(action, argparse._SubParsersAction)
    )
    parser: argparse.ArgumentParser = commands.choices[name]
    return parser
