"""What was measured: a line of JSON for each finished point, kept whatever happens."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ssept.decide.scale.points import Point
from ssept.errors import SseptError

SCHEMA = 1
Record = dict[str, Any]
# What records must share to stand in one table.
IDENTITY = ("schema", "settings", "machine")


def file_of(folder: Path) -> Path:
    """Where a folder of results keeps its points."""
    return folder / "scale.jsonl"


def read(path: Path) -> list[Record]:
    """The records of a file, none where there is no file; a torn last line is left out.

    Raises:
        SseptError: another line is no record.
    """
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]  # what has no end of line is torn
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            _ = Point(**record["point"]), record["cells"], [record[name] for name in IDENTITY]
        except (ValueError, TypeError, KeyError) as error:
            raise SseptError(
                f"{path}:{number}: no record of a point: move the file away, or remove the line"
            ) from error
        records.append(record)
    return records


def matching(records: Iterable[Record], like: Record) -> list[Record]:
    """The records of the same settings, machine and packages, and of this version's schema."""
    return [record for record in records if all(record[name] == like[name] for name in IDENTITY)]


def by_point(records: Iterable[Record]) -> dict[Point, Record]:
    """The cells measured at each point, smallest point first; of a cell the latest counts.

    Returns:
        Of each point the cells of all its records by name, as a record has them.
    """
    found: dict[Point, Record] = {}
    for record in records:
        found.setdefault(Point(**record["point"]), {}).update(record["cells"])
    return dict(sorted(found.items()))
