"""One rule for encodings, line ends, quotes and spaces, in the files of every format."""

import codecs
import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ssept.data import tables
from ssept.data.formats import read_items, read_ratings
from ssept.data.tables import number_of, read_table
from ssept.data.text import LONGEST_LINE, records
from ssept.errors import DataError

COLUMNS = ("userId", "movieId", "rating", "timestamp")
HEADER = ",".join(COLUMNS)
SEPARATORS = {"u.data": "\t", "ratings.dat": "::", "ratings.csv": ",", "ml1m.txt": " "}
ITEMS = {
    "u.item": ("7|{}|||" + "|0" * 18 + "|1", "u.data", "1\t7\t3\t4"),
    "movies.dat": ("7::{}::Western", "ratings.dat", "1::7::3::4"),
    "movies.csv": ("movieId,title,genres\n7,{},Western", "ratings.csv", f"{HEADER}\n1,7,3,4"),
}


def lines_of(file: str, rows: list[tuple[str, ...]]) -> list[str]:
    """The lines of a ratings file; a list of `user item` has the first two fields only."""
    fields = 2 if file == "ml1m.txt" else 4
    lines = [SEPARATORS[file].join(row[:fields]) for row in rows]
    return [HEADER, *lines] if file == "ratings.csv" else lines


def refusal(source: Path) -> str:
    """The message, which is one line of a bounded length."""
    with pytest.raises(DataError) as caught:
        read_ratings(source)
    said = str(caught.value).replace(str(source), "")
    assert "\n" not in said
    assert len(said) < 400
    return said


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["lf", "crlf", "cr"])
@pytest.mark.parametrize("bom", [b"", codecs.BOM_UTF8], ids=["", "bom"])
@pytest.mark.parametrize("file", SEPARATORS)
def test_a_mark_and_line_ends_change_neither_values_nor_line_numbers(
    file: str, bom: bytes, end: str, tmp_path: Path
) -> None:
    path = tmp_path / file
    lines = lines_of(file, [("1", "7", "3", "4"), (" 2 ", "8 ", "4.5", "5")])
    path.write_bytes(bom + end.join(["", *lines, " ", ""]).encode())
    read = read_ratings(tmp_path)
    assert read[["userId", "movieId"]].to_numpy().tolist() == [[1, 7], [2, 8]]
    broken = SEPARATORS[file].join(["3", "x", "1", "1"][: 2 if file == "ml1m.txt" else 4])
    path.write_bytes(bom + end.join(["", *lines, "", broken, lines[-1], ""]).encode())
    number = len(lines) + 3
    assert refusal(tmp_path) == f"/{file}:{number}: expected movieId to be an integer, got 'x'"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
@pytest.mark.parametrize("file", ITEMS)
def test_titles_are_utf8_and_else_latin1_in_every_format(
    file: str, encoding: str, tmp_path: Path
) -> None:
    line, ratings, text = ITEMS[file]
    (tmp_path / ratings).write_text(text)
    title = '"Misérables, Les"' if file == "movies.csv" else "Misérables, Les"
    (tmp_path / file).write_bytes(line.format(title).encode(encoding))
    assert read_items(tmp_path).to_numpy().tolist() == [[7, "Misérables, Les", "Western"]]


