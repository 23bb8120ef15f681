"""Raw ratings become the same prepared folder whatever their format and order."""

import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssept.data.filters import drop_repeats, k_core, keep_rated
from ssept.data.prepare import FILES, SPLIT_FILES, prepare, prepared, write_prepared
from ssept.data.split import TIE_RULE, Split, global_time, leave_one_out, sort_by_time
from ssept.errors import DataError
from ssept.files import sha256, sha256_json
from tests.helpers.data_files import (
    RAW_WRITERS,
    made_up_ratings,
    ratings_of,
    real_folder,
    shuffled,
    write_1m,
    write_100k,
    write_latest,
    write_sequence,
)


def split_bytes(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in SPLIT_FILES]


def rows(frame: pd.DataFrame) -> list[tuple[int, int, int]]:
    return [tuple(row) for row in frame[["userId", "movieId", "timestamp"]].to_numpy().tolist()]


def refusal(source: Path, out: Path, **options: Any) -> str:
    """The message of a `prepare` that fails, which must leave everything beside `out` as it was."""
    before = sorted(path for path in out.parent.rglob("*"))
    with pytest.raises(DataError) as caught:
        prepare(source, out, progress=False, **options)
    assert sorted(path for path in out.parent.rglob("*")) == before
    return str(caught.value)


# ---------------------------------------------------------------- the same split everywhere


@pytest.mark.parametrize("split", ["leave-one-out", "global-time"])
def test_every_format_and_row_order_gives_the_same_files(split: str, tmp_path: Path) -> None:
    ratings = made_up_ratings(users=60)
    found = []
    for name, write in RAW_WRITERS.items():
        for order, frame in {"as-is": ratings, "shuffled": shuffled(ratings)}.items():
            source = write(tmp_path / f"{name}-{order}", frame)
            prepare(source, tmp_path / "out" / source.name, split=split, progress=False)
            found.append(split_bytes(tmp_path / "out" / source.name))
    assert len(found) == 6
    assert all(files == found[0] for files in found)


def test_a_sequence_file_gives_the_files_of_its_positions(tmp_path: Path) -> None:
    pairs = made_up_ratings()[["userId", "movieId"]]
    timed = pairs.assign(rating=1.0, timestamp=pairs.groupby("userId").cumcount())
    prepare(write_sequence(tmp_path / "a", timed), tmp_path / "out-a", progress=False)
    prepare(write_100k(tmp_path / "b", shuffled(timed)), tmp_path / "out-b", progress=False)
    assert split_bytes(tmp_path / "out-a") == split_bytes(tmp_path / "out-b")


def test_the_real_ml_100k_gives_the_same_files_in_every_format(tmp_path: Path) -> None:
    source = real_folder("ml-100k")
    names = ["userId", "movieId", "rating", "timestamp"]
    ratings = pd.read_csv(source / "u.data", sep="\t", names=names)
    manifest = prepare(source, tmp_path / "out", progress=False)
    assert manifest["counts"] == {
        "users": 943,
        "items": 1_682,
        "ratings": 100_000,
        "train": 98_114,
        "val": 943,
        "test": 943,
        "users_train_only": 0,
    }
    for write in (write_1m, write_latest):
        other = write(tmp_path / write.__name__, shuffled(ratings))
        prepare(other, tmp_path / "other", progress=False)
        assert split_bytes(tmp_path / "other") == split_bytes(tmp_path / "out")


def test_the_files_read_as_documented(tmp_path: Path) -> None:
    ratings = ratings_of([(2, 9, 4.0, 30), (2, 8, 3.5, 20), (2, 7, 5.0, 10), (1, 7, 0.5, 5)])
    prepare(write_latest(tmp_path / "raw", ratings), tmp_path / "out", progress=False)
    header = b"userId,movieId,rating,timestamp\n"
    assert split_bytes(tmp_path / "out") == [
        header + b"1,7,0.5,5\n2,7,5.0,10\n",
        header + b"2,8,3.5,20\n",
        header + b"2,9,4.0,30\n",
    ]
    assert (tmp_path / "out/items.csv").read_text(encoding="utf-8").splitlines() == [
        "movieId,title,genres",
        '7,"Café, ""7"" (1995)",Action|Western',
        '8,"Café, ""8"" (1995)",Action|Western',
        '9,"Café, ""9"" (1995)",Action|Western',
    ]
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(FILES)


