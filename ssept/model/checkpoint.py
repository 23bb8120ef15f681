"""Checkpoint files: safetensors, with the configuration and the data's identity inside."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ssept.errors import CheckpointError, one_line
from ssept.files import written_file
from ssept.model.network import SSEPT, SSEPTConfig
from ssept.model.statedict import UNKNOWN_DATA, filled, load_network
from ssept.model.store import (
    ID_MAPS,
    METADATA_KEY,
    SCHEMA,
    check_ids,
    is_state_dict,
    read_about,
)

MOST_SAID = 200  # of another library's words
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Checkpoint:
    """A trained network and what it was trained on.

    Attributes:
        model: the network, in evaluation mode, on the CPU.
        data: `name` and `data_hash` of the training data.
        user_ids, item_ids: the data set's id of catalog id j at index j - 1, int64.
        training: the settings and results of the training run.
    """

    model: SSEPT
    data: dict[str, str]
    user_ids: Ids
    item_ids: Ids
    training: dict[str, Any]


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint, whole or not at all."""
    tensors = {name: tensor.contiguous() for name, tensor in checkpoint.model.state_dict().items()}
    tensors["user_ids"] = torch.from_numpy(checkpoint.user_ids)
    tensors["item_ids"] = torch.from_numpy(checkpoint.item_ids)
    about = {
        "schema": SCHEMA,
        "config": asdict(checkpoint.model.config),
        "data": checkpoint.data,
        "training": checkpoint.training,
    }
    with written_file(path) as temporary:
        save_file(tensors, temporary, metadata={METADATA_KEY: json.dumps(about, sort_keys=True)})


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        CheckpointError: the file is missing, truncated, or not one of ours.
    """
    if is_state_dict(path):
        return _adopted(path)
    about = read_about(path)
    try:
        config = SSEPTConfig(**about["config"])
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        ids = {name: tensors.pop(name).numpy() for name in ID_MAPS}
        model = filled(path, config, tensors)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = one_line(str(error), MOST_SAID)
        raise CheckpointError(f"{path}: not a checkpoint of ssept: {reason}") from error
    check_ids(path, about, *ids.values())
    return Checkpoint(
        model.eval(), about["data"], ids["user_ids"], ids["item_ids"], about.get("training", {})
    )


def _adopted(path: Path) -> Checkpoint:
    """Make a checkpoint of a bare state dict: its ids are the catalog's own, its data unknown."""
    model = load_network(path)
    users, items = (np.arange(1, n + 1) for n in (model.config.users, model.config.items))
    return Checkpoint(model.eval(), UNKNOWN_DATA, users, items, {})
