"""Saved runs: found in folders, read, or refused with the reason."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ssept.errors import SseptError

SCHEMA = 1
# What the matrix says of each benchmark, whatever it measures.
OF_A_CELL = {
    *("variant", "provider", "threads", "options", "measure", "size_bytes"),
    *("checkpoint_sha256", "data_hash", "artifact_sha256"),
}
OF_A_RUN = {"schema", "baseline", "outcomes", "not_applicable"}

_NUMBERED = re.compile(r"(\d+)_.*\.json")


class RunError(SseptError):
    """A results file that cannot be read."""


def run_files(paths: Iterable[Path]) -> list[Path]:
    """The results files that paths stand for: a folder for all runs in it and below.

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
        found = [file for file in path.rglob("*.json") if _NUMBERED.fullmatch(file.name)]
        if not found:
            raise RunError(f"{path}: no saved runs in it: expected files named <number>_….json")
        files += sorted(found, key=lambda file: (file.parent, int(file.name.split("_")[0])))
    return files


def read_run(path: Path) -> dict[str, Any]:
    """The content of a results file of the matrix.

    Raises:
        RunError: the file is missing or broken, of another schema, or saved by pytest-benchmark
            without the matrix.
    """
    run = _read(path)
    if "ssept" not in run:
        raise RunError(
            f"{path}: {len(run['benchmarks'])} plain pytest-benchmark results; they hold neither "
            "cells nor ratios to a baseline"
        )
    return run


def read_results(path: Path) -> dict[str, Any]:
    """The content of a results file: of the matrix, or, without a part `ssept`, of any project.

    Raises:
        RunError: the file is missing or broken, or of another schema of the matrix.
    """
    run = _read(path)
    if "ssept" in run:
        _check(path, "ssept", run["ssept"], OF_A_RUN)
    for place, benchmark in enumerate(run["benchmarks"]):
        where = f"benchmarks[{place}]"
        _check(path, where, benchmark, {"name", "fullname", "extra_info", "stats"})
        _check(path, f"{where}.stats", benchmark["stats"], {"median", "q1", "q3"})
        if "ssept" in run:
            _check(path, f"{where}.extra_info", benchmark["extra_info"], OF_A_CELL)
    return run


def _check(path: Path, where: str, value: Any, needed: set[str]) -> None:
    if not isinstance(value, dict) or not needed <= value.keys():
        raise RunError(
            f"{path}: not a results file: expected {', '.join(sorted(needed))} in {where}"
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        run: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        len(run["benchmarks"])
        schema = run["ssept"].get("schema") if "ssept" in run else SCHEMA
    except FileNotFoundError as error:
        raise RunError(f"{path}: no such results file") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path}: not a results file: {error!r}") from error
    if schema != SCHEMA:
        raise RunError(f"{path}: schema {schema}; this version reads {SCHEMA}: measure again")
    return run
