"""The embedded data set: the same bytes everywhere, learnable, and not by popularity."""

from pathlib import Path

import numpy as np
import pytest

from ssept.data.dataset import Dataset, data_hash, load_dataset
from ssept.data.synthetic import prepare_synthetic
from ssept.errors import DataError
from ssept.installation import shipped_checkpoint
from ssept.model.store import read_about


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("synthetic") / "default"
    prepare_synthetic(folder)
    return load_dataset(folder)


def test_the_shipped_checkpoint_was_trained_on_exactly_this_data(default: Dataset) -> None:
    about = read_about(shipped_checkpoint())
    assert about["data"]["data_hash"] == default.data_hash
    assert (about["config"]["users"], about["config"]["items"]) == (10_000, 10_000)


def test_it_has_the_size_of_the_default_model(default: Dataset) -> None:
    assert (default.users, default.items) == (10_000, 10_000)
    assert len(default.cases("val")) == len(default.cases("test")) == 10_000


def test_no_user_meets_an_item_twice(default: Dataset) -> None:
    cases = default.cases("test")
    for history, target in zip(cases.histories, cases.targets, strict=True):
        assert len(np.unique(np.append(history, target))) == len(history) + 1


def test_the_seed_decides_the_data(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        prepare_synthetic(tmp_path / name, users=20, items=300, seed=seed)
    a, b, c = (data_hash(tmp_path / name) for name in "abc")
    assert a == b != c


@pytest.mark.parametrize(("users", "items"), [(0, 300), (10, 275), (10, 50)])
def test_sizes_that_cannot_be_made_are_refused(tmp_path: Path, users: int, items: int) -> None:
    with pytest.raises(DataError, match="synthetic data"):
        prepare_synthetic(tmp_path / "out", users=users, items=items)
    assert not (tmp_path / "out").exists()
