"""`ssept compare`: the changes between saved runs."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from ssept.cli.arguments import add_runs
from ssept.decide.compare.comparison import compare
from ssept.files import save_text, write_json
from ssept.report.compare import comparison_markdown, comparison_table
from ssept.results.files import read_run, run_files

HELP = "compare saved runs cell by cell, by their ratios to the baseline inside each run"
EXAMPLES = {
    "compare two runs": "ssept compare old.json new.json",
    "compare the cells of a provider only": "ssept compare old.json new.json -k openvino",
    "compare all runs of a folder, and write Markdown": (
        "ssept compare results --markdown=changes.md"
    ),
}
STDOUT = Path("-")
EPILOG = (
    "The first run is compared with each of the others. Speed is the ratio to the baseline of the "
    "same loop, as test_latency, test_real_lengths, test_edge and test_throughput measured it; "
    "NDCG@10 and size are compared too. Times in milliseconds also depend on the state of the "
    "machine, so they are shown only with --absolute. If the baselines differ, ratios are shown "
    "but not compared. Results of other pytest-benchmark projects are matched by full name."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_runs(parser, "two or more results files")
    parser.add_argument(
        "-k",
        dest="select",
        default="",
        metavar="EXPRESSION",
        help="only cells whose test id matches, for example 'openvino and not b064'",
    )
    parser.add_argument(
        "--absolute",
        action="store_true",
        help="also compare median times; refused if the machines differ",
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write all results as JSON; - prints JSON instead of the table",
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table as Markdown")
    parser.set_defaults(run=_compare)


def _compare(arguments: argparse.Namespace) -> None:
    runs = [read_run(path) for path in run_files(arguments.runs)]
    comparison = compare(runs, select=arguments.select, absolute=arguments.absolute)
    if arguments.markdown:
        save_text(arguments.markdown, comparison_markdown(comparison))
    if arguments.json == STDOUT:
        print(json.dumps(asdict(comparison), indent=2, allow_nan=False))
        return
    if arguments.json:
        write_json(arguments.json, asdict(comparison))
    print(comparison_table(comparison))