def test_long_files_are_written_in_blocks_without_a_seam(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_latest(tmp_path / "raw", made_up_ratings())
    prepare(source, tmp_path / "whole", progress=False)
    monkeypatch.setattr("ssept.data.prepare.BLOCK_ROWS", 7)
    prepare(source, tmp_path / "blocks", progress=False)
    assert split_bytes(tmp_path / "blocks") == split_bytes(tmp_path / "whole")


# ---------------------------------------------------------------- the manifest


def test_the_manifest_says_where_the_files_come_from(tmp_path: Path) -> None:
    source = write_100k(tmp_path / "ml-100k", made_up_ratings())
    manifest = prepare(source, tmp_path / "out", progress=False)
    assert json.loads((tmp_path / "out/manifest.json").read_text()) == manifest
    assert manifest["schema"] == 1
    assert (manifest["name"], manifest["format"], manifest["notes"]) == ("ml-100k", "ml-100k", [])
    assert manifest["sources"] == [
        {"file": file, "bytes": (source / file).stat().st_size, "sha256": sha256(source / file)}
        for file in ("u.data", "u.item")
    ]
    assert manifest["split"] == {
        "method": "leave-one-out",
        "tie_rule": TIE_RULE,
        "min_interactions": 3,
    }
    hashes = {name: sha256(tmp_path / "out" / name) for name in FILES if name != "manifest.json"}
    assert manifest["files"] == hashes
    splits = {name: hashes[name] for name in SPLIT_FILES}
    assert manifest["data_hash"] == sha256_json(splits)


def test_the_manifest_of_a_sequence_file_says_what_was_made_up(tmp_path: Path) -> None:
    ratings = made_up_ratings()
    made_up = (
        "ml1m.txt has neither rating nor time: rating is 1, timestamp is the position in the "
        "user's list, from 0"
    )
    plain = prepare(write_sequence(tmp_path / "plain", ratings), tmp_path / "a", progress=False)
    assert plain["notes"] == [
        made_up,
        "the item ids are those of the file, not movieIds",
        "no movies.dat that fits: titles and genres are empty",
    ]
    item_map = {item: 1000 + item for item in range(1, 31)}
    source = write_sequence(tmp_path / "mapped", ratings, item_map=item_map)
    (source / "movies.dat").write_text("1001::A film::Drama\n")
    mapped = prepare(source, tmp_path / "b", progress=False)
    rated = ratings["movieId"].nunique()
    assert mapped["notes"] == [
        made_up,
        "the item ids are movieIds, by ml1m_item_to_movieId.csv",
        f"{rated - 1} items are not in movies.dat: their titles are empty",
    ]
    assert "\n1001,A film,Drama\n1002,,\n" in (tmp_path / "b/items.csv").read_text()


def test_the_manifest_counts_what_the_filters_dropped(tmp_path: Path) -> None:
    kept = [(user, item, 4.0, 10 * item) for user in (1, 2) for item in (1, 2, 3)]
    low = [(1, 4, 1.0, 50), (3, 1, 1.0, 50)]
    repeat = [(1, 1, 5.0, 3)]
    rare = [(2, 5, 4.0, 60), (4, 1, 4.0, 60)]
    source = write_latest(tmp_path / "raw", ratings_of(repeat + low + rare + kept))
    manifest = prepare(
        source, tmp_path / "out", min_rating=3.5, min_user=2, min_item=2, progress=False
    )
    assert manifest["filters"] == {
        "repeats": {"keep": "latest", "dropped": {"ratings": 1, "users": 0, "items": 0}},
        "min_rating": {"value": 3.5, "dropped": {"ratings": 2, "users": 1, "items": 1}},
        "k_core": {
            "min_user": 2,
            "min_item": 2,
            "dropped": {"ratings": 2, "users": 1, "items": 1},
        },
    }
    counts = manifest["counts"]
    assert (counts["ratings"], counts["users"], counts["items"]) == (6, 2, 3)


def test_users_without_targets_are_counted(tmp_path: Path) -> None:
    ratings = ratings_of([(1, i, 3.0, i) for i in (1, 2, 3)] + [(2, 1, 3.0, 1), (2, 2, 3.0, 2)])
    source = write_latest(tmp_path / "raw", ratings)
    counts = prepare(source, tmp_path / "out", progress=False)["counts"]
    assert counts["users_train_only"] == 1
    assert (counts["train"], counts["val"], counts["test"]) == (3, 1, 1)


# ---------------------------------------------------------------- order and split rules


def test_ties_are_ordered_by_the_published_splitmix64() -> None:
    """Against a plain-integer splitmix64, whose first output for seed 0 is a known constant."""

    def splitmix64(key: int) -> int:
        mask = 2**64 - 1
        z = (key + 0x9E3779B97F4A7C15) & mask
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return z ^ (z >> 31)

    assert splitmix64(0) == 0xE220A8397B1DCDAF
    ratings = made_up_ratings()
    expected = sorted(
        rows(ratings), key=lambda row: (row[0], row[2], splitmix64(row[0] * 2**32 + row[1]))
    )
    assert rows(sort_by_time(ratings)) == expected
    last_two_tie = ratings.groupby("userId")["timestamp"].apply(
        lambda t: t.max() == t.nlargest(2).iloc[1]
    )
    assert last_two_tie.any(), "the made-up ratings must have ties where the split is decided"


def test_ties_do_not_follow_the_ids() -> None:
    ratings = ratings_of([(1, item, 3.0, 5) for item in range(1, 101)])
    items = sort_by_time(ratings)["movieId"]
    assert abs(np.corrcoef(items, np.arange(100))[0, 1]) < 0.3


def test_leave_one_out_by_hand() -> None:
    ratings = ratings_of(
        [
            (1, 10, 3.0, 4),
            (1, 11, 3.0, 1),
            (1, 12, 3.0, 3),
            (1, 13, 3.0, 2),
            (2, 10, 3.0, 9),
            (2, 11, 3.0, 8),
            (3, 12, 3.0, 1),
            (3, 10, 3.0, 2),
            (3, 11, 3.0, 3),
            (4, 10, 3.0, 1),
        ]
    )
    split = leave_one_out(sort_by_time(ratings))
    assert rows(split.test) == [(1, 10, 4), (3, 11, 3)]
    assert rows(split.val) == [(1, 12, 3), (3, 10, 2)]
    assert rows(split.train) == [
        (1, 11, 1),
        (1, 13, 2),
        (2, 11, 8),
        (2, 10, 9),
        (3, 12, 1),
        (4, 10, 1),
    ]


def test_leave_one_out_needs_a_user_with_three_interactions(tmp_path: Path) -> None:
    source = write_latest(tmp_path / "raw", ratings_of([(1, 1, 3.0, 1), (1, 2, 3.0, 2)]))
    assert "no user has 3 interactions" in refusal(source, tmp_path / "out")


def test_global_time_by_hand() -> None:
    """Ten interactions: validation begins at the 7th (time 70), test at the 9th (time 90)."""
    ratings = ratings_of(
        [
            (1, 10, 3.0, 10),
            (1, 11, 3.0, 20),
            (1, 12, 3.0, 70),  # user 1's validation target
            (1, 13, 3.0, 75),  # after it: unused
            (1, 14, 3.0, 90),  # user 1's test target
            (2, 10, 3.0, 30),
            (2, 11, 3.0, 40),  # user 2 has no targets
            (3, 10, 3.0, 50),
            (3, 11, 3.0, 95),  # user 3 has no validation target
            (4, 10, 3.0, 60),
        ]
    )
    split = global_time(sort_by_time(ratings), val_fraction=0.2, test_fraction=0.2)
    assert rows(split.train) == [
        (1, 10, 10),
        (1, 11, 20),
        (2, 10, 30),
        (2, 11, 40),
        (3, 10, 50),
        (4, 10, 60),
    ]
    assert rows(split.val) == [(1, 12, 70)]
    assert rows(split.test) == [(1, 14, 90), (3, 11, 95)]
    rule = split.rule
    assert (rule["val_from"], rule["test_from"], rule["ratings_unused"]) == (70, 90, 1)
    assert rule["users_without_training"] == 0


def test_global_time_gives_no_targets_to_users_without_a_past() -> None:
    known = [(1, item, 3.0, time) for item, time in enumerate((1, 2, 3, 4, 5, 6, 7, 9), start=1)]
    new = [(2, 1, 3.0, 7), (2, 2, 3.0, 9)]
    split = global_time(sort_by_time(ratings_of(known + new)), 0.2, 0.2)
    assert (split.rule["val_from"], split.rule["test_from"]) == (7, 9)
    assert set(split.val["userId"]) == set(split.test["userId"]) == {1}
    assert split.rule["users_without_training"] == 1


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(st.integers(1, 6), st.integers(1, 40), st.just(3.0), st.integers(0, 30)),
        min_size=20,
        max_size=120,
        unique_by=lambda row: row[:2],
    )
)
def test_global_time_never_lets_the_future_into_the_past(
    listed: list[tuple[int, int, float, int]],
) -> None:
    try:
        split = global_time(sort_by_time(ratings_of(listed)))
    except DataError:
        return
    assert split.train["timestamp"].max() < split.rule["val_from"]
    assert split.rule["val_from"] <= split.val["timestamp"].min()
    assert split.val["timestamp"].max() < split.rule["test_from"] <= split.test["timestamp"].min()
    for part in (split.val, split.test):
        assert part["userId"].is_unique
        assert set(part["userId"]) <= set(split.train["userId"])
    parts = rows(split.train) + rows(split.val) + rows(split.test)
    assert len(set(parts)) == len(parts) == len(listed) - split.rule["ratings_unused"]


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(st.integers(1, 6), st.integers(1, 9), st.just(3.0), st.integers(0, 5)),
        min_size=13,
        max_size=54,
        unique_by=lambda row: row[:2],
    ),
    st.randoms(),
)
def test_leave_one_out_ignores_row_order(
    listed: list[tuple[int, int, float, int]], random: Any
) -> None:
    split = leave_one_out(sort_by_time(ratings_of(listed)))
    assert len(split.train) + len(split.val) + len(split.test) == len(listed)
    random.shuffle(listed)
    again = leave_one_out(sort_by_time(ratings_of(listed)))
    pd.testing.assert_frame_equal(again.train, split.train)
    pd.testing.assert_frame_equal(again.val, split.val)
    pd.testing.assert_frame_equal(again.test, split.test)


