"""Saved runs: read, or refused with the reason."""

import json
from pathlib import Path
from typing import Any

from ssept.errors import SseptError

SCHEMA = 1


class RunError(SseptError):
    """A results file that cannot be read."""


def read_run(path: Path) -> dict[str, Any]:
    """The content of a results file of the matrix.

    Raises:
        RunError: the file is missing or broken, of a newer schema, or saved by pytest-benchmark
            without the matrix.
    """
    try:
        run: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        benchmarks = run["benchmarks"]
    except FileNotFoundError as error:
        raise RunError(f"{path}: no such results file") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: not a results file: {error!r}") from error
    if "ssept" not in run:
        raise RunError(
            f"{path}: {len(benchmarks)} plain pytest-benchmark results; they hold neither cells "
            "nor ratios to a baseline"
        )
    schema = run["ssept"].get("schema")
    if schema != SCHEMA:
        raise RunError(f"{path}: schema {schema}; this version reads {SCHEMA}: measure again")
    return run
