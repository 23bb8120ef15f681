"""On-disk formats of rating data: how each is known, by names or content, and how it is read."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ssept.data.items import item_frame, read_movies_csv, read_movies_dat, read_u_item
from ssept.data.tables import header_names, number_of, read_table
from ssept.data.text import records
from ssept.errors import DataError, quoted

COLUMNS = ("userId", "movieId", "rating", "timestamp")
SEQUENCE_MAP = "ml1m_item_to_movieId.csv"
TAB = "\t"


@dataclass(frozen=True, kw_only=True)
class Format:
    """One on-disk format.

    Attributes:
        name: as the manifest names it.
        ratings: the files that, all present, identify the format; the first holds the ratings.
        items: the file of titles and genres; it may be missing.
        separator: between the fields of the ratings, as for `ssept.data.text.records`.
        columns: of the ratings. A CSV file names them in its first record, in any order.
        read_items: from the path of `items`, the frame of `read_items`.
        item_map: the file that maps item ids to movieIds; without it `items` has other ids and
            is not read.
    """

    name: str
    ratings: tuple[str, ...]
    items: str
    separator: str = ","
    columns: tuple[str, ...] = COLUMNS
    read_items: Callable[[Path], pd.DataFrame]
    item_map: str = ""

    @property
    def header(self) -> bool:
        """Whether the first record names the columns."""
        return self.separator == ","

    @property
    def has_time(self) -> bool:
        """Whether there are timestamps; otherwise the lines of a user are in time order."""
        return "timestamp" in self.columns

    def fits(self, path: Path) -> bool:
        """Whether the first record of a file is one of this format."""
        try:
            if self.header:
                header_names(path, self.columns)
                return True
            _, fields = next(records(path, self.separator), (1, []))
            values = [number_of(*pair) for pair in zip(self.columns, fields, strict=True)]
        except (ValueError, DataError):
            return False
        return bool(values)


@dataclass(frozen=True)
class RawData:
    """Ratings on disk whose format is known.

    Attributes:
        format: how they are read.
        ratings: the file of the ratings.
    """

    format: Format
    ratings: Path

    @property
    def folder(self) -> Path:
        """Where the files lie."""
        return self.ratings.parent

    @property
    def named(self) -> bool:
        """Whether the ratings have the name of their format, so that its other files belong."""
        return self.ratings.name in self.format.ratings

    @property
    def name(self) -> str:
        """What to call the data: the folder's name, or that of a file with a name of its own."""
        return self.folder.resolve().name if self.named else self.ratings.stem

    @property
    def item_map(self) -> Path | None:
        """The file that maps item ids to movieIds, if it is there."""
        path = self.folder / self.format.item_map
        return path if self.named and path.is_file() else None

    @property
    def items(self) -> Path | None:
        """The items file, if it is there and has the ratings' movieIds."""
        path = self.folder / self.format.items
        fits = self.named and (self.item_map or not self.format.item_map)
        return path if fits and path.is_file() else None

    @property
    def sources(self) -> list[Path]:
        """The files that are read."""
        return [path for path in (self.ratings, self.item_map, self.items) if path]

    def read_ratings(self, *, progress: bool = False) -> pd.DataFrame:
        """Read the ratings, in file order; a frame as the function `read_ratings`."""
        path, format_ = self.ratings, self.format
        if format_ is PREPARED:
            raise DataError(
                f"{self.folder}: is already prepared (it has train.csv, val.csv and test.csv); "
                "use it as it is, or give a folder of raw ratings"
            )
        table = read_table(
            path, format_.separator, format_.columns, header=format_.header, progress=progress
        )
        if format_.has_time:
            return table
        if self.item_map:
            table["movieId"] = _mapped(path, table["movieId"], self.item_map)
        table["rating"] = np.float32(1)
        table["timestamp"] = table.groupby("userId").cumcount().astype(np.int64)
        return table

    def read_items(self) -> pd.DataFrame:
        """Read the items; a frame as the function `read_items`."""
        return self.format.read_items(self.items) if self.items else item_frame(self.ratings, ())