def test_global_time_refuses_what_it_cannot_split(tmp_path: Path) -> None:
    one_second = write_latest(
        tmp_path / "one", ratings_of([(1, item, 3.0, 5) for item in range(1, 20)])
    )
    message = refusal(one_second, tmp_path / "out", split="global-time")
    assert "expected three different seconds" in message
    strangers = write_latest(
        tmp_path / "two", ratings_of([(user, 1, 3.0, user) for user in range(1, 20)])
    )
    message = refusal(strangers, tmp_path / "out", split="global-time")
    assert "no user with interactions before 16 has one from then on" in message
    sequence = write_sequence(tmp_path / "three", made_up_ratings())
    message = refusal(sequence, tmp_path / "out", split="global-time")
    assert message.startswith(f"{sequence / 'ml1m.txt'}: has no times")
    with pytest.raises(DataError, match=r"fractions 0\.5 and 0\.5; expected"):
        global_time(sort_by_time(made_up_ratings()), 0.5, 0.5)


# ---------------------------------------------------------------- filters


def test_the_latest_of_repeated_pairs_is_kept() -> None:
    ratings = ratings_of([(1, 5, 2.0, 9), (1, 5, 4.0, 3), (1, 6, 1.0, 4), (1, 6, 3.0, 4)])
    kept, dropped = drop_repeats(ratings)
    assert kept["rating"].tolist() == [2.0, 3.0]
    assert dropped == {"ratings": 2, "users": 0, "items": 0}
    backwards, _ = drop_repeats(ratings[::-1].reset_index(drop=True))
    assert sorted(backwards["rating"]) == [2.0, 3.0]


