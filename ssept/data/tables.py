"""Text files of numbers into frames: fast in blocks, and exact about the first broken line.

A file is parsed by pandas in blocks, and each block is checked as a whole. Only when a block
fails is the file read again line by line, to name the first broken line.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
import numpy.typing as npt
import pandas as pd
from tqdm import tqdm

from ssept.errors import DataError

BLOCK_ROWS = 1_000_000
LARGEST_ID = int(np.iinfo(np.int32).max)
LARGEST_TIME = int(np.iinfo(np.int64).max)
LARGEST_RATING = float(np.finfo(np.float32).max)


def read_table(
    path: Path,
    separator: str,
    columns: tuple[str, ...],
    *,
    header: bool = False,
    progress: bool = False,
    may_be_empty: bool = False,
) -> pd.DataFrame:
    """Read a file of numbers, one row per line; blank lines are skipped.

    Args:
        path: the file.
        separator: between fields; "::" is understood.
        columns: the columns to read: ids int32, `timestamp` int64, `rating` float32.
        header: whether the first line names the columns, in any order.
        progress: show a progress bar when stderr is a terminal.
        may_be_empty: a file without rows gives an empty frame instead of an error.

    Raises:
        DataError: names the file, and the first broken line.
    """
    names = header_names(path, columns) if header else columns
    try:
        with path.open("rb") as file, _bytes_bar(path, progress) as bar:
            if header:
                file.readline()
            blocks = []
            for block in _blocks(file, separator, names):
                blocks.append(_checked(block, columns))
                bar.update(file.tell() - bar.n)
        return pd.concat(blocks, ignore_index=True)
    except (ValueError, OverflowError) as error:
        if may_be_empty and not _has_rows(path, header):
            return pd.DataFrame({name: np.empty(0, _dtype(name)) for name in columns})
        raise _first_fault(path, separator, names, header, error) from error


def header_names(path: Path, columns: tuple[str, ...]) -> tuple[str, ...]:
    """Read the column names in a CSV file's first line; they must be `columns` in some order.

    Raises:
        DataError: they are not.
    """
    _, line = next(numbered_lines(path), (1, ""))
    names = tuple(line.removeprefix("\ufeff").split(","))
    expected = f"expected the columns {','.join(columns)}, got {line!r}"
    for column in columns:
        if column not in names:
            raise DataError(f"{path}:1: the header has no column {column}; {expected}")
    if len(names) != len(columns):
        raise DataError(f"{path}:1: the header has {len(names)} columns; {expected}")
    return names


def _bytes_bar(path: Path, progress: bool) -> "tqdm[NoReturn]":
    """Make a progress bar over a file's bytes; tqdm shows none if stderr is not a terminal."""
    hidden = None if progress else True
    size = path.stat().st_size
    return tqdm(desc=path.name, total=size, unit="B", unit_scale=True, disable=hidden)


def _blocks(file: BinaryIO, separator: str, names: tuple[str, ...]) -> Iterator[pd.DataFrame]:
    """Frames of up to BLOCK_ROWS rows, with the dtypes that pandas finds."""
    if separator == "::":  # the C parser splits at single characters: every other column is empty
        names = tuple(part for name in names for part in (f"before {name}", name))[1:]
    yield from pd.read_csv(
        file,
        sep=separator[0],
        header=None,
        names=list(names),
        quoting=csv.QUOTE_NONE,
        chunksize=BLOCK_ROWS,
        low_memory=False,
    )


def _checked(block: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    """Convert a block to the dtypes of `read_ratings`; ValueError if a value is invalid."""
    if not isinstance(block.index, pd.RangeIndex):  # pandas took surplus fields for an index
        raise ValueError("too many fields")
    if block.drop(columns=list(columns)).notna().any(axis=None):
        raise ValueError("text between two colons")
    return pd.DataFrame({name: _narrowed(name, block[name].to_numpy()) for name in columns})


def _narrowed(column: str, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    # Integers only as such: a column with a gap or a fraction comes from pandas as float.
    if values.dtype.kind not in ("if" if column == "rating" else "i"):
        raise ValueError(f"{column} is not numeric")
    if column == "rating":
        with np.errstate(over="ignore"):
            values = values.astype(_dtype(column))
        valid = np.isfinite(values)
    else:
        least, largest = _bounds(column)
        valid = (values >= least) & (values <= largest)
        values = values.astype(_dtype(column), copy=False)
    if not valid.all():
        raise ValueError(f"{column} is out of range")
    return values


def _dtype(column: str) -> np.dtype[Any]:
    return np.dtype({"rating": "float32", "timestamp": "int64"}.get(column, "int32"))


def _has_rows(path: Path, header: bool) -> bool:
    return any(line for number, line in numbered_lines(path) if not (header and number == 1))


def _bounds(column: str) -> tuple[int, int]:
    return (0, LARGEST_TIME) if column == "timestamp" else (1, LARGEST_ID)


def _first_fault(
    path: Path, separator: str, names: tuple[str, ...], header: bool, cause: Exception
) -> DataError:
    """Return an error that names the first broken line of a file that could not be read."""
    empty = True
    for number, line in numbered_lines(path):
        if not line or (header and number == 1):
            continue
        empty = False
        fields = line.split(separator)
        if len(fields) != len(names):
            return DataError(
                f"{path}:{number}: expected {len(names)} fields separated by {separator!r}, "
                f"got {len(fields)}: {line!r}"
            )
        for name, text in zip(names, fields, strict=True):
            if expected := expected_of(name, text):
                return DataError(f"{path}:{number}: expected {name} to be {expected}, got {text!r}")
    return DataError(f"{path}: no ratings in it" if empty else f"{path}: {cause}")


def expected_of(column: str, text: str) -> str | None:
    """Say what `text` should have been; None if it is right."""
    try:
        if column == "rating":
            return None if abs(float(text)) <= LARGEST_RATING else "a finite number"
        least, largest = _bounds(column)
        return None if least <= int(text) <= largest else f"from {least} to {largest}"
    except ValueError:
        return "a number" if column == "rating" else "an integer"


def numbered_lines(path: Path, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """Iterate over the lines of a text file, numbered from 1, without line ends.

    Raises:
        DataError: a line is not of that encoding.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield number, line.decode(encoding).rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{path}:{number}: expected {encoding} text, got the bytes "
                    f"{line[error.start : error.end]!r} at byte {error.start + 1} of the line"
                ) from error
