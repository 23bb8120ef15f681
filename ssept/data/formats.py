"""The on-disk formats of rating data: how each is known by its file names, and how it is read.

Titles and genres come line by line; ratings come from `ssept.data.tables`, in bounded memory.
"""

import csv
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ssept.data.tables import expected_of, header_names, numbered_lines, read_table
from ssept.errors import DataError

COLUMNS = ("userId", "movieId", "rating", "timestamp")
SEQUENCE_MAP = "ml1m_item_to_movieId.csv"
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


@dataclass(frozen=True, kw_only=True)
class Format:
    """One on-disk format.

    Attributes:
        name: as the manifest names it.
        ratings: the files that, all present, identify the format; the first holds the ratings.
        items: the file of titles and genres; it may be missing.
        read_ratings: from the folder and whether to show progress, the frame of `read_ratings`.
        read_items: from the path of `items`, the frame of `read_items`.
        item_map: the file that maps item ids to movieIds; without it `items` has other ids and
            is not read.
        has_time: whether timestamps are times; otherwise they are positions in the user's list.
    """

    name: str
    ratings: tuple[str, ...]
    items: str
    read_ratings: Callable[[Path, bool], pd.DataFrame]
    read_items: Callable[[Path], pd.DataFrame]
    item_map: str = ""
    has_time: bool = True

    def items_path(self, folder: Path) -> Path | None:
        """Return the items file in `folder`, if it is there and has the ratings' movieIds."""
        mapped = not self.item_map or (folder / self.item_map).is_file()
        path = folder / self.items
        return path if mapped and path.is_file() else None

    def sources(self, folder: Path) -> list[Path]:
        """List the files in `folder` that are read."""
        paths = [folder / name for name in (*self.ratings, self.item_map) if name]
        items = self.items_path(folder)
        return [path for path in paths if path.is_file()] + ([items] if items else [])


def detect(folder: Path) -> Format:
    """Detect the format of the files in `folder`, by their names.

    Raises:
        DataError: not a folder, no known format, or more than one.
    """
    if not folder.is_dir():
        found = "is a file" if folder.exists() else "does not exist"
        raise DataError(f"{folder}: {found}; expected a folder of rating data")
    present = [
        format_
        for format_ in FORMATS.values()
        if all((folder / name).is_file() for name in format_.ratings)
    ]
    if not present:
        known = ", ".join(" + ".join(format_.ratings) for format_ in FORMATS.values())
        state = "no known rating data" if any(folder.iterdir()) else "the folder is empty"
        raise DataError(f"{folder}: {state}; expected one of {known}")
    if len(present) > 1:
        names = " and ".join(f"{format_.ratings[0]} ({format_.name})" for format_ in present)
        raise DataError(
            f"{folder}: more than one format is present: {names}; keep one of them in a folder"
        )
    return present[0]


def read_ratings(folder: Path, *, progress: bool = False) -> pd.DataFrame:
    """Read the ratings in `folder`, in file order.

    Returns:
        A frame of userId int32, movieId int32, rating float32, timestamp int64 (seconds since
        1970, or positions when the format has no time). Ids are at most 2**31 - 1, so that 32
        million ratings fit in 640 MB.

    Raises:
        DataError: the folder or a line of a file is not as expected; names file and line.
    """
    return detect(folder).read_ratings(folder, progress)


def read_items(folder: Path) -> pd.DataFrame:
    """Read the items in `folder`: movieId int64, title str, genres str ("A|B", or "").

    Empty when the folder has no items file, or one with other ids than the ratings.

    Raises:
        DataError: the folder or a line of the items file is not as expected.
    """
    return items_of(detect(folder), folder)


def items_of(format_: Format, folder: Path) -> pd.DataFrame:
    """Read the items of a folder whose format is known; a frame as `read_items`."""
    path = format_.items_path(folder)
    return _item_frame(folder, ()) if path is None else format_.read_items(path)


def read_ratings_csv(
    path: Path, *, progress: bool = False, may_be_empty: bool = False
) -> pd.DataFrame:
    """One CSV file with the header userId,movieId,rating,timestamp; a frame as `read_ratings`.

    A file without rows is an error unless it `may_be_empty`.

    Raises:
        DataError: a column is missing or a line is broken; names file and line.
    """
    return read_table(path, ",", COLUMNS, header=True, progress=progress, may_be_empty=may_be_empty)


def _u_data(folder: Path, progress: bool) -> pd.DataFrame:
    return read_table(folder / "u.data", "\t", COLUMNS, progress=progress)


def _ratings_dat(folder: Path, progress: bool) -> pd.DataFrame:
    return read_table(folder / "ratings.dat", "::", COLUMNS, progress=progress)


def _ratings_csv(folder: Path, progress: bool) -> pd.DataFrame:
    return read_ratings_csv(folder / "ratings.csv", progress=progress)


def _sequence(folder: Path, progress: bool) -> pd.DataFrame:
    """`user item` lines in time order per user: no rating and no time."""
    path = folder / "ml1m.txt"
    pairs = read_table(path, " ", ("userId", "movieId"), progress=progress)
    if (folder / SEQUENCE_MAP).is_file():
        pairs["movieId"] = _mapped(path, pairs["movieId"], folder / SEQUENCE_MAP)
    pairs["rating"] = np.float32(1)
    pairs["timestamp"] = pairs.groupby("userId").cumcount().astype(np.int64)
    return pairs


