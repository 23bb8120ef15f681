"""Every on-disk format is read, and every broken file is named with its line."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ssept.data.formats import detect, read_items, read_ratings, read_ratings_csv
from ssept.errors import DataError
from tests.helpers.data_files import (
    COLUMNS,
    RAW_WRITERS,
    SEQUENCE_MAP,
    made_up_ratings,
    real_folder,
    write_1m,
    write_100k,
    write_latest,
    write_sequence,
)

HEADER = "userId,movieId,rating,timestamp\n"


def refusal(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_ratings(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def item_refusal(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_items(folder)
    return str(caught.value)


@pytest.mark.parametrize("name", RAW_WRITERS)
def test_a_format_is_detected_and_read_in_file_order(name: str, tmp_path: Path) -> None:
    ratings = made_up_ratings()
    RAW_WRITERS[name](tmp_path, ratings)
    assert detect(tmp_path).format.name == name
    read = read_ratings(tmp_path)
    assert dict(read.dtypes.astype(str)) == {
        "userId": "int32",
        "movieId": "int32",
        "rating": "float32",
        "timestamp": "int64",
    }
    np.testing.assert_array_equal(read.to_numpy(), ratings.to_numpy())


@pytest.mark.parametrize("name", RAW_WRITERS)
def test_titles_keep_their_accents_colons_and_quotes(name: str, tmp_path: Path) -> None:
    RAW_WRITERS[name](tmp_path, made_up_ratings(items=12))
    items = read_items(tmp_path)
    titles = {"ml-100k": "Café 3 (1995)", "ml-1m": "Café: part 3 (1995)"}
    expected = titles.get(name, 'Café, "3" (1995)')
    row = items.set_index("movieId").loc[3]
    assert (row["title"], row["genres"]) == (expected, "Action|Western")


def test_movies_dat_is_read_in_utf8_too(tmp_path: Path) -> None:
    write_1m(tmp_path, made_up_ratings(items=12), encoding="utf-8")
    assert read_items(tmp_path)["title"].str.startswith("Café: part ").all()


def test_no_genres_listed_is_no_genre(tmp_path: Path) -> None:
    write_latest(tmp_path, made_up_ratings())
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n5,A film,(no genres listed)\n")
    assert read_items(tmp_path).to_numpy().tolist() == [[5, "A film", ""]]


def test_items_are_empty_without_an_items_file(tmp_path: Path) -> None:
    write_100k(tmp_path, made_up_ratings())
    (tmp_path / "u.item").unlink()
    items = read_items(tmp_path)
    assert list(items) == ["movieId", "title", "genres"]
    assert items.empty


def test_a_sequence_file_has_positions_for_times(tmp_path: Path) -> None:
    (tmp_path / "ml1m.txt").write_text("1 7\n1 5\n2 5\n1 6\n")
    assert detect(tmp_path).format.name == "sequence"
    assert read_ratings(tmp_path).to_numpy().tolist() == [
        [1, 7, 1.0, 0],
        [1, 5, 1.0, 1],
        [2, 5, 1.0, 0],
        [1, 6, 1.0, 2],
    ]


def test_a_sequence_file_is_mapped_and_titled_by_the_files_beside_it(tmp_path: Path) -> None:
    (tmp_path / "ml1m.txt").write_text("1 1\n1 2\n")
    (tmp_path / "movies.dat").write_text("1::Not this::Drama\n1193::This::Comedy\n")
    assert read_items(tmp_path).empty, "without the map, movies.dat speaks of other ids"
    (tmp_path / SEQUENCE_MAP).write_text("itemIdx,movieId\n2,661\n1,1193\n")
    assert read_ratings(tmp_path)["movieId"].tolist() == [1193, 661]
    assert read_items(tmp_path)["title"].tolist() == ["Not this", "This"]


def test_a_readme_is_not_taken_for_a_sequence_file(tmp_path: Path) -> None:
    write_latest(tmp_path, made_up_ratings())
    (tmp_path / "README.txt").write_text("1 2\n")
    assert detect(tmp_path).format.name == "ml-latest"


def test_csv_columns_may_come_in_any_order_after_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "some.csv"
    path.write_bytes(b"\xef\xbb\xbftimestamp,rating,movieId,userId\n9,4.5,7,1\n")
    read = read_ratings_csv(path)
    assert list(read) == COLUMNS
    assert read.to_numpy().tolist() == [[1, 7, 4.5, 9]]


def test_a_last_line_without_line_end_and_blank_lines_are_fine(tmp_path: Path) -> None:
    (tmp_path / "u.data").write_text("1\t2\t3\t4\n\n5\t6\t4.5\t8")
    (tmp_path / "u.item").write_text(f"2|A|||{'|0' * 19}\n\n")
    assert read_ratings(tmp_path).to_numpy().tolist() == [[1, 2, 3, 4], [5, 6, 4.5, 8]]
    assert read_items(tmp_path).to_numpy().tolist() == [[2, "A", ""]]


def test_blocks_join_without_a_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ratings = made_up_ratings()
    write_1m(tmp_path, ratings)
    monkeypatch.setattr("ssept.data.tables.BLOCK_ROWS", 7)
    np.testing.assert_array_equal(read_ratings(tmp_path).to_numpy(), ratings.to_numpy())
    with (tmp_path / "ratings.dat").open("a") as file:
        file.write("1::2::3\n")
    assert f"ratings.dat:{len(ratings) + 1}: expected 4 fields" in refusal(tmp_path)


def test_a_missing_folder_a_file_and_an_empty_folder_are_told_apart(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    expected = "expected a folder or a file of rating data"
    assert refusal(missing) == f"{missing}: does not exist; {expected}"
    file = tmp_path / "file"
    file.touch()
    assert refusal(file).startswith(f"{file}: no known rating data; expected the lines of one of")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert refusal(empty) == (
        f"{empty}: the folder is empty; expected one of u.data, ratings.dat, ratings.csv, "
        "ml1m.txt, train.csv + val.csv + test.csv, or a file of `user item` lines"
    )
    (empty / "train.csv").write_text(HEADER)
    assert refusal(empty).startswith(f"{empty}: no known rating data; expected one of u.data,")


def test_two_formats_in_one_folder_are_refused(tmp_path: Path) -> None:
    write_100k(tmp_path, made_up_ratings())
    write_latest(tmp_path, made_up_ratings())
    assert refusal(tmp_path) == (
        f"{tmp_path}: has more than one file of ratings: u.data (ml-100k) and "
        "ratings.csv (ml-latest); give the path of one of them"
    )


def test_a_prepared_folder_is_not_raw_data(tmp_path: Path) -> None:
    for name in ("train.csv", "val.csv", "test.csv"):
        (tmp_path / name).write_text(HEADER + "1,2,3.0,4\n")
    assert detect(tmp_path).format.name == "prepared-csv"
    assert "is already prepared" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("file", "text"),
    [("u.data", ""), ("ratings.dat", "\n\n"), ("ratings.csv", HEADER), ("ml1m.txt", "")],
)
def test_an_empty_ratings_file_is_named(file: str, text: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text(text)
    assert refusal(tmp_path) == f"{tmp_path / file}: no ratings in it"


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("userId,movieId,timestamp", "the header has no column rating"),
        ("userId,movieId,rating,time", "the header has no column timestamp"),
        ("userId,movieId,rating,timestamp,tag", "the header has 5 columns"),
        ("", "the header has no column userId"),
    ],
)
def test_a_wrong_csv_header_is_shown(header: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    path.write_text(f"{header}\n1,2,3,4\n" if header else "")
    expected = f"expected the columns userId,movieId,rating,timestamp, got {header!r}"
    assert refusal(tmp_path) == f"{path}:1: {problem}; {expected}"


FAULTS = {
    "1,2,3": "expected 4 fields separated by ',', got 3: '1,2,3'",
    "1,2,3,4,5": "expected 4 fields separated by ',', got 5: '1,2,3,4,5'",
    "1,2,3,4,": "expected 4 fields separated by ',', got 5: '1,2,3,4,'",
    "x,2,3,4": "expected userId to be an integer, got 'x'",
    "1.0,2,3,4": "expected userId to be an integer, got '1.0'",
    "True,2,3,4": "expected userId to be an integer, got 'True'",
    "1,,3,4": "expected movieId to be an integer, got ''",
    "0,2,3,4": "expected userId to be from 1 to 2147483647, got '0'",
    "1,-2,3,4": "expected movieId to be from 1 to 2147483647, got '-2'",
    "1,2147483648,3,4": "expected movieId to be from 1 to 2147483647, got '2147483648'",
    "1,4294967297,3,4": "expected movieId to be from 1 to 2147483647, got '4294967297'",
    "1,2,good,4": "expected rating to be a number, got 'good'",
    "1,2,,4": "expected rating to be a number, got ''",
    "1,2,nan,4": "expected rating to be a finite number, got 'nan'",
    "1,2,inf,4": "expected rating to be a finite number, got 'inf'",
    "1,2,-inf,4": "expected rating to be a finite number, got '-inf'",
    "1,2,1e39,4": "expected rating to be a finite number, got '1e39'",
    "1,2,3,-4": "expected timestamp to be from 0 to 9223372036854775807, got '-4'",
    "1,2,3,4.5": "expected timestamp to be an integer, got '4.5'",
    "1,2,3,9223372036854775808": (
        "expected timestamp to be from 0 to 9223372036854775807, got '9223372036854775808'"
    ),
    "1,2,3,99999999999999999999": (
        "expected timestamp to be from 0 to 9223372036854775807, got '99999999999999999999'"
    ),
    "4_1,2,3,4": "expected userId to be an integer, got '4_1'",
    "1e3,2,3,4": "expected userId to be an integer, got '1e3'",
    "1,2,4_1,4": "expected rating to be a number, got '4_1'",
    "1,2,3,1_0": "expected timestamp to be an integer, got '1_0'",
    "1,2,3,\u0663": "expected timestamp to be an integer, got '\u0663'",
    "0x1,2,3,4": "expected userId to be an integer, got '0x1'",
    '"1,000",2,3,4': "expected userId to be an integer, got '1,000'",
    '1,2,"3,5",4': "expected rating to be a number, got '3,5'",
    "1,2,3 5,4": "expected rating to be a number, got '3 5'",
    '"1,2,3,4': "expected CSV text, got unexpected end of data",
    "1,2,NA,4": "expected rating to be a number, got 'NA'",
    f"{'9' * 4000},2,3,4": f"expected userId to be from 1 to 2147483647, got '{'9' * 100}…'",
}


@pytest.mark.parametrize("line", FAULTS)
def test_a_broken_csv_line_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    path.write_text(f"{HEADER}1,2,3.5,4\n{line}\n5,6,4.0,8\n9,x,1,1\n")
    assert refusal(tmp_path) == f"{path}:3: {FAULTS[line]}"


@pytest.mark.parametrize("line", FAULTS)
def test_a_broken_only_line_is_named(line: str, tmp_path: Path) -> None:
    """A column that is wrong throughout has another dtype than one with a single wrong value."""
    path = tmp_path / "ratings.csv"
    path.write_text(f"{HEADER}{line}\n")
    assert refusal(tmp_path) == f"{path}:2: {FAULTS[line]}"


@pytest.mark.parametrize(
    ("file", "good", "broken", "problem"),
    [
        ("u.data", "1\t2\t3\t4", "1\t2\t3", "expected 4 fields separated by '\\t', got 3"),
        ("u.data", "1\t2\t3\t4", "1 2 3 4", "expected 4 fields separated by '\\t', got 1"),
        ("ratings.dat", "1::2::4.5::4", "1::2::3", "expected 4 fields separated by '::', got 3"),
        ("ratings.dat", "1::2::4.5::4", "1:9:2::3::4", "expected 4 fields separated by '::'"),
        ("ratings.dat", "1::2::4.5::4", "1:0:2::3::4::5", "expected userId to be an integer"),
        ("ratings.dat", "1::2::4.5::4", "1::2:x:3::4", "expected 4 fields separated by '::'"),
        ("ratings.dat", "1::2::4.5::4", "1::2::0x3::4", "expected rating to be a number"),
        ("ml1m.txt", "1 2", "1 2 3", "expected 2 fields separated by ' ', got 3"),
        ("ml1m.txt", "1 2", "1 0", "expected movieId to be from 1 to 2147483647, got '0'"),
    ],
)
def test_a_broken_line_of_another_format_is_named(
    file: str, good: str, broken: str, problem: str, tmp_path: Path
) -> None:
    (tmp_path / file).write_text(f"{good}\n\n{broken}\n{good}\n")
    assert refusal(tmp_path).startswith(f"{tmp_path / file}:3: {problem}")


def test_bytes_that_are_no_number_are_named(tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    path.write_bytes(HEADER.encode() + b"1,2,3,4\n1,2,\xff3,4\n")
    assert refusal(tmp_path) == f"{path}:3: expected rating to be a number, got '\xff3'"
    path.write_bytes(b"userId\xff\n")
    assert refusal(tmp_path).startswith(f"{path}:1: the header has no column userId")


def test_a_file_cut_off_by_a_crash_is_named(tmp_path: Path) -> None:
    path = tmp_path / "u.data"
    path.write_bytes(b"1\t2\t3\t4\n1\t3\t3\t" + b"\0" * 20)
    assert refusal(tmp_path).startswith(f"{path}:2: expected timestamp to be an integer")


@pytest.mark.parametrize("name", ["Video.txt", "Beauty.txt", "ml-1m.txt", "steam", "a b.inter"])
@pytest.mark.parametrize("whole", [True, False], ids=["file", "folder"])
def test_user_item_lines_are_read_from_a_file_of_any_name(
    name: str, whole: bool, tmp_path: Path
) -> None:
    """As SSE-PT and SASRec publish them: a user's lines are in the order of time."""
    path = tmp_path / name
    path.write_text("1 9\n1 5\n2 5\n1 7\n2 3\n")
    (tmp_path / "README.md").write_text("# Data\n")
    (tmp_path / "partition.py").write_text("print(1)\n")
    (tmp_path / "movies.dat").write_text("5::Of other ids::Drama\n")
    (tmp_path / SEQUENCE_MAP).write_text("itemIdx,movieId\n")
    source = path if whole else tmp_path
    assert read_ratings(source)[["userId", "movieId", "timestamp"]].to_numpy().tolist() == [
        [1, 9, 0],
        [1, 5, 1],
        [2, 5, 0],
        [1, 7, 2],
        [2, 3, 1],
    ]
    assert read_items(source).empty


