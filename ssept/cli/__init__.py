"""`ssept …`: each command a thin call into the library; a new one is one module and one line."""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from ssept.cli import build, data, doctor, golden, report, serve, train, triton
from ssept.cli.decide import compare, gate, scale, sweep, tune
from ssept.errors import SseptError
from ssept.providers.onnxruntime import check_one_onnxruntime

USAGE_ERROR = 2  # as argparse has it
COMMANDS = {
    "data": data,
    "train": train,
    "build": build,
    "golden": golden,
    "report": report,
    "compare": compare,
    "gate": gate,
    "doctor": doctor,
    "tune": tune,
    "scale": scale,
    "sweep": sweep,
    "serve": serve,
    "triton": triton,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; errors that a user can fix are one line and exit code 1.

    A command may set `error_status`, an exit code of its own for these and for wrong arguments.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    parsed, unknown = _parser(arguments).parse_known_args(arguments)
    if unknown:
        parsed.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    error_status: int = getattr(parsed, "error_status", 1)
    try:
        if parsed.command is not doctor:  # which explains what this refuses
            check_one_onnxruntime()
        status: int | None = parsed.run(parsed)
    except SseptError as error:
        print(f"ssept: error: {error}", file=sys.stderr)
        return error_status
    except OSError as error:
        print(f"ssept: error: {error.filename or 'a file'}: {error.strerror}", file=sys.stderr)
        return error_status
    except KeyboardInterrupt:
        print("ssept: interrupted", file=sys.stderr)
        return 130
    return status or 0


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """A help formatter that adds a default where there is one and the help does not name it."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        named = action.default in (None, False, "") or "(default" in (action.help or "")
        return action.help if named else super()._get_help_string(action)


class _Parser(argparse.ArgumentParser):
    """A parser that ends with the command's own exit code where arguments are wrong."""

    def error(self, message: str) -> NoReturn:
        """Say how it is used and what is wrong, and exit."""
        self.print_usage(sys.stderr)
        status = self.get_default("error_status") or USAGE_ERROR
        self.exit(status, f"{self.prog}: error: {message}\n")


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
