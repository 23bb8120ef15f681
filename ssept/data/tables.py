"""Text files of numbers into frames: fast in blocks, and exact about the first broken line.

A file is parsed by pandas in blocks, and each block is checked as a whole. Only when a block
fails is the file read again record by record: that reader decides, and names the first broken line.
"""

import csv
import itertools
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
import numpy.typing as npt
import pandas as pd
from tqdm import tqdm

from ssept.data import LARGEST_ID
from ssept.data.text import records
from ssept.errors import DataError, quoted

BLOCK_ROWS = 1_000_000
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
    """Read a file of numbers, one row per record of `ssept.data.text`.

    Args:
        path: the file.
        separator: between fields, as for `records`.
        columns: the columns to read: ids int32, `timestamp` int64, `rating` float32.
        header: whether the first record names the columns, in any order.
        progress: show a progress bar when stderr is a terminal.
        may_be_empty: a file without rows gives an empty frame instead of an error.

    Raises:
        DataError: names the file, and the first broken line.
    """
    names = header_names(path, columns) if header else columns
    try:
        rows = itertools.islice(records(path, separator), int(header), None)
        if len(next(rows, (1, names))[1]) != len(names):  # pandas would take surplus for an index
            raise ValueError("the first row has a different number of fields")
        with path.open("rb") as file, _bytes_bar(path, progress) as bar:
            blocks = []
            for block in _blocks(file, separator, names, header):
                blocks.append(_checked(block, columns))
                bar.update(file.tell() - bar.n)
        return pd.concat(blocks, ignore_index=True)
    except (ValueError, OverflowError):
        frame = _exact(path, separator, names, header)[[*columns]]
    if frame.empty and not may_be_empty:
        raise DataError(f"{path}: no ratings in it")
    return frame


def header_names(path: Path, columns: tuple[str, ...]) -> tuple[str, ...]:
    """Read the column names in a CSV file's first record; they must be `columns` in some order.

    Raises:
        DataError: they are not.
    """
    number, fields = next(records(path, ","), (1, []))
    names = tuple(map(str.strip, fields))
    expected = f"expected the columns {','.join(columns)}, got {quoted(','.join(fields))}"
    for column in columns:
        if column not in names:
            raise DataError(f"{path}:{number}: the header has no column {column}; {expected}")
    if len(names) != len(columns):
        raise DataError(f"{path}:{number}: the header has {len(names)} columns; {expected}")
    return names


def number_of(column: str, text: str) -> float:
    """Read the value of a column: an id, a timestamp (both integers) or a rating.

    Raises:
        ValueError: it is none; the message says what was expected, and what was found.
    """
    kind = float if column == "rating" else int
    least, largest = _bounds(column)
    expected = "a number" if kind is float else "an integer"
    try:
        if text.isascii() and "_" not in text:  # Python takes 4_1 and the digits of all scripts
            value: float = kind(text)
            if least <= value <= largest:
                return value
            expected = "a finite number" if kind is float else f"from {least} to {largest}"
    except ValueError:
        pass
    raise ValueError(f"expected {column} to be {expected}, got {quoted(text)}")


def _bytes_bar(path: Path, progress: bool) -> "tqdm[NoReturn]":
    """Make a progress bar over a file's bytes; tqdm shows none if stderr is not a terminal."""
    hidden = None if progress else True
    size = path.stat().st_size
    return tqdm(desc=path.name, total=size, unit="B", unit_scale=True, disable=hidden)


def _blocks(
    file: BinaryIO, separator: str, names: tuple[str, ...], header: bool
) -> Iterator[pd.DataFrame]:
    """Frames of up to BLOCK_ROWS rows, with the dtypes that pandas finds."""
    if separator == "::":  # the C parser splits at single characters: every other column is empty
        names = tuple(part for name in names for part in (f"before {name}", name))[1:]
    yield from pd.read_csv(
        file,
        sep=r"\s+" if separator == " " else separator[0],
        header=0 if header else None,
        names=list(names),
        quoting=csv.QUOTE_NONE,
        keep_default_na=False,
        na_values=[""],
        chunksize=BLOCK_ROWS,
        low_memory=False,
    )


def _checked(block: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    """Convert a block to the dtypes of `read_ratings`; ValueError if a value is invalid."""
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


def _exact(path: Path, separator: str, names: tuple[str, ...], header: bool) -> pd.DataFrame:
    """Read a file that pandas refuses: it is quoted, or one of its lines is broken."""
    found: dict[str, array[Any]] = {name: array(_dtype(name).char) for name in names}
    for number, fields in itertools.islice(records(path, separator), int(header), None):
        if len(fields) != len(names):
            raise DataError(
                f"{path}:{number}: expected {len(names)} fields separated by {separator!r}, "
                f"got {len(fields)}: {quoted(separator.join(fields))}"
            )
        try:
            for name, text in zip(names, fields, strict=True):
                found[name].append(number_of(name, text))
        except ValueError as error:
            raise DataError(f"{path}:{number}: {error}") from error
    return pd.DataFrame({name: np.array(values, _dtype(name)) for name, values in found.items()})


def _dtype(column: str) -> np.dtype[Any]:
    return np.dtype({"rating": "float32", "timestamp": "int64"}.get(column, "int32"))


def _bounds(column: str) -> tuple[float, float]:
    if column == "rating":
        return -LARGEST_RATING, LARGEST_RATING
    return (0, LARGEST_TIME) if column == "timestamp" else (1, LARGEST_ID)