def test_one_line_in_latin1_spoils_no_other(tmp_path: Path) -> None:
    (tmp_path / "ratings.dat").write_text("1::7::3::4")
    (tmp_path / "movies.dat").write_bytes(b"7::Caf\xc3\xa9::Drama\n8::Caf\xe9::Drama\n")
    assert read_items(tmp_path)["title"].tolist() == ["Café", "Café"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
@pytest.mark.parametrize("file", SEPARATORS)
def test_utf16_is_refused(file: str, encoding: str, tmp_path: Path) -> None:
    (tmp_path / file).write_bytes(
        "\n".join(lines_of(file, [("1", "2", "3", "4")])).encode(encoding)
    )
    said = refusal(tmp_path)
    assert said.startswith(f"/{file}: is UTF-16 text")
    assert said.endswith("save it as UTF-8 text") or said.endswith("save it as UTF-8")


def zipped() -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        archive.writestr("u.data", "1\t2\t3\t4")
    return memory.getvalue()


@pytest.mark.parametrize("file", SEPARATORS)
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\n <!DOCTYPE html>\n<html>" + b"x" * 4_000_000, "is a web page; download"),
        (codecs.BOM_UTF8 + b"<HTML><body>", "is a web page; download"),
        (zipped(), "is a zip archive or a spreadsheet; unpack it"),
        (gzip.compress(b"1 2"), "is a gzip file; unpack it"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        (b"1" * 4_000_000, "1: the line has more than 1,048,576 characters"),
        (b"1,2,3,4 " * 500_000, "1: the line has more than 1,048,576 characters"),
        (b"\xe9" * 4_000_000, "1: the line has more than 1,048,576 characters"),
    ],
    ids=["page", "page-bom", "zip", "gzip", "lfs", "digits", "no-lines", "bytes"],
)
def test_what_is_no_text_of_rows_is_refused_in_a_line(
    file: str, content: bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path / file).write_bytes(content)
    if content.startswith(b"1,2") and file == "ratings.csv":
        assert refusal(tmp_path).startswith(f"/{file}:1: ")
    else:
        assert said in refusal(tmp_path)


@pytest.mark.parametrize("file", SEPARATORS)
def test_long_lines_and_fields_are_cut(file: str, tmp_path: Path) -> None:
    for text in ("9" * 5000, "x" * 200_000, "x," * 1000, "x\t" * 1000, "\x1b[31m" * 100):
        (tmp_path / file).write_text("\n".join([*lines_of(file, []), text]))
        said = refusal(tmp_path)
        assert f"/{file}:" in said
        assert said.isprintable()


@pytest.mark.parametrize("character", ["\0", "\x1b", "\u200b", "\U000e0001", "'", "\\"])
@pytest.mark.parametrize("file", SEPARATORS)
def test_what_is_escaped_is_cut_too(file: str, character: str, tmp_path: Path) -> None:
    """A character of a file may take ten in a message."""
    for text in (f"x{character * 300}", f"1{character * 300}\t2\t3\t4"):
        (tmp_path / file).write_text(text)
        assert refusal(tmp_path).isprintable()


def test_a_long_title_is_cut_only_in_messages(tmp_path: Path) -> None:
    (tmp_path / "ratings.dat").write_text("1::7::3::4")
    (tmp_path / "movies.dat").write_text(f"7::{'x' * 9000}::Drama\n")
    assert read_items(tmp_path)["title"].str.len().tolist() == [9000]
    (tmp_path / "movies.dat").write_text(f"7::{'x' * 9000}\n")
    with pytest.raises(DataError) as caught:
        read_items(tmp_path)
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


