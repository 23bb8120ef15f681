"""Which checkpoints there are, and which one belongs to a data set; works without torch."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from ssept.data import LARGEST_ID
from ssept.data.dataset import Ids, load_dataset
from ssept.errors import SHOWN, CheckpointError, one_line
from ssept.files import cache_folder
from ssept.files.kinds import ONNX, STATE_DICT, kind_of
from ssept.installation import shipped_folder

SCHEMA = 1
METADATA_KEY = "ssept"
SUFFIX = ".safetensors"
ID_MAPS = ("user_ids", "item_ids")
SIZES = ("users", "items", "max_length")


def read_about(path: Path) -> dict[str, Any]:
    """Read a checkpoint's metadata, without its tensors: schema, config, data, training.

    Raises:
        CheckpointError: the file is missing, truncated, or not one of ours.
    """
    # Imported here: small boards have artifacts, and neither checkpoints nor safetensors.
    if is_state_dict(path):
        from ssept.model.statedict import about_state_dict

        return about_state_dict(path)
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise CheckpointError(
            f"{path}: reading a checkpoint needs {error.name}; install the train extra, or "
            "measure model files that were built elsewhere (--artifacts=DIR)"
        ) from error

    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise CheckpointError(
            f"{path}: not a whole safetensors file; copy or train it again"
        ) from error
    if METADATA_KEY not in metadata:
        raise CheckpointError(
            f"{path}: a safetensors file without ssept's metadata; expected one that "
            "`ssept train` wrote"
        )
    return _checked(path, metadata[METADATA_KEY])


def _checked(path: Path, text: str) -> dict[str, Any]:
    """Read ssept's metadata from their text, and check what every reader relies on."""
    try:
        about: dict[str, Any] = json.loads(text)
        schema, config, data = about["schema"], about["config"], about["data"]
        sizes = [config[name] for name in SIZES]
        texts = [data[name] for name in ("name", "data_hash")]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: its metadata {METADATA_KEY!r} are broken; copy or train it again"
        ) from error
    if schema != SCHEMA:
        raise CheckpointError(
            f"{path}: checkpoint schema {one_line(str(schema), SHOWN)}; this version reads {SCHEMA}"
        )
    whole = all(type(size) is int and 0 < size <= LARGEST_ID for size in sizes)
    if not whole or not all(isinstance(each, str) for each in texts):
        raise CheckpointError(
            f"{path}: its metadata {METADATA_KEY!r} have {', '.join(SIZES)} that are no numbers "
            "above 0, or no name and hash of its data; copy or train it again"
        )
    return about


def is_state_dict(path: Path) -> bool:
    """Whether a checkpoint is the state dict of another program, by its content.

    Raises:
        CheckpointError: it is no checkpoint at all; says what it is.
    """
    if not path.exists():
        raise CheckpointError(f"{path}: no such checkpoint file")
    try:
        kind = kind_of(path)
    except ValueError as error:
        raise CheckpointError(f"{path}: not a whole checkpoint file: {error}") from error
    if kind == ONNX:
        raise CheckpointError(
            f"{path}: is an {ONNX}; expected a checkpoint: one of `ssept train`, or a state dict"
        )
    return kind == STATE_DICT


def read_ids(path: Path) -> tuple[Ids, Ids]:
    """Read the data set's ids of a checkpoint's users and items, without its network.

    Returns:
        int64[users] and int64[items]: the id of catalog id j at index j - 1. A bare state dict
        has none, and its ids are the catalog's own.

    Raises:
        CheckpointError: as `read_about`.
    """
    about = read_about(path)
    config = about["config"]
    if is_state_dict(path):
        return np.arange(1, config["users"] + 1), np.arange(1, config["items"] + 1)
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            users, items = (file.get_tensor(name) for name in ID_MAPS)
    except SafetensorError as error:
        raise CheckpointError(
            f"{path}: has no {' and '.join(ID_MAPS)}; copy or train it again"
        ) from error
    check_ids(path, about, users, items)
    return users, items


def check_ids(path: Path, about: dict[str, Any], *ids: Ids) -> None:
    """Refuse ids of users and items that are not one number for each.

    Raises:
        CheckpointError: as said.
    """
    for name, own, size in zip(ID_MAPS, ids, SIZES, strict=False):
        if own.shape != (about["config"][size],) or own.dtype != np.int64:
            raise CheckpointError(
                f"{path}: {name} is {own.dtype}{list(own.shape)}; expected "
                f"int64[{about['config'][size]}]: copy or train it again"
            )


def trained_folder() -> Path:
    """Where `ssept train` puts checkpoints by default."""
    return cache_folder() / "checkpoints"


def checkpoint_for(data_hash: str, data: Path, chosen: Path | None = None) -> Path:
    """Find the checkpoint that was trained on a data set: chosen, trained here or shipped.

    Of several trained here, the newest; of several shipped, the first by name, for the files of a
    clone have no times of their own.

    Args:
        data_hash: of the data set.
        data: its folder, for the messages.
        chosen: the user's own choice, which must fit the data too.

    Raises:
        CheckpointError: the chosen one cannot be read or is of other data, or there is none.
    """
    if chosen:
        of = read_about(chosen)["data"]
        if not of["data_hash"]:
            _check_sizes(chosen, data)
        elif of["data_hash"] != data_hash:
            name, other = (one_line(of[key], SHOWN) for key in ("name", "data_hash"))
            raise CheckpointError(
                f"{chosen}: trained on {name} ({other[:12]}), not on the data in "
                f"{data} ({data_hash[:12]}); its ids mean other items there. Train one: "
                f"{train_command(data)}"
            )
        return chosen
    trained = trained_folder().glob(f"*{SUFFIX}")
    newest_first = sorted(trained, key=lambda path: path.stat().st_mtime, reverse=True)
    for path in (*newest_first, *sorted(shipped_folder().glob(f"*{SUFFIX}"))):
        if read_about(path)["data"]["data_hash"] == data_hash:
            return path
    raise CheckpointError(
        f"no checkpoint was trained on the data in {data}; train one: {train_command(data)}"
    )


def _check_sizes(checkpoint: Path, data: Path) -> None:
    """Check that a checkpoint of unknown data has the data's sizes."""
    dataset = load_dataset(data)
    config = read_about(checkpoint)["config"]
    sizes, wanted = (config["users"], config["items"]), (dataset.users, dataset.items)
    if sizes != wanted:
        raise CheckpointError(
            f"{checkpoint}: has {sizes[0]} users and {sizes[1]} items, and the data in {data} "
            f"{wanted[0]} and {wanted[1]}; it was not trained on them"
        )


def train_command(data: Path) -> str:
    """Return the command that trains a checkpoint on a folder."""
    return f"ssept train {data}"
