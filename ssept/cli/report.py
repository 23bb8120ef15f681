"""`ssept report`: the table of a saved run."""

import argparse
from pathlib import Path

from ssept.report.table import matrix_report
from ssept.results.files import read_matrix_run

HELP = "print the table of a saved run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("file", type=Path, help="a results file of the matrix")
    parser.add_argument("--full", action="store_true", help="also show times and memory")
    parser.set_defaults(run=_report)


def _report(arguments: argparse.Namespace) -> None:
    print(matrix_report(read_matrix_run(arguments.file), full=arguments.full))
