"""`ssept export`: saved runs in the forms of other tools."""

import argparse
import json
import os
from pathlib import Path

from ssept.cli.arguments import add_runs
from ssept.cli.parsers import add_command
from ssept.errors import SseptError
from ssept.files import write_json
from ssept.results.files import read_matrix_runs

HELP = "write saved runs to MLflow, or as Bencher Metric Format"
URI_VARIABLE = "MLFLOW_TRACKING_URI"
FORMS = {
    "bencher": "write the figures as JSON in the Bencher Metric Format, for `bencher run --file`",
    "mlflow": "write runs to MLflow: a parent run, a child run for each cell, and the "
    "file of the run",
}
EXAMPLES = {
    "write a run to an MLflow server": "ssept export mlflow run.json --uri=http://localhost:5000",
    "write a run as Bencher Metric Format": "ssept export bencher run.json -o bencher.json",
}
FORM_EXAMPLES = {
    "bencher": {
        "write a run to a file": "ssept export bencher run.json -o bencher.json",
        "print all runs of a folder": "ssept export bencher results",
    },
    "mlflow": {
        "write a run to an MLflow server": (
            "ssept export mlflow run.json --uri=http://localhost:5000"
        ),
        "write all runs of a folder to an experiment in a local file": (
            "ssept export mlflow results --uri=sqlite:///mlflow.db --experiment=sse-pt"
        ),
    },
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands and their arguments."""
    commands = parser.add_subparsers(metavar="FORM", required=True)
    forms = {
        name: add_command(commands, name, text, FORM_EXAMPLES[name]) for name, text in FORMS.items()
    }
    for form in forms.values():
        add_runs(form, "results files of the matrix")
    forms["bencher"].add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="file to write (default: standard output)"
    )
    forms["bencher"].set_defaults(run=_bencher)
    forms["mlflow"].add_argument(
        "--uri",
        default=os.environ.get(URI_VARIABLE),
        metavar="URI",
        help=f"address of the MLflow tracking server (default: ${URI_VARIABLE})",
    )
    forms["mlflow"].add_argument(
        "--experiment",
        default="ssept",
        metavar="NAME",
        help="experiment; created if it does not exist",
    )
    forms["mlflow"].set_defaults(run=_mlflow)


def _bencher(arguments: argparse.Namespace) -> None:
    from ssept.report.exports.bencher import bencher_files

    found = bencher_files(read_matrix_runs(arguments.runs))
    if arguments.output:
        write_json(arguments.output, found)
    else:
        print(json.dumps(found, indent=2, allow_nan=False))


def _mlflow(arguments: argparse.Namespace) -> None:
    from ssept.report.exports.mlflow import export

    if not arguments.uri:
        raise SseptError(
            f"--uri is missing: give the address of an MLflow server, or set {URI_VARIABLE}"
        )
    runs = read_matrix_runs(arguments.runs)
    for path, run_id in export(runs, arguments.uri, arguments.experiment).items():
        print(f"{path}: run {run_id} of the experiment {arguments.experiment}")
