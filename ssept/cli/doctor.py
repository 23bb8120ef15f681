"""`ssept doctor`: a check of this machine, with recommended fixes."""

import argparse
import dataclasses
import json

from ssept.cli.arguments import seconds

HELP = "check this machine: available providers, measurement noise, recommended fixes"
EXAMPLES = {
    "print the checks and the recommended fixes": "ssept doctor",
    "print them as JSON, after a longer search for noise": "ssept doctor --json --seconds=10",
}
SECONDS = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument(
        "--seconds",
        type=seconds,
        default=SECONDS,
        metavar="S",
        help="duration of the timed loop that measures noise",
    )
    parser.set_defaults(run=_doctor)


def _doctor(arguments: argparse.Namespace) -> int:
    from ssept.measure.doctor import blockers_of, examine, warnings_of
    from ssept.report.doctor import render

    report = examine(arguments.seconds)
    blockers = blockers_of(report)
    if arguments.json:
        advice = {"warnings": warnings_of(report), "blockers": blockers}
        print(json.dumps(dataclasses.asdict(report) | advice, indent=2))
    else:
        print(render(report))
    return 1 if blockers else 0
