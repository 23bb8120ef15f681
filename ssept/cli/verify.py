"""`ssept verify`: whether saved runs are as they were saved."""

import argparse
from pathlib import Path

from ssept.cli.arguments import add_runs
from ssept.errors import RunError
from ssept.results.files import run_files
from ssept.results.hashes import changed_parts

HELP = "check whether saved runs were changed after they were saved, and list the changed parts"
EPILOG = (
    "A saved run contains a SHA-256 hash of each of its parts, and one of all these hashes. They "
    "show that a file was edited or damaged, but not by whom: a person who edits a run can compute "
    "new hashes. Exit code: 0 if every run is unchanged, 1 if one was changed, 3 if one has no "
    "hashes, or could not be read."
)
EXAMPLES = {
    "verify a run": "ssept verify run.json",
    "verify all runs of a folder": "ssept verify results",
}
UNCHANGED, CHANGED, UNKNOWN = 0, 1, 3
MOST_NAMES = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_runs(parser, "results files of the matrix")
    parser.set_defaults(run=_verify)


def _verify(arguments: argparse.Namespace) -> int:
    found = [_verified(path) for path in run_files(arguments.runs)]
    return next((status for status in (CHANGED, UNKNOWN) if status in found), UNCHANGED)


def _verified(path: Path) -> int:
    """Print what was changed in a run; return its exit code."""
    try:
        changed = changed_parts(path)
    except RunError as error:
        print(f"not checked: {error}")
        return UNKNOWN
    for name in changed[:MOST_NAMES]:
        print(f"{path}: changed: {name}")
    if len(changed) > MOST_NAMES:
        print(f"{path}: changed: {len(changed) - MOST_NAMES} more parts")
    if not changed:
        print(f"{path}: unchanged")
    return CHANGED if changed else UNCHANGED