def test_ratings_at_the_threshold_are_kept() -> None:
    ratings = ratings_of([(1, 5, 3.3, 1), (1, 6, 3.2, 1)]).astype({"rating": np.float32})
    kept, dropped = keep_rated(ratings, 3.3)
    assert (kept["movieId"].tolist(), dropped["ratings"]) == ([5], 1)
    assert len(keep_rated(ratings, None)[0]) == 2


def test_k_core_goes_on_until_nothing_changes() -> None:
    """Item 9 falls first; that leaves user 3 with one rating, and then item 8 with one."""
    core = [(user, item, 3.0, 1) for user in (1, 2) for item in (1, 2)]
    ratings = ratings_of([*core, (1, 8, 3.0, 1), (3, 8, 3.0, 1), (3, 9, 3.0, 1)])
    kept, dropped = k_core(ratings, 2, 2)
    assert [row[:2] for row in rows(kept)] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert dropped == {"ratings": 3, "users": 1, "items": 2}
    assert len(k_core(ratings, 3, 0)[0]) == 3, "only user 1 has three ratings"
    assert k_core(ratings, 3, 3)[0].empty


def test_filters_that_leave_nothing_are_refused(tmp_path: Path) -> None:
    source = write_latest(tmp_path / "raw", made_up_ratings())
    message = refusal(source, tmp_path / "out", min_rating=5.5)
    assert message.startswith(
        f"{source / 'ratings.csv'}: the filters leave no ratings (min_rating=5.5,"
    )


