"""Files of saved runs: found in folders, read or refused with the reason, written whole."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ssept.errors import RunError
from ssept.files import write_json
from ssept.results.cells import MatrixRun, Run
from ssept.results.schema import SCHEMA, Content, PlainContent
from ssept.results.typed import refusal, typed

NUMBERED = re.compile(r"(\d+)_.*\.json")


def run_files(paths: Iterable[Path]) -> list[Path]:
    """List the results files of paths: a folder means all runs in it and below.

    Args:
        paths: results files, and folders of files named `<number>_….json` as they are saved.

    Returns:
        The files in the order given; those of a folder in the order of their numbers.

    Raises:
        RunError: there is no run in a folder.
    """
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        found = [file for file in path.rglob("*.json") if NUMBERED.fullmatch(file.name)]
        if not found:
            raise RunError(f"{path}: no saved runs in it: expected files named <number>_….json")
        files += sorted(found, key=lambda file: (file.parent, int(file.name.split("_")[0])))
    return files


def read_run(path: Path) -> Run:
    """Read a results file: of the matrix, or, without a part `ssept`, of any project.

    Raises:
        RunError: the file is missing or broken, of another schema of the matrix, or holds nothing.
    """
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise RunError(f"{path}: no such results file") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: not a results file: {error}") from error
    run = run_of(path, content)
    if not run.benchmarks:
        raise RunError(f"{path}: benchmarks is empty; expected one or more results: measure again")
    return run


def read_matrix_run(path: Path) -> MatrixRun:
    """Read a results file of the matrix.

    Raises:
        RunError: as `read_run`; or pytest-benchmark saved it without the matrix.
    """
    run = read_run(path)
    if not isinstance(run, MatrixRun):
        raise RunError(
            f"{path}: {len(run.benchmarks)} plain pytest-benchmark results; they hold neither "
            "cells nor ratios to a baseline"
        )
    return run


def read_matrix_runs(paths: Iterable[Path]) -> list[MatrixRun]:
    """Read runs of the matrix, see `run_files` and `read_matrix_run`."""
    return [read_matrix_run(path) for path in run_files(paths)]


def run_of(path: Path, content: Any) -> Run:
    """Check the content of a results file, as JSON values.

    Args:
        path: of the file, for the messages.
        content: what it holds.

    Raises:
        RunError: naming the first field that is not as the schema has it.
    """
    try:
        if not isinstance(content, dict) or "ssept" not in content:
            run = Run(path, typed(PlainContent, content))
        else:
            _check_schema(content["ssept"])
            run = MatrixRun(path, typed(Content, content))
        _check_names(run)
    except (RunError, RecursionError) as error:
        raise RunError(f"{path}: {error}") from error
    return run


def write_run(path: Path, content: dict[str, Any]) -> None:
    """Write a results file, whole or not at all.

    Raises:
        RunError: `read_run` would refuse it.
    """
    run_of(path, content)
    write_json(path, content)


def _check_schema(about: Any) -> None:
    schema = about.get("schema", SCHEMA) if isinstance(about, dict) else SCHEMA
    if schema != SCHEMA:
        raise refusal(schema, "ssept.schema", f"{SCHEMA}, which this version reads: measure again")


def _check_names(run: Run) -> None:
    """Refuse a file that names a test twice: which of the two would be meant?"""
    seen: set[str] = set()
    for place, benchmark in enumerate(run.benchmarks):
        if benchmark.fullname in seen:
            where = f"benchmarks[{place}].fullname"
            raise refusal(benchmark.fullname, where, "a name that no other benchmark has")
        seen.add(benchmark.fullname)
