"""Checkpoint files: round trip, and one clear error for each way one can be wrong."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ssept.data.dataset import Dataset
from ssept.errors import CheckpointError
from ssept.model.checkpoint import load_checkpoint, save_checkpoint
from ssept.model.store import METADATA_KEY, checkpoint_for, read_about, read_ids, trained_folder
from tests.conftest import untrained


def test_a_checkpoint_comes_back_as_it_was(small_checkpoint: Path, tmp_path: Path) -> None:
    first = load_checkpoint(small_checkpoint)
    save_checkpoint(first, tmp_path / "again.safetensors")
    again = load_checkpoint(tmp_path / "again.safetensors")
    assert again.model.config == first.model.config
    assert again.data == first.data
    assert again.item_ids.tolist() == first.item_ids.tolist()
    for name, tensor in first.model.state_dict().items():
        torch.testing.assert_close(again.model.state_dict()[name], tensor, rtol=0, atol=0)


def test_a_truncated_file_is_named(small_checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    whole = small_checkpoint.read_bytes()
    for size in (0, 5, 200, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"cut\.safetensors: not a whole"):
            load_checkpoint(path)


def test_another_programs_safetensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="without ssept's metadata"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "changed",
    [
        {"schema": "2\n\x1b[31m" * 99},
        {"schema": [{"a": "\0" * 60}] * 60},
        {"config": {"users": 40, "items": 300, "max_length": 50, "\x1b" * 200: 1}},
        {"config": {"users": 40, "items": 300, "max_length": 50, "heads": 10**4000}},
        {"config": {"users": 10**4000, "items": 300, "max_length": 50}},
        {"config": {"users": 40, "items": 300, "max_length": 50, "item_dim": 10**400}},
        {"config": {"users": 40, "items": 300, "max_length": 50, "heads": 2.0}},
        {"data": {"name": "\n\0" * 99, "data_hash": "\0" * 99}},
    ],
    ids=["schema", "list", "key", "heads", "users", "dim", "fraction", "names"],
)
def test_metadata_of_any_text_are_shown_in_one_line(
    small: Dataset, small_checkpoint: Path, tmp_path: Path, changed: dict[str, object]
) -> None:
    with safe_open(small_checkpoint, "pt") as file:
        about = json.loads(file.metadata()[METADATA_KEY])
    path = tmp_path / "x.safetensors"
    save_file(load_file(small_checkpoint), path, {METADATA_KEY: json.dumps(about | changed)})
    doors = (
        lambda: checkpoint_for(small.data_hash, tmp_path, load_checkpoint(path) and path),
        lambda: read_ids(path) and load_checkpoint(path) and checkpoint_for("", tmp_path, path),
    )
    for door in doors:
        with pytest.raises(CheckpointError) as caught:
            door()
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 500 + 2 * len(str(tmp_path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "none.safetensors")


def test_the_chosen_checkpoint_must_be_of_the_data(small: Dataset, small_checkpoint: Path) -> None:
    assert checkpoint_for(small.data_hash, small.folder, small_checkpoint) == small_checkpoint
    with pytest.raises(CheckpointError, match=r"trained on small .* Train one: ssept train"):
        checkpoint_for("0" * 64, small.folder, small_checkpoint)


def test_a_trained_checkpoint_is_found_by_its_data(small: Dataset, small_checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match=f"train one: ssept train {small.folder}"):
        checkpoint_for(small.data_hash, small.folder)
    path = trained_folder() / "found.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(small_checkpoint, path)
    try:
        assert checkpoint_for(small.data_hash, small.folder) == path
    finally:
        path.unlink()


def test_one_trained_here_goes_before_those_shipped_which_go_by_name(
    small: Dataset, small_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, shipped = tmp_path / "trained", tmp_path / "shipped"
    monkeypatch.setattr("ssept.model.store.trained_folder", lambda: trained)
    monkeypatch.setattr("ssept.model.store.shipped_folder", lambda: shipped)
    for folder, name, age in ((shipped, "a", 9), (shipped, "b", 1), (trained, "old", 7)):
        folder.mkdir(exist_ok=True)
        path = folder / f"{name}.safetensors"
        shutil.copy(small_checkpoint, path)
        os.utime(path, (time.time() - age, time.time() - age))
    assert checkpoint_for(small.data_hash, small.folder) == trained / "old.safetensors"
    shutil.copy(small_checkpoint, trained / "newest.safetensors")
    assert checkpoint_for(small.data_hash, small.folder) == trained / "newest.safetensors"
    shutil.rmtree(trained)
    assert checkpoint_for(small.data_hash, small.folder) == shipped / "a.safetensors"


def test_the_metadata_is_read_without_the_tensors(small: Dataset, tmp_path: Path) -> None:
    path = untrained(small, tmp_path / "x.safetensors", item_dim=4, user_dim=4)
    about = read_about(path)
    assert about["config"]["item_dim"] == 4
    assert about["data"]["data_hash"] == small.data_hash
