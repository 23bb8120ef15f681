"""Titles and genres, one item a record; each format has them in another order."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from ssept.data.tables import header_names, number_of
from ssept.data.text import records
from ssept.errors import DataError, quoted

# fmt: off
GENRES_100K = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary",
    "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi",
    "Thriller", "War", "Western",
)
# fmt: on
ITEM_COLUMNS = ("movieId", "title", "genres")
NO_GENRES = "(no genres listed)"

ItemRow = tuple[int, list[str]]  # the line number, and the fields of ITEM_COLUMNS


def read_u_item(path: Path) -> pd.DataFrame:
    """Read `id|title|date|video date|URL|` and a 0 or 1 for each of the 19 genres."""
    rows = []
    for number, fields in records(path, "|"):
        flags = fields[5:]
        if len(flags) == len(GENRES_100K) and set(flags) <= {"0", "1"}:
            named = [genre for genre, flag in zip(GENRES_100K, flags, strict=True) if flag == "1"]
            fields = [*fields[:2], "|".join(named)]
        rows.append((number, fields))
    return item_frame(path, rows)


def read_movies_dat(path: Path) -> pd.DataFrame:
    """Read `id::title::genres`; titles may hold colons."""
    rows = []
    for number, fields in records(path, "::"):
        if len(fields) > len(ITEM_COLUMNS):
            fields = [fields[0], "::".join(fields[1:-1]), fields[-1]]
        rows.append((number, fields))
    return item_frame(path, rows)


def read_movies_csv(path: Path) -> pd.DataFrame:
    """Read a CSV file with the columns movieId, title and genres, in any order."""
    names = header_names(path, ITEM_COLUMNS)
    order = [names.index(column) for column in ITEM_COLUMNS]
    rows = [
        (number, [fields[at] for at in order] if len(fields) == len(names) else fields)
        for number, fields in records(path, ",")
    ]
    return item_frame(path, rows[1:])


def item_frame(path: Path, rows: Iterable[ItemRow]) -> pd.DataFrame:
    """Build the frame of `read_items`; each row must be a unique movieId, a title and genres."""
    titles: dict[int, list[str]] = {}
    for number, fields in rows:
        if len(fields) != len(ITEM_COLUMNS):
            wanted = "a movieId, a title and genres"
            raise DataError(f"{path}:{number}: expected {wanted}, got {quoted('|'.join(fields))}")
        try:
            movie = int(number_of("movieId", fields[0]))
        except ValueError as error:
            raise DataError(f"{path}:{number}: {error}") from error
        if movie in titles:
            raise DataError(f"{path}:{number}: movieId {movie} occurs a second time")
        titles[movie] = fields[1:]
    frame = pd.DataFrame({"movieId": np.array(list(titles), dtype=np.int64)})
    frame["title"] = pd.Series([title for title, _ in titles.values()], dtype=str)
    named = [genres.replace(NO_GENRES, "") for _, genres in titles.values()]
    frame["genres"] = pd.Series(named, dtype=str)
    return frame
