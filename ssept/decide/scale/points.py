"""Points of a scale run: catalog sizes, sequence lengths and batch sizes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

AXES = ("items", "length", "batch")


@dataclass(frozen=True, order=True)
class Point:
    """One size of the work: items in the catalog, items in a sequence, sequences in a call."""

    items: int
    length: int
    batch: int

    def __str__(self) -> str:
        return f"{self.items}x{self.length}x{self.batch}"


def points_around(around: Iterable[Point], axes: Mapping[str, Sequence[int]]) -> list[Point]:
    """Return some points, and those that differ from one of them along one axis alone.

    Args:
        around: the points.
        axes: the values along each axis, by a name in AXES.

    Returns:
        Each point once, in order: those of the same model are neighbours.
    """
    centres = set(around)
    beside = {
        replace(centre, **{axis: value})
        for centre in centres
        for axis, values in axes.items()
        for value in values
    }
    return sorted(centres | beside)


def along(centre: Point, axis: str, points: Iterable[Point]) -> list[Point]:
    """Return the points that differ from a centre along one axis at most, in order."""
    return sorted(
        {point for point in points if replace(point, **{axis: getattr(centre, axis)}) == centre}
    )
