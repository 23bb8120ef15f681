"""What several test files share: small data, a small checkpoint, tools with their own packages."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from ssept.data.dataset import Dataset, load_dataset
from ssept.data.synthetic import prepare_synthetic
from ssept.environments import environment
from ssept.errors import SseptError
from ssept.model.checkpoint import Checkpoint, save_checkpoint
from ssept.model.network import SSEPT, SSEPTConfig
from tests.guard import GUARD, Guard, begin

USERS, ITEMS = 40, 300

# A run in the background of a script, or by nohup, is born ignoring these, and so would be all that
# the tests start and then send them to.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Keep what is the user's from the tests, before they are imported."""
    begin(config)


@pytest.fixture(scope="session")
def guard(pytestconfig: pytest.Config) -> Guard:
    """The session's own home, cache and variables, see tests/guard.py."""
    return pytestconfig.stash[GUARD]


@pytest.fixture(scope="session")
def own_cache(guard: Guard) -> Path:
    """The cache of the session; what a test wants to count in it, another may have built."""
    return guard.cache


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    cache = tmp_path / "cache"
    cache.mkdir()
    monkeypatch.setenv("SSEPT_CACHE_DIR", str(cache))
    return cache


@pytest.fixture
def no_child_left() -> Iterator[None]:
    """The test leaves no process behind; others may have, as multiprocessing's own helper is."""
    before = set(psutil.Process().children())
    yield
    assert set(psutil.Process().children()) <= before


def tool_environment(guard: Guard, name: str, requirements: Path, megabytes: int) -> Path:
    """A tool's own environment, for slow tests: kept in the user's cache, since it is large."""
    try:
        with guard.users_environment() as cache:
            python = environment(name, requirements, megabytes)
    except SseptError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    with suppress(FileExistsError):
        (guard.cache / "environments").symlink_to(cache / "environments")
    return python


@pytest.fixture(scope="session")
def neural_compressor(guard: Guard) -> Path:
    from ssept.variants.neural_compressor import MEGABYTES, REQUIREMENTS

    return tool_environment(guard, "neural-compressor", REQUIREMENTS, MEGABYTES)


@pytest.fixture(scope="session")
def nncf(guard: Guard) -> Path:
    from ssept.variants.nncf import MEGABYTES, REQUIREMENTS

    return tool_environment(guard, "nncf", REQUIREMENTS, MEGABYTES)


@pytest.fixture(scope="session")
def triton_tools(guard: Guard) -> Path:
    from ssept.serving.triton.environment import MEGABYTES, REQUIREMENTS

    return tool_environment(guard, "triton", REQUIREMENTS, MEGABYTES)


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
