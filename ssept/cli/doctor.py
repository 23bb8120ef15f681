"""`ssept doctor`: whether this machine can measure, and what to do about it."""

import argparse
import dataclasses
import json

from ssept.cli.arguments import seconds

HELP = "look at this machine: what runs here, whether it is quiet enough, what to mend"
SECONDS = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--seconds",
        type=seconds,
        default=SECONDS,
        metavar="S",
        help="how long to time a fixed piece of work",
    )
    parser.set_defaults(run=_doctor)


def _doctor(arguments: argparse.Namespace) -> int:
    from ssept.measure.doctor import blockers_of, examine, render, warnings_of

    report = examine(arguments.seconds)
    blockers = blockers_of(report)
    if arguments.json:
        advice = {"warnings": warnings_of(report), "blockers": blockers}
        print(json.dumps(dataclasses.asdict(report) | advice, indent=2))
    else:
        print(render(report))
    return 1 if blockers else 0
