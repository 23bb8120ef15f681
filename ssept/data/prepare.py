"""Raw ratings into a prepared folder: train.csv, val.csv, test.csv, items.csv, manifest.json."""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import pandas as pd
from tqdm import tqdm

from ssept.data.filters import drop_repeats, k_core, keep_rated
from ssept.data.formats import COLUMNS, RawData, detect
from ssept.data.split import TIE_RULE, Split, global_time, leave_one_out, sort_by_time
from ssept.errors import DataError
from ssept.files import cache_folder, locked, sha256, sha256_json, write_json, written_folder

SCHEMA = 1
SPLIT_FILES = ("train.csv", "val.csv", "test.csv")
FILES = (*SPLIT_FILES, "items.csv", "manifest.json")
SPLITS: dict[str, Callable[[pd.DataFrame], Split]] = {
    "leave-one-out": leave_one_out,
    "global-time": global_time,
}
BLOCK_ROWS = 1_000_000
IDS_OF_FILE = "those of the file, not movieIds"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What `prepare` keeps of the ratings, and how it splits them."""

    split: str = "leave-one-out"
    min_rating: float | None = None
    min_user: int = 0
    min_item: int = 0


@dataclass(frozen=True)
class Source:
    """Raw ratings; their format was detected, and their files were hashed, once."""

    raw: RawData
    files: list[dict[str, Any]]


def prepare(
    source: Path,
    out: Path,
    *,
    split: str = "leave-one-out",
    min_rating: float | None = None,
    min_user: int = 0,
    min_item: int = 0,
    progress: bool = True,
) -> dict[str, Any]:
    """Read raw ratings, filter and split them, and write a prepared folder.

    Of repeated (user, item) pairs the latest is kept; then come `min_rating` and the k-core.

    Args:
        source: a folder or a file in one of `ssept.data.formats.FORMATS`.
        out: the folder to write: absent, empty, or an earlier prepared folder.
        split: a name in SPLITS.
        min_rating: keep ratings of at least this; None keeps all.
        min_user: keep users with at least this number of ratings.
        min_item: keep items with at least this number of ratings.
        progress: show progress bars when stderr is a terminal.

    Returns:
        The manifest.

    Raises:
        DataError: the source, the options or `out` are not as expected; `out` is then as before.
    """
    options = Options(split=split, min_rating=min_rating, min_user=min_user, min_item=min_item)
    return _prepare(_source(source), out, options, progress)


def prepared(
    source: Path,
    *,
    split: str = "leave-one-out",
    min_rating: float | None = None,
    min_user: int = 0,
    min_item: int = 0,
    progress: bool = True,
) -> Path:
    """Return the prepared folder of `source`: itself if already split, else one in the cache.

    The cached folder is named by the contents of the source files and the options (those of
    `prepare`), and made once, also when several processes ask for it at the same time.

    Raises:
        DataError: as `prepare`; or options are given for a source that is already split.
    """
    options = Options(split=split, min_rating=min_rating, min_user=min_user, min_item=min_item)
    if all((source / name).is_file() for name in SPLIT_FILES):
        if options != Options():
            raise DataError(
                f"{source}: is already split, so the options {asdict(options)} cannot apply; "
                "leave them out, or give a folder of raw ratings"
            )
        return source
    found = _source(source)
    key = sha256_json([SCHEMA, TIE_RULE, found.raw.format.name, found.files, asdict(options)])
    out = cache_folder() / "data" / f"{found.raw.name}-{key[:12]}"
    with locked(out.with_name(f".{out.name}.lock")):
        if not all((out / name).is_file() for name in FILES):
            _prepare(found, out, options, progress)
    return out


def write_prepared(
    out: Path,
    split: Split,
    items: pd.DataFrame,
    description: dict[str, Any],
    *,
    progress: bool = False,
) -> dict[str, Any]:
    """Write a prepared folder, whole or not at all.

    Args:
        out: absent, empty, or an earlier prepared folder, which is replaced.
        split: the three parts; `split.rule` goes to the manifest.
        items: movieId, title, genres. Those not in the split are left out; those in the split
            only get an empty title and genres.
        description: the manifest's name, format, sources, notes and filters.
        progress: show a progress bar when stderr is a terminal.

    Returns:
        The manifest.

    Raises:
        DataError: `out` holds something else than a prepared folder.
    """
    out = _check_replaceable(out)
    frames = dict(zip(SPLIT_FILES, (split.train, split.val, split.test), strict=True))
    movies = pd.Index(_distinct(frames.values(), "movieId"), name="movieId")
    catalog = items.set_index("movieId")[["title", "genres"]].reindex(movies, fill_value="")
    rows = sum(map(len, frames.values()))
    with written_folder(out) as folder:
        with tqdm(desc="write", total=rows, unit="row", disable=None if progress else True) as bar:
            for name, frame in frames.items():
                _write_ratings(folder / name, frame, bar)
        catalog.to_csv(folder / "items.csv", lineterminator="\n")
        files = {name: sha256(folder / name) for name in (*SPLIT_FILES, "items.csv")}
        manifest = {
            "schema": SCHEMA,
            **description,
            "split": split.rule,
            "counts": _counts(split),
            "files": files,
            "data_hash": sha256_json({name: files[name] for name in SPLIT_FILES}),
        }
        write_json(folder / "manifest.json", manifest)
    return manifest


def _source(source: Path) -> Source:
    raw = detect(source)
    files = [
        {"file": path.name, "bytes": path.stat().st_size, "sha256": sha256(path)}
        for path in raw.sources
    ]
    return Source(raw, files)


def _prepare(source: Source, out: Path, options: Options, progress: bool) -> dict[str, Any]:
    raw = source.raw
    _check_split(raw, options.split)
    _check_replaceable(out)
    ratings, filters = _filtered(raw.read_ratings(progress=progress), options)
    if ratings.empty:
        raise DataError(
            f"{raw.ratings}: the filters leave no ratings (min_rating={options.min_rating}, "
            f"min_user={options.min_user}, min_item={options.min_item}); loosen them"
        )
    items = raw.read_items()
    description = {
        "name": raw.name,
        "format": raw.format.name,
        "sources": source.files,
        "notes": _notes(raw, ratings, items),
        "filters": filters,
    }
    parts = SPLITS[options.split](sort_by_time(ratings))
    del ratings
    return write_prepared(out, parts, items, description, progress=progress)


def _check_split(raw: RawData, split: str) -> None:
    if split not in SPLITS:
        raise DataError(f"split {split!r} is not known; expected one of {', '.join(SPLITS)}")
    if split == "global-time" and not raw.format.has_time:
        raise DataError(
            f"{raw.ratings}: has no times, only the order within each user; "
            "expected timestamps for the global-time split (use leave-one-out)"
        )


def _check_replaceable(out: Path) -> Path:
    """`out` with links resolved, if writing there destroys nothing that was not made here."""
    out = out.resolve()
    if not out.exists():
        return out
    expected = "expected a folder that is absent, empty, or an earlier prepared one"
    if not out.is_dir():
        raise DataError(f"{out}: is a file; {expected}")
    names = {path.name for path in out.iterdir()}
    if other := sorted(names - set(FILES)):
        raise DataError(f"{out}: holds {other[0]}, which would be lost; {expected}")
    if names:
        try:
            manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            manifest = None
        if not isinstance(manifest, dict) or not {"schema", "data_hash"} <= manifest.keys():
            raise DataError(
                f"{out}: holds {min(names)} but no manifest.json of a prepared folder; {expected}"
            )
    return out


def _filtered(ratings: pd.DataFrame, options: Options) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Filter ratings; return them, and the manifest's record of what was dropped."""
    ratings, repeats = drop_repeats(ratings)
    ratings, low = keep_rated(ratings, options.min_rating)
    ratings, rare = k_core(ratings, options.min_user, options.min_item)
    return ratings, {
        "repeats": {"keep": "latest", "dropped": repeats},
        "min_rating": {"value": options.min_rating, "dropped": low},
        "k_core": {"min_user": options.min_user, "min_item": options.min_item, "dropped": rare},
    }


