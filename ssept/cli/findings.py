"""`ssept findings`: common claims about quantization and providers, checked against saved runs."""

import argparse
import shlex
from pathlib import Path

from ssept.cli.arguments import add_runs
from ssept.files import save_text
from ssept.report.findings import findings_markdown
from ssept.results.files import read_matrix_runs

HELP = "check common claims about quantization and providers against saved runs"
EXAMPLES = {
    "print the findings of a run": "ssept findings run.json",
    "write those of several runs to a page": "ssept findings results --out=findings.md",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_runs(parser, "results files of the matrix, each of one data set and machine")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write Markdown to FILE instead of printing it"
    )
    parser.set_defaults(run=_findings)


def _findings(arguments: argparse.Namespace) -> None:
    words = ["ssept", "findings", *map(str, arguments.runs)]
    words += ["--out", str(arguments.out)] if arguments.out else []
    page = findings_markdown(read_matrix_runs(arguments.runs), shlex.join(words))
    if arguments.out:
        save_text(arguments.out, page)
    else:
        print(page, end="")
