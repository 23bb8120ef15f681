"""Measured points: the records of the journal of a folder of results."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ssept.decide import journal
from ssept.decide.journal import Record
from ssept.decide.scale.points import Point

SCHEMA = 1
# What records must share to be rows of one table.
IDENTITY = ("schema", "settings", "machine")


def file_of(folder: Path) -> Path:
    """Return the file in a folder of results that has its points."""
    return folder / "scale.jsonl"


def read(path: Path) -> list[Record]:
    """Return the records of a file; none without the file. A torn last line is left out.

    Raises:
        SseptError: another line is no record.
    """
    return journal.read(
        path,
        "a point",
        lambda record: (Point(**record["point"]), record["cells"], _identity(record)),
    )


def matching(records: Iterable[Record], like: Record) -> list[Record]:
    """Return the records with the same settings, machine, packages and schema."""
    return [record for record in records if _identity(record) == _identity(like)]


def by_point(records: Iterable[Record]) -> dict[Point, Record]:
    """Return the cells measured at each point, smallest point first; of a cell the latest counts.

    Returns:
        Of each point the cells of all its records by name, as a record has them.
    """
    found: dict[Point, Record] = {}
    for record in records:
        found.setdefault(Point(**record["point"]), {}).update(record["cells"])
    return dict(sorted(found.items()))


def _identity(record: Record) -> list[Any]:
    return [record[name] for name in IDENTITY]
