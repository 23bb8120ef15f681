"""`ssept history`: when the figures of a branch changed."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from ssept.cli.arguments import positive, share
from ssept.errors import SseptError

if TYPE_CHECKING:
    from ssept.decide.history.run import History
    from ssept.results.cells import MatrixRun

HELP = "find the commits that changed speed or accuracy, in the saved runs of a branch"
EPILOG = (
    "The figures are the ratios to the baseline of the same run, and NDCG@10. Each cell has a "
    "series over the measured commits, separately for each machine. The package ruptures (extra "
    "history) finds changes of level, which are then tested. Exit code: 0 without an alarm; 1 with "
    "an alarm, which is a change for the worse within the latest --recent measured commits; 3 for "
    "an error. Store runs in a folder, in a branch of their own, or as git notes: git notes "
    "--ref=ssept add -F RUN COMMIT."
)
EXAMPLES = {
    "find the changes in the runs of a folder": "ssept history results",
    "read the runs that a branch contains": "ssept history --branch=measurements",
    "write a page with plots": "ssept history results -o history.html",
}
ALARM = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "runs",
        type=Path,
        nargs="*",
        metavar="RUN",
        help="results files of the matrix; a folder means all runs in it",
    )
    parser.add_argument(
        "--branch", metavar="NAME", help="also read the runs in the files of a git branch"
    )
    parser.add_argument(
        "--notes", metavar="NAME", help="also read the runs in the git notes of commits"
    )
    changes = parser.add_argument_group("changes")
    changes.add_argument(
        "--min-change",
        type=share,
        default="2%",
        metavar="SHARE",
        help="leave out smaller changes",
    )
    changes.add_argument(
        "--recent",
        type=positive,
        default=10,
        metavar="N",
        help="a change for the worse is an alarm if it lies within the latest N measured commits",
    )
    changes.add_argument(
        "--last", type=positive, metavar="N", help="use only the latest N measured commits"
    )
    output = parser.add_argument_group("output")
    output.add_argument("--json", type=Path, metavar="FILE", help="write everything as JSON")
    output.add_argument(
        "--markdown", type=Path, metavar="FILE", help="write the changes as Markdown"
    )
    output.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="write a page (.html) with plots of all figures; needs the extra report",
    )
    parser.set_defaults(run=_history)


def _history(arguments: argparse.Namespace) -> int:
    from ssept.decide.history.run import history
    from ssept.files import save_text, write_json
    from ssept.report.history import history_json, history_markdown, history_table

    found = history(
        _runs(arguments),
        min_change=arguments.min_change,
        recent=arguments.recent,
        last=arguments.last,
    )
    if arguments.json:
        write_json(arguments.json, history_json(found))
    if arguments.markdown:
        save_text(arguments.markdown, history_markdown(found))
    if arguments.output:
        _write_page(found, arguments)
    print(history_table(found))
    return ALARM if any(change.alarm for change in found.changes) else 0


def _runs(arguments: argparse.Namespace) -> "list[MatrixRun]":
    from ssept.results.files import read_matrix_runs
    from ssept.results.git_runs import runs_of_branch, runs_of_notes

    here = Path.cwd()
    runs = read_matrix_runs(arguments.runs)
    runs += runs_of_branch(arguments.branch, here) if arguments.branch else []
    runs += runs_of_notes(arguments.notes, here) if arguments.notes else []
    if not runs:
        raise SseptError("no runs: give results files or folders, --branch=NAME or --notes=NAME")
    return runs


def _write_page(found: "History", arguments: argparse.Namespace) -> None:
    from ssept.report.page.forms import write_content
    from ssept.report.page.history import history_content

    sources = [*map(str, arguments.runs)]
    sources += [f"--branch={arguments.branch}"] if arguments.branch else []
    sources += [f"--notes={arguments.notes}"] if arguments.notes else []
    command = shlex.join(["ssept", "history", *sources])
    write_content(history_content(found, command), arguments.output)
    print(f"written to {arguments.output}")
