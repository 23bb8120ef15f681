"""`ssept …`: each command a thin call into the library; a new one is one module and one line."""

import argparse
import sys
from collections.abc import Sequence

from ssept.cli import build, data, doctor, golden, report, train, tune
from ssept.errors import SseptError
from ssept.providers.onnxruntime import check_one_onnxruntime

COMMANDS = {
    "data": data,
    "train": train,
    "build": build,
    "golden": golden,
    "report": report,
    "doctor": doctor,
    "tune": tune,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; errors that a user can mend end in one line and exit code 1."""
    parsed = _parser().parse_args(arguments)
    try:
        if parsed.command is not doctor:  # which explains what this refuses
            check_one_onnxruntime()
        status: int | None = parsed.run(parsed)
    except SseptError as error:
        print(f"ssept: error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"ssept: error: {error.filename or 'a file'}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("ssept: interrupted", file=sys.stderr)
        return 130
    return status or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ssept",
        description="Benchmark SSE-PT, a sequential recommender, in the ways it can be served.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        subparser = commands.add_parser(
            name,
            help=command.HELP,
            description=command.HELP,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        subparser.set_defaults(command=command)
        command.add_arguments(subparser)
    return parser
