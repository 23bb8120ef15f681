"""What was measured: a line of JSON for each finished point, kept whatever happens."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ssept.decide.scale.points import Point
from ssept.files import read_json_lines

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
    return read_json_lines(
        path,
        "a point",
        lambda record: (Point(**record["point"]), record["cells"], _identity(record)),
    )


def matching(records: Iterable[Record], like: Record) -> list[Record]:
    """The records of the same settings, machine and packages, and of this version's schema."""
    return [record for record in records if _identity(record) == _identity(like)]


def by_point(records: Iterable[Record]) -> dict[Point, Record]:
    """The cells measured at each point, smallest point first; of a cell the latest counts.

    Returns:
        Of each point the cells of all its records by name, as a record has them.
    """
    found: dict[Point, Record] = {}
    for record in records:
        found.setdefault(Point(**record["point"]), {}).update(record["cells"])
    return dict(sorted(found.items()))


def _identity(record: Record) -> list[Any]:
    return [record[name] for name in IDENTITY]
