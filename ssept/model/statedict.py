"""State dicts of others: read without pickle, unwrapped, sizes taken from the tensors' shapes."""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssept.errors import CheckpointError, one_line, shortened
from ssept.model.network import SSEPT, SSEPTConfig

TABLE = "item.weight"
# What wrappers of modules put into keys: DataParallel, torch.compile, FSDP, activation checkpoints.
WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
DEEPEST = 8  # dicts within one another
HEADS = ("heads", "num_heads", "n_heads", "n_head", "nhead")
HOW_TO_SAVE = 'torch.save({"state_dict": model.state_dict(), "heads": N}, FILE)'
UNKNOWN_DATA = {"name": "unknown", "data_hash": ""}
FEW_NUMBERS = 1_000_000
LONGEST_NUMBER = 32  # bits
FEW_KEYS, LONGEST_KEY, LONGEST_LIST = 5, 60, 100  # in a message


def about_state_dict(path: Path) -> dict[str, Any]:
    """Derive a checkpoint's metadata: sizes from the tensors, the data unknown.

    Raises:
        CheckpointError: as `load_network`.
    """
    tensors, heads = _read(path)
    config = asdict(_config(path, tensors, heads))
    _check_heads(path, heads)
    return {"config": config, "data": UNKNOWN_DATA, "training": {}}


def load_network(path: Path) -> SSEPT:
    """Load the network of a state dict, also of one inside of dicts, or of a wrapped module.

    The number of heads leaves no trace in the tensors, so the file has to say it, see HOW_TO_SAVE.

    Raises:
        CheckpointError: the file is no state dict, would run code when loaded, does not say its
            number of heads, or its keys, shapes or values are not those of the network.
    """
    tensors, heads = _read(path)
    network = filled(path, _config(path, tensors, heads), tensors)
    _check_heads(path, heads)  # last, as the least that may be wrong
    return network


def filled(path: Path, config: SSEPTConfig, tensors: dict[str, Tensor]) -> SSEPT:
    """Make a network of these sizes with these tensors.

    It is made only where there are about as many numbers as it needs, or few: then the keys can
    be named that are missing. Made without memory, on torch's device "meta", it took 2 s more.

    Raises:
        CheckpointError: keys, shapes or values are not those of the network; names the keys.
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
        faults = "; ".join(f"{name}: {_few(keys)}" for name, keys in lists if keys)
        raise CheckpointError(f"{path}: not the keys of SSE-PT: {faults}")
    _check_values(path, tensors)
    model.load_state_dict(tensors)
    return model


def _check_values(path: Path, tensors: dict[str, Tensor]) -> None:
    """Refuse tensors of another kind than floats, and values that float32 does not hold."""
    for name, tensor in tensors.items():
        kind = f"{tensor.dtype} {tensor.layout} {tensor.device}".replace("torch.", "")
        plain = tensor.layout == torch.strided and tensor.device.type == "cpu"
        if not (plain and tensor.dtype.is_floating_point):
            raise CheckpointError(
                f"{path}: {name} is {kind}; expected dense floating-point weights, as float32: "
                "save the network as it was trained, not one that was quantized or cast"
            )
        if bad := int((~tensor.float().isfinite()).sum()):
            raise CheckpointError(
                f"{path}: {name} has {bad:,} values that are NaN or infinite in float32, of "
                f"{tensor.numel():,}; train it again, with a smaller learning rate"
            )


def _read(path: Path) -> tuple[dict[str, Tensor], int | None]:
    """Read the tensors by the network's own keys, and the number of heads if the file says it."""
    try:
        # By its name, torch would take it for something else; and its warnings are for programs.
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken pickle can raise anything
        raise CheckpointError(
            f"{path}: not a state dict that loads without running code: it is cut off or broken, "
            "or holds a whole module or other objects; save `model.state_dict()`"
        ) from error
    dicts = [each for each in _dicts(value) if any(map(_is_table, each.items()))]
    if not dicts:
        raise CheckpointError(
            f"{path}: has no table {TABLE}; its keys are {_few(_keys(value)) or 'none'}; save "
            "`model.state_dict()` of an SSE-PT network"
        )
    if len(dicts) > 1:
        raise CheckpointError(
            f"{path}: has {len(dicts)} state dicts with a table {TABLE}; expected one: save that "
            "of the network to measure by itself"
        )
    tensors = _unwrapped(path, dicts[0])
    _check_sizes(path, tensors.values())
    return tensors, _heads(path, value)