def test_of_several_user_item_files_one_must_be_chosen(tmp_path: Path) -> None:
    for name in ("Video.txt", "Beauty.txt", "Steam.txt"):
        (tmp_path / name).write_text("1 2\n")
    assert refusal(tmp_path) == (
        f"{tmp_path}: has more than one file of ratings: Beauty.txt (sequence) and "
        "Steam.txt (sequence); give the path of one of them"
    )
    (tmp_path / "Steam.txt").write_text("1 2\n1 x\n")
    assert refusal(tmp_path / "Steam.txt").startswith(f"{tmp_path / 'Steam.txt'}:2: expected")


@pytest.mark.parametrize("name", RAW_WRITERS)
@pytest.mark.parametrize("other", ["", "copy.txt"], ids=["own name", "other name"])
def test_the_path_of_a_file_is_taken_in_every_format(name: str, other: str, tmp_path: Path) -> None:
    RAW_WRITERS[name](tmp_path, made_up_ratings(items=12))
    path = detect(tmp_path).ratings
    expected, titles = read_ratings(tmp_path), read_items(tmp_path)
    if other:
        path = path.rename(tmp_path / other)
    pd.testing.assert_frame_equal(read_ratings(path), expected)
    assert len(read_items(path)) == (0 if other else len(titles))


