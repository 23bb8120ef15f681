"""`ssept report`: saved runs as a table, a page, or another file."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ssept.cli.arguments import add_runs, positive
from ssept.cli.decide.choose import GOALS, add_promises, promises_of
from ssept.cli.parsers import Options
from ssept.errors import SseptError
from ssept.report.table import matrix_report
from ssept.results.files import read_matrix_runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ssept.decide.journal import Record
    from ssept.results.cells import MatrixRun

HELP = "show saved runs as a table, or write a page that recommends what to deploy and says why"
EPILOG = (
    "Without --output and --format, the table of each run is printed. The page is a single HTML "
    "file that needs no other file. It shows the recommendation, accuracy against speed, latency, "
    "throughput, size and memory, servers, scale, what was not measured, the machine, and the "
    "command of each figure. It needs the extra report. Times of several machines are never "
    "compared, only their ratios to the baseline of the same run."
)
EXAMPLES = {
    "print the table of a run": "ssept report run.json",
    "write a page with a recommendation": "ssept report run.json -o report.html",
    "recommend for throughput, under promises": (
        "ssept report run.json -o report.html --goal=throughput --p99-ms=10 --max-mb=2"
    ),
}
FORMS = ("html", "markdown", "csv", "json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_runs(parser, "results files of the matrix")
    _add_output(parser.add_argument_group("output"))
    _add_recommendation(parser.add_argument_group("recommendation of a report"))
    parser.set_defaults(run=_report)


def _add_output(parser: Options) -> None:
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="write a report; the extension of FILE (.html, .md, .csv, .json) sets its format",
    )
    parser.add_argument(
        "--format", choices=FORMS, help="format of the report; without --output it is printed"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace FILE even if it is not a report of ssept"
    )
    parser.add_argument(
        "--scale", type=Path, metavar="DIR", help="also report the results of `ssept scale` in DIR"
    )
    parser.add_argument("--full", action="store_true", help="also show times and memory")


def _add_recommendation(parser: Options) -> None:
    parser.add_argument(
        "--goal", choices=GOALS, default=GOALS[0], help="what the recommendation optimizes"
    )
    parser.add_argument(
        "--batch-size", type=positive, default=1, metavar="N", help="sequences per call"
    )
    add_promises(parser)


def _report(arguments: argparse.Namespace) -> None:
    runs = read_matrix_runs(arguments.runs)
    if arguments.output or arguments.format:
        _write(arguments, runs)
    else:
        tables = [matrix_report(run, full=arguments.full) for run in runs]
        named = [f"{run.path}\n\n{table}" for run, table in zip(runs, tables, strict=True)]
        print("\n\n\n".join(named if len(runs) > 1 else tables))


def _write(arguments: argparse.Namespace, runs: "Sequence[MatrixRun]") -> None:
    from ssept.decide.choose import Goal
    from ssept.report.page.forms import Form, form_of, text_of, write_report
    from ssept.report.page.material import Material, labelled

    form = Form(arguments.format) if arguments.format else form_of(arguments.output)
    material = Material(
        runs=labelled(runs),
        goal=Goal(arguments.goal),
        promises=promises_of(arguments),
        batch=arguments.batch_size,
        scale=_scale(arguments.scale),
    )
    if not arguments.output:
        print(text_of(material, form), end="")
        return
    write_report(material, arguments.output, form, overwrite=arguments.overwrite)
    print(f"written to {arguments.output}")


def _scale(folder: Path | None) -> "Sequence[Record]":
    """Read the newest measurements of a folder, and those that go with them."""
    if not folder:
        return []
    from ssept.decide.scale.measured_points import file_of, matching, read

    records = read(file_of(folder))
    if not records:
        raise SseptError(
            f"{file_of(folder)}: no measurements: expected a folder that `ssept scale --out` wrote"
        )
    return matching(records, records[-1])
