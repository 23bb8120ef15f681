"""Model files of any size: what a call costs depends on the sizes of a model, not on its weights.

(Denormal numbers would be an exception; weights drawn as at the start of training give none.)
"""

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ssept.data.dataset import SPLITS, data_hash
from ssept.data.formats import COLUMNS
from ssept.errors import SseptError
from ssept.files import CACHE_VARIABLE, cache_folder
from ssept.variants import find
from ssept.variants.parallel import Result, build_all

USERS = 1000
SEED = 0
CLUSTER_SIZE = 50  # as in the embedded data
LIKENESS = 0.8  # the share of a row's variance that its cluster has in common
SHARED = "environments"  # of tools: they take minutes to make, and are named by what they hold


@contextmanager
def models(items: int, length: int, variants: Iterable[str]) -> Iterator[dict[str, Result]]:
    """Build variants of a checkpoint with random weights; the files are removed after the block.

    Args:
        items: in the catalog.
        length: the longest sequence.
        variants: names in VARIANTS.

    Yields:
        The artifact of each variant, or why there is none.

    Raises:
        SseptError: a package is missing.
    """
    with _own_cache() as folder:
        wanted = list(variants)
        data = None
        if any(_calibrated(name) for name in wanted):
            data = _write_data(folder / "data", items, length)
        checkpoint = folder / f"random-{items}-{length}.safetensors"
        _write_checkpoint(checkpoint, items, length, data)
        yield {one.variant: one.result for one in build_all(checkpoint, wanted, data)}


@contextmanager
def _own_cache() -> Iterator[Path]:
    """Use a temporary cache: the user's would fill with files of hundreds of megabytes."""
    shared = cache_folder().absolute() / SHARED
    shared.mkdir(parents=True, exist_ok=True)
    before = os.environ.get(CACHE_VARIABLE)
    with tempfile.TemporaryDirectory(prefix="ssept-scale-") as name:
        folder = Path(name)
        (folder / SHARED).symlink_to(shared)
        os.environ[CACHE_VARIABLE] = name
        try:
            yield folder
        finally:
            if before is None:
                del os.environ[CACHE_VARIABLE]
            else:
                os.environ[CACHE_VARIABLE] = before


def _write_checkpoint(path: Path, items: int, length: int, data: Path | None) -> None:
    try:
        import torch

        from ssept.model.checkpoint import Checkpoint, save_checkpoint
        from ssept.model.network import SSEPT, SSEPTConfig
    except ImportError as error:
        raise SseptError(f"models of any size need {error.name}: install the train extra") from (
            error
        )
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        model = SSEPT(SSEPTConfig(USERS, items, max_length=length)).eval()
        _alike(model.item.weight)
    model.set_unknown_user()
    of = {"name": "random", "data_hash": data_hash(data) if data else ""}
    user_ids, item_ids = (np.arange(1, count + 1) for count in (USERS, items))
    save_checkpoint(Checkpoint(model, of, user_ids, item_ids, {}), path)


def _alike(rows: Any) -> None:
    """Make clusters of the items, their rows as long as before: an index lives on likeness.

    Args:
        rows: float32[items + 1, columns], changed in place but for the padding.
    """
    import torch

    clusters = -(-(len(rows) - 1) // CLUSTER_SIZE)
    with torch.no_grad():
        centers = rows.std() * torch.randn(clusters, rows.shape[1])
        of_item = centers.repeat_interleave(CLUSTER_SIZE, 0)[: len(rows) - 1]
        rows[1:] = LIKENESS**0.5 * of_item + (1 - LIKENESS) ** 0.5 * rows[1:]


def _calibrated(variant: str) -> bool:
    """Whether a variant, or what it is built from, is calibrated on data."""
    chosen = find(variant)
    return chosen.calibrated or (chosen.base is not None and _calibrated(chosen.base))


def _write_data(folder: Path, items: int, length: int) -> Path:
    """Random histories for calibration: of every user, as long as asked, with every item."""
    folder.mkdir()
    rows = np.arange(max(items, USERS * length))
    movies = np.random.default_rng(SEED).permutation(rows) % items + 1
    values = (rows % USERS + 1, movies, 5.0, rows)
    train = pd.DataFrame(dict(zip(COLUMNS, values, strict=True)))
    for split in SPLITS:
        part = train if split == "train" else train.iloc[:0]
        part.to_csv(folder / f"{split}.csv", index=False)
    return folder