# ---------------------------------------------------------------- the output folder


def test_an_earlier_prepared_folder_is_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    first = prepare(write_latest(tmp_path / "a", made_up_ratings()), out, progress=False)
    second = prepare(write_latest(tmp_path / "b", made_up_ratings(seed=8)), out, progress=False)
    assert first["data_hash"] != second["data_hash"]
    assert json.loads((out / "manifest.json").read_text()) == second


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"thesis.tex": "dear"}, "holds thesis.tex, which would be lost"),
        ({"train.csv": "mine"}, "holds train.csv but no manifest.json of a prepared folder"),
        ({"manifest.json": "{}"}, "holds manifest.json but no manifest.json of a prepared"),
        ({"manifest.json": "[1"}, "holds manifest.json but no manifest.json of a prepared"),
        (
            {"manifest.json": '{"schema": 1, "data_hash": ""}', "notes.md": "dear"},
            "holds notes.md, which would be lost",
        ),
    ],
)
def test_a_folder_of_the_user_is_never_replaced(
    files: dict[str, str], problem: str, tmp_path: Path
) -> None:
    source = write_latest(tmp_path / "raw", made_up_ratings())
    out = tmp_path / "out"
    out.mkdir()
    for name, text in files.items():
        (out / name).write_text(text)
    assert refusal(source, out).startswith(f"{out}: {problem}")
    assert {path.name: path.read_text() for path in out.iterdir()} == files


def test_a_file_and_the_source_itself_are_no_output_folders(tmp_path: Path) -> None:
    source = write_latest(tmp_path / "raw", made_up_ratings())
    assert "holds movies.csv, which would be lost" in refusal(source, source)
    assert "is a file" in refusal(source, source / "ratings.csv")


def test_the_folder_behind_a_link_is_written(tmp_path: Path) -> None:
    source = write_latest(tmp_path / "raw", made_up_ratings())
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    prepare(source, tmp_path / "link", progress=False)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "disk/manifest.json").is_file()


@pytest.mark.parametrize(
    ("file", "text"),
    [("ratings.csv", "userId,movieId,rating,timestamp\n1,2\n"), ("movies.csv", "movieId\n")],
)
def test_nothing_is_written_when_a_source_is_broken(file: str, text: str, tmp_path: Path) -> None:
    source = write_latest(tmp_path / "raw", made_up_ratings())
    (source / file).write_text(text)
    assert refusal(source, tmp_path / "out").startswith(f"{source / file}:")