def test_a_sequence_item_without_a_movie_is_named(tmp_path: Path) -> None:
    write_sequence(tmp_path, made_up_ratings(), item_map={item: item for item in range(1, 30)})
    path = tmp_path / "ml1m.txt"
    path.write_text("1 1\n\n1 2\n1 30\n2 31\n")
    assert refusal(tmp_path).startswith(f"{path}:4: item 30 is not in {SEQUENCE_MAP}; expected")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("itemIdx,movieId\n1,5\n2,5\n", " movieId 5 occurs more than once"),
        ("itemIdx,movieId\n1,5\n1,6\n", " itemIdx 1 occurs more than once"),
        ("itemIdx,movieId\n1,5\n2,-6\n", "3: expected movieId to be from 1 to"),
        ("item,movieId\n1,5\n", "1: the header has no column itemIdx; expected the columns"),
    ],
)
def test_a_broken_item_map_is_named(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "ml1m.txt").write_text("1 1\n1 2\n")
    (tmp_path / SEQUENCE_MAP).write_text(text)
    assert refusal(tmp_path).startswith(f"{tmp_path / SEQUENCE_MAP}:{problem}")


@pytest.mark.parametrize(
    ("file", "lines", "problem"),
    [
        ("u.item", ["2|A|||x" + "|0" * 18], "1: expected a movieId, a title and genres, got"),
        ("u.item", ["2|A|||" + "|2" * 19], "1: expected a movieId, a title and genres, got"),
        ("movies.dat", ["2::A::B", "3::A"], "2: expected a movieId, a title and genres, got"),
        ("movies.dat", ["2::A::B", "2::C::D"], "2: movieId 2 occurs a second time"),
        ("movies.dat", ["x::A::B"], "1: expected movieId to be an integer, got 'x'"),
        ("movies.csv", ["movieId,title,genres", "2,A, B,C"], "2: expected a movieId, a title"),
        ("movies.csv", ["movieId,title,genres", "0,A,B"], "2: expected movieId to be from 1 to"),
        ("movies.csv", ["movieId,title,genres", "2,A,B", '3,"A,B'], "3: expected CSV text, got"),
        ("movies.csv", ["movieId,title", "2,A"], "1: the header has no column genres; expected"),
    ],
)
def test_a_broken_item_line_is_named(
    file: str, lines: list[str], problem: str, tmp_path: Path
) -> None:
    writers = {"u.item": write_100k, "movies.dat": write_1m, "movies.csv": write_latest}
    writers[file](tmp_path, made_up_ratings())
    (tmp_path / file).write_text("\n".join(lines) + "\n")
    assert item_refusal(tmp_path).startswith(f"{tmp_path / file}:{problem}")


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("ml-100k", (100_000, 943, 1_682)),
        ("ml-latest-small", (100_836, 610, 9_724)),
        ("ml-1m", (999_611, 6_040, 3_416)),
    ],
)
def test_the_real_folders_have_their_published_counts(
    name: str, counts: tuple[int, int, int]
) -> None:
    folder = real_folder(name)
    ratings = read_ratings(folder)
    assert (len(ratings), ratings["userId"].nunique(), ratings["movieId"].nunique()) == counts
    titles = read_items(folder)
    untitled = ~pd.Index(ratings["movieId"].unique()).isin(titles["movieId"])
    assert not untitled.any()
    assert not titles["title"].str.contains("\ufffd").any()
