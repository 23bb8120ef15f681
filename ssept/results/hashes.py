"""Hashes that a saved run carries of its own parts, and which parts were changed since."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ssept.errors import RunError, printable, shortened
from ssept.files import json_text, sha256_json

ABOUT, FIELD = "ssept", "hashes"  # where they are in the file
BY_FIELD = ("machine_info", "commit_info", ABOUT)  # parts whose fields are hashed one by one
LAYOUT = "the layout of the file (spaces, line ends, spelling of numbers); every value is the same"
LONGEST_NAME = 120


def add_hashes(content: dict[str, Any]) -> None:
    """Hash each part of a run, and add the hashes to it.

    The hash of the whole is that of all the others, so that none of them can be exchanged alone.
    Hashes show that a file was changed by accident or in haste: whoever edits a run on purpose can
    compute them again.

    Args:
        content: of the file, with a part `ssept`; changed in place.
    """
    parts = _hashes(content)
    content[ABOUT][FIELD] = {"parts": parts, "whole": sha256_json(parts)}


def changed_parts(path: Path) -> list[str]:
    """Name the parts of a saved run that are not as they were saved; none if it is unchanged.

    Raises:
        RunError: there is no such file, or no hash in it to compare with.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError as error:
        raise RunError(f"{path}: no such results file") from error
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        return [f"the content, which is not JSON: {shortened(printable(str(error)), LONGEST_NAME)}"]
    about = content.get(ABOUT) if isinstance(content, dict) else None
    stored = about.get(FIELD) if isinstance(about, dict) else None
    if not isinstance(stored, dict):
        raise RunError(
            f"{path}: {ABOUT}.{FIELD} is missing: an earlier version saved this run, or "
            "pytest-benchmark alone; expected the hashes of its parts"
        )
    return _changes(content, stored) or ([] if json_text(content).encode() == text else [LAYOUT])


def _changes(content: dict[str, Any], stored: dict[str, Any]) -> list[str]:
    """Name the parts that have another hash; where only the hash was changed, the hash."""
    expected, found = stored.get("parts"), _hashes(content)
    where = f"{ABOUT}.{FIELD}"
    if not isinstance(expected, dict):
        return [f"{where}.parts"]
    names = [*expected, *(name for name in found if name not in expected)]
    different = [name for name in names if expected.get(name) != found.get(name)]
    if different and sha256_json(found) == stored.get("whole"):
        return [f"{where}.parts, the hash of {_shown(name)}" for name in different]
    if not different and sha256_json(expected) != stored.get("whole"):
        return [f"{where}.whole"]
    return [_change(name, name in expected, name in found) for name in different]


def _change(name: str, was: bool, now: bool) -> str:
    if was and now:
        return _shown(name)
    return f"{_shown(name)}, which {'is missing' if was else 'was not there'}"


def _hashes(content: dict[str, Any]) -> dict[str, str]:
    return {name: sha256_json(value) for name, value in _parts(content)}


def _parts(content: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield each part of a run: its benchmarks one by one, and its other fields."""
    for name, value in content.items():
        if name == "benchmarks" and isinstance(value, list):
            for place, benchmark in enumerate(value):
                known = isinstance(benchmark, dict) and benchmark.get("fullname")
                yield f"{name}: {known or f'number {place}'}", benchmark
        elif name in BY_FIELD and isinstance(value, dict):
            for field, inner in value.items():
                if (name, field) != (ABOUT, FIELD):
                    yield f"{name}.{field}", inner
        else:
            yield name, value


def _shown(name: str) -> str:
    return shortened(printable(name), LONGEST_NAME)
