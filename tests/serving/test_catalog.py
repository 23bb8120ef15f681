"""Titles are found by their words, and a server's data are those of its model."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ssept.artifacts import Model
from ssept.data.dataset import Dataset
from ssept.errors import DataError
from ssept.files import cache_folder
from ssept.serving.catalog.catalog import catalog_of
from ssept.serving.catalog.titles import Titles, words_of

NAMES = [
    "Amélie (2001)",
    "Smørrebrød, The (1990)",
    "Harbour Lights (1951)",
    "Lights of the Harbour (1987)",
    "Lightship (1963)",
    "Schindler's List (1993)",
    "Straße (1954)",
    "ÆON 2 (2001)",
    "Light (1930)",
]
POPULARITY = np.array([5, 1, 2, 9, 3, 4, 1, 0, 0])


@pytest.fixture(scope="module")
def titles() -> Titles:
    return Titles(NAMES, POPULARITY)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("amelie", ["Amélie (2001)"]),
        ("AMÉLIE", ["Amélie (2001)"]),
        ("ame\u0301lie", ["Amélie (2001)"]),
        ("the smorrebrod", ["Smørrebrød, The (1990)"]),
        ("schindlers", ["Schindler's List (1993)"]),
        ("Schindler\u2019s li", ["Schindler's List (1993)"]),
        ("strasse", ["Straße (1954)"]),
        ("aeon", ["ÆON 2 (2001)"]),
        ("1951 har", ["Harbour Lights (1951)"]),
        ("arbour", []),
        ("amelie 1990", []),
    ],
)
def test_words_are_found_in_any_order_and_writing(
    titles: Titles, query: str, expected: list[str]
) -> None:
    assert [NAMES[item - 1] for item in titles.search(query, 9)] == expected


def test_the_best_come_first(titles: Titles) -> None:
    # Begins with the word itself; begins so, by popularity; has a word that begins so.
    assert titles.search("light", 9) == [9, 4, 5, 3]
    assert titles.search("lights", 9) == [4, 5, 3]
    assert titles.search("harbour", 9) == [3, 4]
    assert titles.search("", 3) == [4, 1, 6]
    assert titles.search("?!", 2) == [4, 1]
    assert titles.search("light", 1) == [9]


def test_words_are_those_of_letters_and_digits() -> None:
    assert words_of("L'Été: Part II (1968)") == ["lete", "part", "ii", "1968"]


def model_of(dataset: Dataset) -> Model:
    return Model(
        checkpoint="tiny",
        checkpoint_sha256="",
        data_name="small",
        data_hash=dataset.data_hash,
        users=dataset.users,
        items=dataset.items,
        max_length=50,
    )


def test_data_give_titles_and_histories(
    small: Dataset, small_folder: Path, small_checkpoint: Path
) -> None:
    catalog = catalog_of(small_checkpoint, model_of(small), small_folder)
    assert catalog.users == {given: place for place, given in enumerate(small.user_ids, 1)}
    assert catalog.item_ids.tolist() == [0, *small.item_ids.tolist()]
    for user in (1, small.users):
        targets = [split[user - 1] for split in (small.val, small.test) if split[user - 1]]
        expected = [*small.train[user - 1].tolist(), *targets]
        assert catalog.history(user).tolist() == expected
    assert catalog.history(0).tolist() == []
    given = int(small.item_ids[-1])
    assert catalog.find(f"synthetic item {given}", 1) == [small.items]
    assert catalog.find(f" {given} ", 9)[0] == small.items


def test_histories_are_read_once(
    small: Dataset, small_folder: Path, small_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = catalog_of(small_checkpoint, model_of(small), small_folder)

    def unread(_: Path) -> None:
        raise AssertionError("the ratings were parsed again")

    monkeypatch.setattr("ssept.serving.catalog.histories.load_dataset", unread)
    again = catalog_of(small_checkpoint, model_of(small), small_folder)
    np.testing.assert_array_equal(again.history(7), first.history(7))
    assert list((cache_folder() / "histories").iterdir())


@pytest.mark.parametrize("source", ["checkpoint", "file"])
def test_without_data_items_are_found_by_their_ids(
    small: Dataset, small_checkpoint: Path, tmp_path: Path, source: str
) -> None:
    path = small_checkpoint if source == "checkpoint" else tmp_path / "model.onnx"
    catalog = catalog_of(path, model_of(small))
    assert catalog.data is None
    ids = catalog.item_ids[1:].tolist()
    assert (ids == small.item_ids.tolist()) == (source == "checkpoint")
    (found,) = catalog.find(str(ids[-1]), 9)
    assert catalog.item_ids[found] == ids[-1]
    by_digits = [given for given in ids if str(given).startswith("3")]
    assert catalog.find("3", 200) == [catalog.items[given] for given in by_digits]
    assert catalog.history(1).tolist() == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda model: replace(model, data_hash="0" * 64), "are not those that tiny was trained"),
        (
            lambda model: replace(model, data_hash="", items=9),
            "40 users and .* items, and tiny 40 and 9",
        ),
    ],
    ids=["hash", "sizes"],
)
def test_other_data_are_refused(
    small: Dataset,
    small_folder: Path,
    small_checkpoint: Path,
    changed: Callable[[Model], Model],
    message: str,
) -> None:
    with pytest.raises(DataError, match=f"MOVIELENS_DATA_DIR: .*{message}"):
        catalog_of(small_checkpoint, changed(model_of(small)), small_folder)


def test_raw_data_are_prepared(small: Dataset, small_checkpoint: Path, tmp_path: Path) -> None:
    lines = [f"{user},{item},4,{item}" for user in range(1, 41) for item in (1, 2, 3)]
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n" + "\n".join(lines))
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n2,Two (1999),Drama|War\n")
    model = replace(model_of(small), data_hash="", items=3)
    catalog = catalog_of(small_checkpoint, model, tmp_path)
    assert catalog.find("two", 9) == [2]
    assert catalog.history(5).tolist() == [1, 2, 3]
    assert catalog.data is not None
    assert catalog.data.genres == ["", "Drama|War", ""]


@pytest.mark.parametrize("name", ["model.onnx", "artifacts"])
def test_a_model_without_a_map_of_ids_is_served_with_the_catalogs_and_says_so(
    small: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    catalog = catalog_of(tmp_path / name, model_of(small))
    assert catalog.items == {item: item for item in range(1, small.items + 1)}
    (said,) = caplog.messages
    assert said.startswith(f"{tmp_path / name}: has no map of ids: ")


def test_a_checkpoint_has_a_map_of_ids(
    small: Dataset, small_checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    catalog_of(small_checkpoint, model_of(small))
    assert not caplog.messages
