"""Bare state dicts of others (`.pth`): read without pickle, sizes from the tensors' shapes."""

import zipfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from ssept.errors import CheckpointError
from ssept.files import opened_zip
from ssept.model.network import SSEPT, SSEPTConfig

# Where training scripts put the state dict when they save more than it.
WRAPPERS = ("state_dict", "model_state_dict", "model")
FEW_NUMBERS = 1_000_000
PARALLEL_PREFIX = "module."  # torch.nn.DataParallel and DistributedDataParallel


def about_state_dict(path: Path) -> dict[str, Any]:
    """Derive a checkpoint's metadata: sizes from the tensors, the data unknown.

    Raises:
        CheckpointError: as `load_network`.
    """
    config = asdict(_config(path, _read(path)))
    return {"config": config, "data": {"name": "unknown", "data_hash": ""}, "training": {}}


def load_network(path: Path) -> SSEPT:
    """Load the network of a state dict, also of one inside a dict or saved by DataParallel.

    The number of heads leaves no trace in the tensors: it is taken to be 1.

    Raises:
        CheckpointError: the file is no state dict, would run code when loaded, or its keys or
            shapes are not those of the network; names the keys.
    """
    tensors = _read(path)
    return filled(path, _config(path, tensors), tensors)


def filled(path: Path, config: SSEPTConfig, tensors: dict[str, Tensor]) -> SSEPT:
    """Make a network of these sizes with these tensors.

    It is made only where there are about as many numbers as it needs, or few: then the keys can
    be named that are missing. Made without memory, on torch's device "meta", it took 2 s more.

    Raises:
        CheckpointError: keys or shapes are not those of the network; names the keys.
    """
    blocks, numbers = _blocks(tensors), sum(tensor.numel() for tensor in tensors.values())
    if config.blocks != blocks or config.parameters > max(2 * numbers, FEW_NUMBERS):
        raise CheckpointError(
            f"{path}: has {numbers:,} numbers in {blocks} blocks, and a network of its sizes has "
            "more, or others; copy or save it again"
        )
    model = SSEPT(config)
    expected = model.state_dict()
    missing, extra = (
        sorted(expected.keys() - tensors.keys()),
        sorted(tensors.keys() - expected.keys()),
    )
    shapes = [
        f"{key} {tuple(tensors[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in expected.keys() & tensors.keys()
        if tensors[key].shape != expected[key].shape
    ]
    if missing or extra or shapes:
        lists = (("missing", missing), ("not expected", extra), ("of another shape", shapes))
        faults = "; ".join(f"{name}: {', '.join(keys)}" for name, keys in lists if keys)
        raise CheckpointError(f"{path}: not the keys of SSE-PT: {faults}")
    model.load_state_dict(tensors)
    return model


def _read(path: Path) -> dict[str, Tensor]:
    try:
        _check_stored(path)
        value = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, KeyError, UnpicklingError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"{path}: not a state dict that loads without running code "
            f"({str(error).splitlines()[0]}); save `model.state_dict()`"
        ) from error
    for wrapper in WRAPPERS:
        if isinstance(value, dict) and isinstance(value.get(wrapper), dict):
            value = value[wrapper]
    if not isinstance(value, dict) or not all(isinstance(v, Tensor) for v in value.values()):
        raise CheckpointError(f"{path}: holds no state dict; save `model.state_dict()`")
    _check_sizes(path, value.values())
    return {str(key).removeprefix(PARALLEL_PREFIX): tensor for key, tensor in value.items()}


def _check_sizes(path: Path, tensors: Iterable[Tensor]) -> None:
    """Refuse tensors larger than their file, since a stored row may be repeated, and empty ones."""
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if size > path.stat().st_size or not all(tensor.numel() for tensor in tensors):
        raise CheckpointError(
            f"{path}: its tensors would have {size:,} bytes, or one has none at all, and the file "
            f"{path.stat().st_size:,}; save contiguous tensors"
        )


def _blocks(tensors: dict[str, Tensor]) -> int:
    """How many transformer blocks there are tensors of."""
    return max(1, len({key.split(".")[1] for key in tensors if key.startswith("blocks.")}))


def _check_stored(path: Path) -> None:
    """Refuse a zip file with packed members: torch writes none, and a few bytes unpack to many."""
    if zipfile.is_zipfile(path):
        with opened_zip(path) as archive:
            for member in archive.infolist():
                if member.compress_type != zipfile.ZIP_STORED:
                    raise zipfile.BadZipFile(f"{member.filename[:80]!r} in it is packed")


def _config(path: Path, tensors: dict[str, Tensor]) -> SSEPTConfig:
    tables = {name: tensors.get(f"{name}.weight") for name in ("item", "user", "position")}
    for name, table in tables.items():
        if table is None or table.dim() != 2:
            raise CheckpointError(
                f"{path}: has no table {name}.weight; its keys are {', '.join(sorted(tensors))}"
            )
    item, user, position = (table.shape for table in tables.values() if table is not None)
    return SSEPTConfig(
        users=user[0] - 1,
        items=item[0] - 1,
        item_dim=item[1],
        user_dim=user[1],
        max_length=position[0],
        blocks=_blocks(tensors),
    )
