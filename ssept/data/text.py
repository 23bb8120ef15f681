"""Records of text files, read by one rule, whatever program saved the file.

A line is UTF-8, or else Latin-1; a byte order mark is skipped. CR, LF and CRLF end a line. Fields
of CSV files may be quoted, hold line ends, and follow a space. Blank lines are skipped.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from ssept.errors import DataError

LONGEST_LINE = 1 << 20
BOM = b"\xef\xbb\xbf"
FOREIGN = {
    b"\xff\xfe": "UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "UTF-16 text; save it as UTF-8",
    b"PK\x03\x04": "a zip archive or a spreadsheet; unpack it, or export it as text",
    b"\x1f\x8b": "a gzip file; unpack it",
    b"version https://git-lfs": "a Git LFS pointer; fetch the file with `git lfs pull`",
    b"<!doctype": "a web page; download the file itself",
    b"<html": "a web page; download the file itself",
}


def records(path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Iterate over the records of a file: the number of the first line, and the fields.

    Args:
        path: the file.
        separator: between fields. A comma stands for CSV, a space for any white space.

    Raises:
        DataError: the file is no text, or not CSV; names file and line.
    """
    found = _csv_records(path) if separator == "," else _split_records(path, separator)
    return ((number, fields) for number, fields in found if len(fields) > 1 or "".join(fields))


def _split_records(path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(_lines(path), start=1):
        text = line.removesuffix("\n")
        yield number, text.split(None if separator == " " or not text.strip() else separator)


def _csv_records(path: Path) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(_lines(path), skipinitialspace=True, strict=True)
    while True:
        number = reader.line_num + 1
        try:
            yield number, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(f"{path}:{number}: expected CSV text, got {error}") from error


def _lines(path: Path) -> Iterator[str]:
    """Iterate over the lines of a text file, each with a line feed but perhaps the last."""
    _check_text(path)
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        number = 0
        while line := file.readline(LONGEST_LINE):
            number += 1
            if len(line) == LONGEST_LINE and not line.endswith("\n"):
                raise DataError(
                    f"{path}:{number}: the line has more than {LONGEST_LINE:,} characters; "
                    "expected a text file with one row a line"
                )
            try:
                line.encode()
                yield line
            except UnicodeEncodeError:  # an escaped byte: the line is no UTF-8
                yield line.encode(errors="surrogateescape").decode("latin-1")


def _check_text(path: Path) -> None:
    """Refuse a file whose first bytes show that it is something else than text in UTF-8."""
    with path.open("rb") as file:
        start = file.read(1024)
    text = start.removeprefix(BOM).lstrip().lower()
    for magic, kind in FOREIGN.items():
        if start.startswith(magic) or text.startswith(magic):
            raise DataError(f"{path}: is {kind}")
    if b"\0" in start[:2]:
        raise DataError(f"{path}: is UTF-16 text or not text; save it as UTF-8 text")
