"""A prepared folder in memory."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from ssept.data.dataset import Dataset, left_padded, load_dataset
from ssept.errors import DataError

HEADER = "userId,movieId,rating,timestamp\n"


def write(folder: Path, train: str, val: str = "", test: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    for name, rows in (("train", train), ("val", val), ("test", test)):
        (folder / f"{name}.csv").write_text(HEADER + rows)
    return folder


def test_ids_become_the_catalogs_own(tmp_path: Path) -> None:
    dataset = load_dataset(
        write(tmp_path / "d", "7,500,4,1\n7,20,4,2\n9,20,3,1\n", "7,30,4,3\n", "7,20000,4,4\n")
    )
    assert dataset.user_ids.tolist() == [7, 9]
    assert dataset.item_ids.tolist() == [20, 30, 500, 20000]
    assert [history.tolist() for history in dataset.train] == [[3, 1], [1]]
    assert (dataset.val.tolist(), dataset.test.tolist()) == ([2, 0], [4, 0])


def test_the_validation_item_comes_before_the_test_target(tmp_path: Path) -> None:
    dataset = load_dataset(write(tmp_path / "d", "1,5,4,1\n1,6,4,2\n", "1,7,4,3\n", "1,8,4,4\n"))
    assert dataset.cases("val").histories[0].tolist() == [1, 2]
    assert dataset.cases("test").histories[0].tolist() == [1, 2, 3]
    assert dataset.cases("test").targets.tolist() == [4]
    assert dataset.cases("test").users.tolist() == [1]


def test_rows_in_any_order_are_read_in_time_order(tmp_path: Path) -> None:
    dataset = load_dataset(write(tmp_path / "d", "2,6,4,9\n1,5,4,2\n2,5,4,8\n1,6,4,1\n"))
    assert [history.tolist() for history in dataset.train] == [[2, 1], [1, 2]]


def test_padding_is_on_the_left_and_the_latest_items_stay() -> None:
    padded = left_padded([np.array([1, 2, 3]), np.array([4]), np.array([], dtype=np.int64)], 2)
    assert padded.tolist() == [[2, 3], [0, 4], [0, 0]]


def test_popularity_counts_training_interactions_only(tmp_path: Path) -> None:
    dataset = load_dataset(write(tmp_path / "d", "1,5,4,1\n2,5,4,1\n2,6,4,2\n", "1,7,4,3\n"))
    assert dataset.popularity.tolist() == [0, 2, 1, 0]


def test_a_missing_split_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "d", "1,5,4,1\n")
    (folder / "val.csv").unlink()
    with pytest.raises(DataError, match=r"has no val\.csv"):
        load_dataset(folder)


def test_two_targets_of_a_user_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "d", "1,5,4,1\n", "1,6,4,2\n1,7,4,3\n")
    with pytest.raises(DataError, match=r"val\.csv: user 1 has more than one row"):
        load_dataset(folder)


def test_a_file_changed_after_it_was_prepared_is_refused(small: Dataset, tmp_path: Path) -> None:
    folder = shutil.copytree(small.folder, tmp_path / "d")
    with (folder / "val.csv").open("a") as file:
        file.write("1,1,1.0,1\n")
    with pytest.raises(DataError, match=r"val\.csv: changed since it was prepared"):
        load_dataset(folder)


def test_a_broken_line_of_a_csv_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "d", "1,5,4,1\n1,six,4,2\n")
    with pytest.raises(DataError, match=r"train\.csv:3: "):
        load_dataset(folder)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1]",
        "7",
        "{}",
        '{"data_hash": 7}',
        '{"data_hash": "a", "files": []}',
        "\xff",
        "x" * 9999,
    ],
)
def test_a_broken_manifest_is_named(text: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "d", "1,5,4,1\n1,6,4,2\n", "1,7,4,3\n", "1,8,4,4\n")
    (folder / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=r"manifest\.json: not a manifest of `ssept data prepare`"):
        load_dataset(folder)