def _dicts(value: object, depth: int = 0) -> Iterator[Mapping[Any, Any]]:
    """Iterate over the dicts that are there, each before those in it."""
    if isinstance(value, Mapping) and depth < DEEPEST:
        yield value
        for each in value.values():
            yield from _dicts(each, depth + 1)


def _keys(value: object) -> list[str]:
    return [str(key) for each in _dicts(value) for key in each]


def _is_table(item: tuple[object, object]) -> bool:
    key, value = item
    return isinstance(value, Tensor) and f".{_plain(key)}".endswith(f".{TABLE}")


def _plain(key: object) -> str:
    """Return a key without what wrappers put into it."""
    return ".".join(part for part in str(key).split(".") if part not in WRAPPERS)


def _unwrapped(path: Path, state: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Return the tensors by the network's own keys, wherever the network is in the module."""
    tables = [str(key) for key, value in state.items() if _is_table((key, value))]
    if len(tables) > 1:
        raise CheckpointError(
            f"{path}: has {len(tables)} tables, {_few(tables)}; expected one network: save that "
            "to measure by itself"
        )
    prefix = tables[0][: tables[0].rindex(TABLE.partition(".")[0])]
    return {
        _plain(str(key).removeprefix(prefix)): value
        for key, value in state.items()
        if isinstance(value, Tensor) and str(key).startswith(prefix)
    }


def _heads(path: Path, value: object) -> int | None:
    """Find the number of heads beside the state dict, as in the settings of a training script."""
    found = {
        number
        for each in _dicts(value)
        for name in HEADS
        if isinstance(number := each.get(name), int)
        and not isinstance(number, bool)
        and number.bit_length() < LONGEST_NUMBER  # of others the digits cannot be written, either
    }
    if len(found) > 1:
        numbers = _few([str(number) for number in sorted(found)])
        raise CheckpointError(f"{path}: says {numbers} heads; save it with one: {HOW_TO_SAVE}")
    return found.pop() if found else None


def _check_heads(path: Path, heads: int | None) -> None:
    if heads is None:
        raise CheckpointError(
            f"{path}: does not say its number of attention heads, which its tensors do not show; "
            f"save it with that: {HOW_TO_SAVE}"
        )


def _check_sizes(path: Path, tensors: Iterable[Tensor]) -> None:
    """Refuse tensors larger than their file, since a stored row may be repeated, and empty ones."""
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if size > path.stat().st_size or not all(tensor.numel() for tensor in tensors):
        raise CheckpointError(
            f"{path}: its tensors would have {size:,} bytes, or one has none at all, and the file "
            f"{path.stat().st_size:,}; save contiguous tensors, gathered from all processes"
        )


def _blocks(tensors: dict[str, Tensor]) -> int:
    """How many transformer blocks there are tensors of."""
    return max(1, len({key.split(".")[1] for key in tensors if key.startswith("blocks.")}))


def _config(path: Path, tensors: dict[str, Tensor], heads: int | None) -> SSEPTConfig:
    tables = {name: tensors.get(f"{name}.weight") for name in ("item", "user", "position")}
    for name, table in tables.items():
        if table is None or table.dim() != 2:
            raise CheckpointError(
                f"{path}: has no table {name}.weight; its keys are {_few(sorted(tensors))}"
            )
    item, user, position = (table.shape for table in tables.values() if table is not None)
    try:
        return SSEPTConfig(
            users=user[0] - 1,
            items=item[0] - 1,
            item_dim=item[1],
            user_dim=user[1],
            max_length=position[0],
            blocks=_blocks(tensors),
            heads=1 if heads is None else heads,
        )
    except ValueError as error:
        raise CheckpointError(f"{path}: not the sizes of SSE-PT: {error}") from error


def _few(keys: list[str]) -> str:
    """List the first keys, shortened: a file may have any number of them, of any length."""
    shown = ", ".join(one_line(key, LONGEST_KEY) for key in keys[:FEW_KEYS])
    return shortened(shown, LONGEST_LIST) + (
        f" and {len(keys) - FEW_KEYS:,} more" if len(keys) > FEW_KEYS else ""
    )