def detect(source: Path) -> RawData:
    """Detect the format of a file, or of the files in a folder: by their names, or the content.

    Raises:
        DataError: no such path, no known format, or more than one.
    """
    if source.is_file():
        formats = [format_ for format_ in FORMATS.values() if format_ is not PREPARED]
        named = [format_ for format_ in formats if source.name == format_.ratings[0]]
        fitting = named or [format_ for format_ in formats if format_.fits(source)]
        found = [RawData(format_, source) for format_ in fitting]
    elif source.is_dir():
        found = [
            RawData(format_, source / format_.ratings[0])
            for format_ in FORMATS.values()
            if all((source / name).is_file() for name in format_.ratings)
        ]
        # Lists of `user item` are published under names of their own.
        files = () if found else sorted(path for path in source.iterdir() if path.is_file())
        found += [RawData(SEQUENCE, path) for path in files if SEQUENCE.fits(path)]
    else:
        state = "is no file" if source.exists() else "does not exist"
        raise DataError(f"{source}: {state}; expected a folder or a file of rating data")
    if not found:
        raise _unknown(source)
    if len(found) > 1:
        names = " and ".join(f"{raw.ratings.name} ({raw.format.name})" for raw in found[:2])
        raise DataError(
            f"{source}: has more than one file of ratings: {names}; give the path of one of them"
        )
    return found[0]


def _unknown(source: Path) -> DataError:
    known = ", ".join(" + ".join(format_.ratings) for format_ in FORMATS.values())
    if source.is_file():
        _, fields = next(records(source, TAB), (1, [""]))  # names a file that is no text
        return DataError(
            f"{source}: no known rating data; expected the lines of one of {known}, got "
            f"{quoted(TAB.join(fields))}"
        )
    state = "no known rating data" if any(source.iterdir()) else "the folder is empty"
    return DataError(f"{source}: {state}; expected one of {known}, or a file of `user item` lines")


def read_ratings(source: Path, *, progress: bool = False) -> pd.DataFrame:
    """Read the ratings of a file or a folder, in file order.

    Returns:
        A frame of userId int32, movieId int32, rating float32, timestamp int64 (seconds since
        1970, or positions when the format has no time). Ids are at most 2**31 - 1, so that 32
        million ratings fit in 640 MB.

    Raises:
        DataError: the source or a line of a file is not as expected; names file and line.
    """
    return detect(source).read_ratings(progress=progress)


def read_items(source: Path) -> pd.DataFrame:
    """Read the items of a file or a folder: movieId int64, title str, genres str ("A|B", or "").

    Empty when there is no items file, or one with other ids than the ratings.

    Raises:
        DataError: the source or a line of the items file is not as expected.
    """
    return detect(source).read_items()


def read_ratings_csv(
    path: Path, *, progress: bool = False, may_be_empty: bool = False
) -> pd.DataFrame:
    """One CSV file with the header userId,movieId,rating,timestamp; a frame as `read_ratings`.

    A file without rows is an error unless it `may_be_empty`.

    Raises:
        DataError: a column is missing or a line is broken; names file and line.
    """
    return read_table(path, ",", COLUMNS, header=True, progress=progress, may_be_empty=may_be_empty)


def _mapped(path: Path, items: "pd.Series[int]", map_path: Path) -> "pd.Series[int]":
    """Map the sequence file's item ids to movieIds, by the map file."""
    table = read_table(map_path, ",", ("itemIdx", "movieId"), header=True)
    for column in ("itemIdx", "movieId"):
        repeated = table.loc[table[column].duplicated(), column]
        if len(repeated):
            raise DataError(f"{map_path}: {column} {repeated.iloc[0]} occurs more than once")
    unknown = ~items.isin(table["itemIdx"])
    if unknown.any():
        item = items[unknown].iloc[0]
        numbers = (at for at, fields in records(path, " ") if int(fields[1]) == item)
        raise DataError(
            f"{path}:{next(numbers)}: item {item} is not in {map_path.name}; expected every item "
            "there (without that file the ids are used as they are)"
        )
    return items.map(table.set_index("itemIdx")["movieId"]).astype(np.int32)


SEQUENCE = Format(
    name="sequence",
    ratings=("ml1m.txt",),
    items="movies.dat",
    separator=" ",
    columns=("userId", "movieId"),
    read_items=read_movies_dat,
    item_map=SEQUENCE_MAP,
)
PREPARED = Format(
    name="prepared-csv",
    ratings=("train.csv", "val.csv", "test.csv"),
    items="items.csv",
    read_items=read_movies_csv,
)
FORMATS = {
    format_.name: format_
    for format_ in (
        Format(
            name="ml-100k",
            ratings=("u.data",),
            items="u.item",
            separator=TAB,
            read_items=read_u_item,
        ),
        Format(
            name="ml-1m",
            ratings=("ratings.dat",),
            items="movies.dat",
            separator="::",
            read_items=read_movies_dat,
        ),
        Format(
            name="ml-latest",
            ratings=("ratings.csv",),
            items="movies.csv",
            read_items=read_movies_csv,
        ),
        SEQUENCE,
        PREPARED,
    )
}