def _mapped(path: Path, items: "pd.Series[int]", map_path: Path) -> "pd.Series[int]":
    """Map the sequence file's item ids to movieIds, by the map file."""
    table = read_table(map_path, ",", ("itemIdx", "movieId"), header=True)
    for column in ("itemIdx", "movieId"):
        repeated = table.loc[table[column].duplicated(), column]
        if len(repeated):
            raise DataError(f"{map_path}: {column} {repeated.iloc[0]} is there more than once")
    unknown = ~items.isin(table["itemIdx"])
    if unknown.any():
        item = items[unknown].iloc[0]
        numbers = (at for at, line in numbered_lines(path) if line and int(line.split()[1]) == item)
        raise DataError(
            f"{path}:{next(numbers)}: item {item} is not in {map_path.name}; expected every item "
            "there (without that file the ids are used as they are)"
        )
    return items.map(table.set_index("itemIdx")["movieId"]).astype(np.int32)


def _already_prepared(folder: Path, _progress: bool) -> pd.DataFrame:
    raise DataError(
        f"{folder}: is already prepared (it has train.csv, val.csv and test.csv); "
        "use it as it is, or give a folder of raw ratings"
    )


def _u_item(path: Path) -> pd.DataFrame:
    """`id|title|date|video date|URL|` and a 0 or 1 for each of the 19 genres, in latin-1."""
    rows = []
    for number, line in numbered_lines(path, "latin-1"):
        fields = line.split("|")
        flags = fields[5:]
        if len(flags) == len(GENRES_100K) and set(flags) <= {"0", "1"}:
            named = [genre for genre, flag in zip(GENRES_100K, flags, strict=True) if flag == "1"]
            fields = [*fields[:2], "|".join(named)]
        rows.append((number, fields))
    return _item_frame(path, rows)


def _movies_dat(path: Path) -> pd.DataFrame:
    """`id::title::genres`; titles hold colons. ML-1M's file is latin-1, ML-10M's is UTF-8."""
    try:
        path.read_text(encoding="utf-8")
        encoding = "utf-8"
    except UnicodeDecodeError:
        encoding = "latin-1"
    rows = []
    for number, line in numbered_lines(path, encoding):
        movie, _, rest = line.partition("::")
        rows.append((number, [movie, *rest.rsplit("::", 1)]))
    return _item_frame(path, rows)


def _movies_csv(path: Path) -> pd.DataFrame:
    header_names(path, ITEM_COLUMNS)
    reader = csv.reader((line for _, line in numbered_lines(path)), strict=True)
    names = [name.removeprefix("\ufeff") for name in next(reader)]
    order = [names.index(column) for column in ITEM_COLUMNS]
    try:
        rows = [
            (reader.line_num, [row[at] for at in order] if len(row) == len(names) else row)
            for row in reader
        ]
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: expected CSV text, got {error}") from error
    return _item_frame(path, rows)


def _item_frame(path: Path, rows: Iterable[ItemRow]) -> pd.DataFrame:
    """Build the frame of `read_items`; each row must be a unique movieId, a title and genres."""
    titles: dict[int, list[str]] = {}
    for number, fields in rows:
        if not any(fields):  # a blank line
            continue
        if len(fields) != len(ITEM_COLUMNS):
            wanted = "a movieId, a title and genres"
            raise DataError(f"{path}:{number}: expected {wanted}, got {fields!r}")
        if expected := expected_of("movieId", fields[0]):
            found = f"expected movieId to be {expected}, got {fields[0]!r}"
            raise DataError(f"{path}:{number}: {found}")
        if int(fields[0]) in titles:
            raise DataError(f"{path}:{number}: movieId {fields[0]} is there a second time")
        titles[int(fields[0])] = fields[1:]
    frame = pd.DataFrame({"movieId": np.array(list(titles), dtype=np.int64)})
    frame["title"] = pd.Series([title for title, _ in titles.values()], dtype=str)
    named = [genres.replace(NO_GENRES, "") for _, genres in titles.values()]
    frame["genres"] = pd.Series(named, dtype=str)
    return frame


FORMATS = {
    format_.name: format_
    for format_ in (
        Format(
            name="ml-100k",
            ratings=("u.data",),
            items="u.item",
            read_ratings=_u_data,
            read_items=_u_item,
        ),
        Format(
            name="ml-1m",
            ratings=("ratings.dat",),
            items="movies.dat",
            read_ratings=_ratings_dat,
            read_items=_movies_dat,
        ),
        Format(
            name="ml-latest",
            ratings=("ratings.csv",),
            items="movies.csv",
            read_ratings=_ratings_csv,
            read_items=_movies_csv,
        ),
        Format(
            name="sequence",
            ratings=("ml1m.txt",),
            items="movies.dat",
            read_ratings=_sequence,
            read_items=_movies_dat,
            item_map=SEQUENCE_MAP,
            has_time=False,
        ),
        Format(
            name="prepared-csv",
            ratings=("train.csv", "val.csv", "test.csv"),
            items="items.csv",
            read_ratings=_already_prepared,
            read_items=_movies_csv,
        ),
    )
}