@pytest.mark.parametrize(
    "header",
    [
        "userId, movieId, rating, timestamp",
        '"userId","movieId","rating","timestamp"',
        f" {HEADER} ",
    ],
)
@pytest.mark.parametrize("row", ["1,7,3.5,4", '"1","7","3.5","4"', "1, 7, 3.5, 4", '"1", 7,3.5,4'])
def test_quotes_and_spaces_of_csv_are_read(header: str, row: str, tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text(f"{header}\n{row}\n{row.replace('7', '8')}\n")
    assert read_ratings(tmp_path).to_numpy().tolist() == [[1, 7, 3.5, 4], [1, 8, 3.5, 4]]


def test_the_header_of_titles_may_have_spaces_and_quotes(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text(f"{HEADER}\n1,7,3,4\n")
    (tmp_path / "movies.csv").write_text('\n"genres", "movieId", "title"\nDrama, 7, "A, B"\n')
    assert read_items(tmp_path).to_numpy().tolist() == [[7, "A, B", "Drama"]]


def test_a_quoted_line_end_stays_and_counts_as_a_line(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text(f"{HEADER}\n1,7,3,4\n")
    path = tmp_path / "movies.csv"
    text = 'movieId,title,genres\r\n7,"Two\r\nlines",Drama\r\n{},B,Drama\r\n'
    path.write_bytes(codecs.BOM_UTF8 + text.format("8").encode())
    assert read_items(tmp_path)["title"].tolist() == ["Two\nlines", "B"]
    path.write_bytes(codecs.BOM_UTF8 + text.format("x").encode())
    with pytest.raises(DataError, match=r"movies\.csv:4: expected movieId to be an integer"):
        read_items(tmp_path)


def test_white_space_of_any_width_parts_user_and_item(tmp_path: Path) -> None:
    (tmp_path / "ml1m.txt").write_text("1 7 \n 1  8\n1\t9\t\n")
    assert read_ratings(tmp_path)["movieId"].tolist() == [7, 8, 9]


SHARED = [HealthCheck.function_scoped_fixture]  # each example writes the file anew
FIELD = st.text(alphabet='0123456789.+-eE_"x, \t\u00a0n', max_size=6) | st.sampled_from(
    [
        "1",
        "7",
        " 7 ",
        "007",
        "+5",
        "-0",
        "1e3",
        "4_1",
        "nan",
        "inf",
        "NA",
        "TRUE",
        "1.",
        ".5",
        '"1"',
    ]
)


@pytest.mark.slow
@settings(max_examples=1000, deadline=None, suppress_health_check=SHARED)
@given(
    separator=st.sampled_from(["\t", ",", "::", " "]),
    rows=st.lists(st.tuples(FIELD, FIELD, FIELD, FIELD), min_size=1, max_size=3),
)
def test_the_fast_reader_takes_nothing_that_the_exact_one_refuses(
    separator: str, rows: list[tuple[str, ...]], tmp_path: Path
) -> None:
    path = tmp_path / "table"
    path.write_text("\n".join(separator.join(row) for row in rows))
    try:
        read = read_table(path, separator, COLUMNS, may_be_empty=True)
    except DataError:
        read = None
    try:
        exact = [
            [number_of(*pair) for pair in zip(COLUMNS, fields, strict=True)]
            for _, fields in records(path, separator)
        ]
    except (ValueError, DataError):
        exact = None
    assert (read is None) == (exact is None)
    if read is not None and exact is not None:
        expected = np.array(exact, dtype=float).reshape(-1, 4)
        np.testing.assert_allclose(read.to_numpy(dtype=float), expected, rtol=1e-6)


def test_a_quoted_file_is_read_as_the_fast_one(tmp_path: Path) -> None:
    rows = [(user, item, item / 2, 10**12 + item) for user in range(1, 9) for item in range(1, 99)]
    plain, quoted = tmp_path / "plain.csv", tmp_path / "quoted.csv"
    plain.write_text("\n".join([HEADER, *(",".join(map(str, row)) for row in rows)]))
    quoted.write_text("\n".join([HEADER, *(",".join(f'"{n}"' for n in row) for row in rows)]))
    fast, exact = read_ratings(plain), read_ratings(quoted)
    assert (fast.dtypes == exact.dtypes).all()
    np.testing.assert_array_equal(fast.to_numpy(), exact.to_numpy())


def test_the_longest_line_is_still_read(tmp_path: Path) -> None:
    path = tmp_path / "movies.dat"
    (tmp_path / "ratings.dat").write_text("1::7::3::4")
    path.write_text(f"7::{'x' * (LONGEST_LINE - 12)}::Drama\n"[:LONGEST_LINE])
    assert len(read_items(tmp_path)) == 1
    assert tables.LARGEST_ID == 2**31 - 1
