"""Small made-up data folders, written in every on-disk format."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

SEQUENCE_MAP = "ml1m_item_to_movieId.csv"
COLUMNS = ["userId", "movieId", "rating", "timestamp"]


def made_up_ratings(*, users: int = 12, items: int = 30, seed: int = 7) -> pd.DataFrame:
    """Ratings with many equal timestamps, in no order: COLUMNS, no repeated (user, item)."""
    random = np.random.default_rng(seed)
    rows = [
        (user, int(item), float(random.integers(2, 11)) / 2, int(random.integers(880, 890)))
        for user in range(1, users + 1)
        for item in random.choice(np.arange(1, items + 1), random.integers(3, 12), replace=False)
    ]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return frame.sample(frac=1, random_state=seed).reset_index(drop=True)


def ratings_of(rows: Sequence[tuple[int, int, float, int]]) -> pd.DataFrame:
    """A frame of (userId, movieId, rating, timestamp) rows."""
    return pd.DataFrame(rows, columns=COLUMNS)


def shuffled(ratings: pd.DataFrame) -> pd.DataFrame:
    """The same rows in another order."""
    return ratings.sample(frac=1, random_state=3).reset_index(drop=True)


def write_100k(folder: Path, ratings: pd.DataFrame) -> Path:
    """u.data and u.item; each item has the two genres Action and Western."""
    lines = [f"{u}\t{i}\t{r:g}\t{t}" for u, i, r, t in ratings.itertuples(index=False)]
    _write(folder / "u.data", lines)
    flags = "|".join("1" if genre in (1, 18) else "0" for genre in range(19))
    titles = [f"{item}|Café {item} (1995)|01-Jan-1995||http://x/|{flags}" for item in _ids(ratings)]
    _write(folder / "u.item", titles, encoding="latin-1")
    return folder


def write_1m(folder: Path, ratings: pd.DataFrame, *, encoding: str = "latin-1") -> Path:
    """ratings.dat and movies.dat, with colons in the titles."""
    lines = [f"{u}::{i}::{r:g}::{t}" for u, i, r, t in ratings.itertuples(index=False)]
    _write(folder / "ratings.dat", lines)
    titles = [f"{item}::Café: part {item} (1995)::Action|Western" for item in _ids(ratings)]
    _write(folder / "movies.dat", titles, encoding=encoding)
    return folder


def write_latest(folder: Path, ratings: pd.DataFrame) -> Path:
    """ratings.csv and movies.csv with CRLF line ends, as GroupLens writes them."""
    lines = [f"{u},{i},{r:.1f},{t}" for u, i, r, t in ratings.itertuples(index=False)]
    _write(folder / "ratings.csv", [",".join(COLUMNS), *lines], end="\r\n")
    titles = [f'{item},"Café, ""{item}"" (1995)",Action|Western' for item in _ids(ratings)]
    _write(folder / "movies.csv", ["movieId,title,genres", *titles], end="\r\n")
    return folder


def write_sequence(
    folder: Path, ratings: pd.DataFrame, *, item_map: dict[int, int] | None = None
) -> Path:
    """ml1m.txt in the frame's row order; with `item_map` (item to movieId) also the map file."""
    _write(folder / "ml1m.txt", [f"{u} {i}" for u, i in ratings[COLUMNS[:2]].to_numpy()])
    if item_map is not None:
        lines = [f"{item},{movie}" for item, movie in item_map.items()]
        _write(folder / SEQUENCE_MAP, ["itemIdx,movieId", *lines])
    return folder


def real_folder(name: str) -> Path:
    """A folder of real MovieLens files; without SSEPT_TEST_DATA the test is skipped.

    Where that names a folder, the data are promised, and a missing one is a failure.
    """
    root = os.environ.get("SSEPT_TEST_DATA")
    if not root:
        pytest.skip("SSEPT_TEST_DATA names no folder of real MovieLens data")
    folder = Path(root) / name
    if not folder.is_dir():
        pytest.fail(f"SSEPT_TEST_DATA has no folder {name}")
    return folder


RAW_WRITERS: dict[str, Callable[[Path, pd.DataFrame], Path]] = {
    "ml-100k": write_100k,
    "ml-1m": write_1m,
    "ml-latest": write_latest,
}


def _ids(ratings: pd.DataFrame) -> list[int]:
    return sorted(ratings["movieId"].unique())


def _write(path: Path, lines: list[str], *, end: str = "\n", encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(line + end for line in lines).encode(encoding))
