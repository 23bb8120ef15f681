"""What several test files share: small data, a small checkpoint, and the real data if there."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from ssept.data.dataset import Dataset, load_dataset
from ssept.data.synthetic import prepare_synthetic
from ssept.files import cache_folder
from ssept.model.checkpoint import Checkpoint, save_checkpoint
from ssept.model.network import SSEPT, SSEPTConfig

USERS, ITEMS = 40, 300

# A run in the background of a script, or by nohup, is born ignoring these, and so would be all that
# the tests start and then send them to.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tests neither read nor fill the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    # Tool environments take minutes to make and are named by what they hold: they are shared.
    environments = cache_folder() / "environments"
    environments.mkdir(parents=True, exist_ok=True)
    (folder / "environments").symlink_to(environments)
    os.environ["SSEPT_CACHE_DIR"] = str(folder)
    os.environ.pop("MOVIELENS_DATA_DIR", None)
    return folder


@pytest.fixture(scope="session")
def small_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "small"
    prepare_synthetic(folder, users=USERS, items=ITEMS, seed=3)
    return folder


@pytest.fixture(scope="session")
def small(small_folder: Path) -> Dataset:
    return load_dataset(small_folder)


def untrained(dataset: Dataset, path: Path, **sizes: int) -> Path:
    """A checkpoint with random weights for a data set."""
    torch.manual_seed(0)
    model = SSEPT(SSEPTConfig(dataset.users, dataset.items, **sizes)).eval()
    model.set_unknown_user()
    data = {"name": "small", "data_hash": dataset.data_hash}
    save_checkpoint(Checkpoint(model, data, dataset.user_ids, dataset.item_ids, {}), path)
    return path


@pytest.fixture(scope="session")
def small_checkpoint(small: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained(
        small, tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors", item_dim=8, user_dim=8
    )


def batch(
    random: np.random.Generator, users: int, items: int, size: int, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Random users and sequences, some of them padded on the left."""
    sequence = random.integers(1, items + 1, (size, length))
    padding = random.integers(0, length, size)
    sequence[np.arange(length) < padding[:, None]] = 0
    return random.integers(1, users + 1, size), sequence