def _notes(raw: RawData, ratings: pd.DataFrame, items: pd.DataFrame) -> list[str]:
    """Return notes on what a reader of the prepared files could not guess from them."""
    notes = []
    if not raw.format.has_time:
        notes.append(
            f"{raw.ratings.name} has neither rating nor time: rating is 1, timestamp is the "
            "position in the user's list, from 0"
        )
    if raw.format.item_map:
        how = f"movieIds, by {raw.format.item_map}" if raw.item_map else IDS_OF_FILE
        notes.append(f"the item ids are {how}")
    if raw.items is None:
        notes.append(f"no {raw.format.items} that fits: titles and genres are empty")
    else:
        untitled = len(np.setdiff1d(ratings["movieId"].unique(), items["movieId"].to_numpy()))
        if untitled:
            notes.append(f"{untitled} items are not in {raw.items.name}: their titles are empty")
    return notes


def _write_ratings(path: Path, frame: pd.DataFrame, bar: "tqdm[NoReturn]") -> None:
    """Write the CSV in blocks: pandas formats a block as text in memory."""
    with path.open("w", encoding="utf-8", newline="") as file:
        for start in range(0, max(1, len(frame)), BLOCK_ROWS):
            block = frame.iloc[start : start + BLOCK_ROWS]
            block.to_csv(
                file, columns=list(COLUMNS), index=False, header=start == 0, lineterminator="\n"
            )
            bar.update(len(block))


def _counts(split: Split) -> dict[str, int]:
    parts = {"train": split.train, "val": split.val, "test": split.test}
    users = len(_distinct(parts.values(), "userId"))
    return {
        "users": users,
        "items": len(_distinct(parts.values(), "movieId")),
        "ratings": sum(map(len, parts.values())),
        **{name: len(part) for name, part in parts.items()},
        "users_train_only": users - len(_distinct((split.val, split.test), "userId")),
    }


def _distinct(frames: Iterable[pd.DataFrame], column: str) -> npt.NDArray[np.int64]:
    """Collect the sorted ids of a column over all frames."""
    ids = np.concatenate([frame[column].unique() for frame in frames])
    return np.unique(ids).astype(np.int64)