def test_an_earlier_folder_survives_a_failed_run(tmp_path: Path) -> None:
    source = write_latest(tmp_path / "raw", made_up_ratings())
    prepare(source, tmp_path / "out", progress=False)
    before = split_bytes(tmp_path / "out")
    (source / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,2\n")
    refusal(source, tmp_path / "out")
    assert split_bytes(tmp_path / "out") == before


def test_an_unknown_split_and_a_prepared_source_are_refused(tmp_path: Path) -> None:
    source = write_latest(tmp_path / "raw", made_up_ratings())
    assert refusal(source, tmp_path / "out", split="random") == (
        "split 'random' is not known; expected one of leave-one-out, global-time"
    )
    prepare(source, tmp_path / "out", progress=False)
    assert "is already prepared" in refusal(tmp_path / "out", tmp_path / "again")


def test_write_prepared_is_open_to_other_makers_of_splits(tmp_path: Path) -> None:
    train, val, test = (ratings_of([(1, item, 3.0, item)]) for item in (1, 2, 3))
    items = pd.DataFrame({"movieId": [4, 3, 1], "title": ["D", "C", "A"], "genres": ["", "x", "y"]})
    description = {"name": "toy", "format": "toy", "sources": [], "notes": ["hi"], "filters": {}}
    split = Split(train, val, test, {"method": "by hand"})
    manifest = write_prepared(tmp_path / "out", split, items, description)
    assert (manifest["name"], manifest["split"]) == ("toy", {"method": "by hand"})
    text = (tmp_path / "out/items.csv").read_text()
    assert text == "movieId,title,genres\n1,A,y\n2,,\n3,C,x\n"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").touch()
    with pytest.raises(DataError, match="holds file, which would be lost"):
        write_prepared(tmp_path / "mine", split, items, description)


# ---------------------------------------------------------------- the cache


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SSEPT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_split_folder_is_used_as_it_is(cache: Path, tmp_path: Path) -> None:
    for name in SPLIT_FILES:
        (tmp_path / name).write_text("userId,movieId,rating,timestamp\n1,2,3.0,4\n")
    assert prepared(tmp_path) == tmp_path
    with pytest.raises(DataError, match=r"is already split, so the options .* cannot apply"):
        prepared(tmp_path, min_user=5)
    assert not cache.exists()


def test_raw_files_are_prepared_once_per_content_and_options(cache: Path, tmp_path: Path) -> None:
    source = write_latest(tmp_path / "raw", made_up_ratings())
    folder = prepared(source, progress=False)
    assert folder.parent == cache / "data"
    assert folder.name.startswith("raw-")
    assert len(folder.name) == len("raw-") + 12
    manifest = folder / "manifest.json"
    written = manifest.stat().st_mtime_ns
    assert prepared(source, progress=False) == folder
    assert manifest.stat().st_mtime_ns == written
    assert prepared(source, min_user=4, progress=False) != folder
    write_latest(source, made_up_ratings(seed=8))
    assert prepared(source, progress=False) != folder


def test_a_cached_folder_that_lost_a_file_is_made_again(cache: Path, tmp_path: Path) -> None:
    source = write_latest(tmp_path / "raw", made_up_ratings())
    folder = prepared(source, progress=False)
    before = split_bytes(folder)
    (folder / "val.csv").unlink()
    assert prepared(source, progress=False) == folder
    assert split_bytes(folder) == before


def test_callers_that_ask_at_once_share_one_run(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_latest(tmp_path / "raw", made_up_ratings(users=200))
    runs = []

    def counted(*args: Any, **options: Any) -> dict[str, Any]:
        runs.append(args)
        return write_prepared(*args, **options)

    monkeypatch.setattr("ssept.data.prepare.write_prepared", counted)
    together = threading.Barrier(4)

    def ask() -> Path:
        together.wait()
        return prepared(source, progress=False)

    with ThreadPoolExecutor(4) as pool:
        folders = {future.result() for future in [pool.submit(ask) for _ in range(4)]}
    assert len(runs) == len(folders) == 1


def test_a_missing_source_is_named(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="missing: does not exist; expected a folder"):
        prepared(tmp_path / "missing")


def test_no_progress_bar_off_a_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    prepare(write_latest(tmp_path / "raw", made_up_ratings()), tmp_path / "out")
    assert capfd.readouterr() == ("", "")


def test_progress_bars_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stderr", terminal)
    source = write_latest(tmp_path / "raw", made_up_ratings())
    prepare(source, tmp_path / "quiet", progress=False)
    assert terminal.getvalue() == ""
    prepare(source, tmp_path / "out")
    bars = terminal.getvalue()
    assert "ratings.csv: 100%" in bars
    assert "write: 100%" in bars
