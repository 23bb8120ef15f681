"""State dicts of other programs: however wrapped and called, and what is wrong with them."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ssept.errors import CheckpointError
from ssept.model.checkpoint import load_checkpoint
from ssept.model.network import SSEPT, SSEPTConfig
from ssept.model.store import METADATA_KEY, read_about, read_ids
from ssept.variants import build

Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def network() -> SSEPT:
    torch.manual_seed(0)
    sizes = {"item_dim": 7, "user_dim": 5, "max_length": 9}
    return SSEPT(SSEPTConfig(11, 13, **sizes, heads=3)).eval()


@pytest.fixture
def weights(network: SSEPT) -> Weights:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def refused(path: Path) -> str:
    said = []
    for read in (load_checkpoint, lambda path: build(path, "onnx")):
        with pytest.raises(CheckpointError) as caught:
            read(path)
        said.append(str(caught.value))
    assert all(one.startswith(f"{path}: ") and "\n" not in one for one in said), said
    assert all(len(one) < 1000 for one in said)
    assert "weights_only" not in said[0]
    return said[0]


def saved(path: Path, value: object) -> Path:
    torch.save(value, path)
    return path


def keyed(prefix: str) -> Callable[[Weights], dict[str, Any]]:
    return lambda weights: {prefix + key: tensor for key, tensor in weights.items()}


WRAPPED: dict[str, Callable[[Weights], dict[str, Any]]] = {
    "module twice": keyed("module.module."),
    "compiled": keyed("_orig_mod."),
    "compiled and parallel": keyed("module._orig_mod."),
    "lightning": lambda own: {"state_dict": keyed("model._orig_mod.module.")(own), "epoch": 3},
    "a part of a module": lambda own: {"net.loss.weight": torch.ones(2)} | keyed("net.ssept.")(own),
    "averaged": lambda own: {"n_averaged": torch.tensor(3)} | keyed("module.")(own),
    "compiled blocks": lambda own: {
        key.replace("blocks.0", "blocks.0._orig_mod"): tensor for key, tensor in own.items()
    },
    "dicts in dicts": lambda own: {"checkpoint": {"model": {"state_dict": own}}, "step": 7},
    "deepspeed": lambda own: {"module": keyed("module.")(own), "optimizer": {0: own["norm.bias"]}},
}  # fmt: skip


@pytest.mark.parametrize("kind", WRAPPED)
def test_a_wrapped_state_dict_is_the_network(
    tmp_path: Path, network: SSEPT, weights: Weights, kind: str
) -> None:
    path = saved(tmp_path / "x.pth", WRAPPED[kind](weights) | {"args": {"num_heads": 3}})
    model = load_checkpoint(path).model
    assert model.config.heads == 3
    user, sequence = torch.tensor([1, 2]), torch.tensor([[1, 2, 3], [0, 0, 4]])
    torch.testing.assert_close(model(user, sequence), network(user, sequence))


@pytest.mark.parametrize("name", ["x.pth.tar", "x.ckpt", "x.bin", "x", "x.safetensors", "x.onnx"])
def test_a_state_dict_of_any_name(tmp_path: Path, weights: Weights, name: str) -> None:
    path = saved(tmp_path / name, {"state_dict": weights, "heads": 3})
    assert read_about(path)["config"]["heads"] == 3
    assert read_ids(path)[1].tolist() == list(range(1, 14))
    assert load_checkpoint(path).model.config.items == 13


@pytest.mark.parametrize("name", ["x", "x.pth", "x.SAFETENSORS"])
def test_a_checkpoint_of_any_name(tmp_path: Path, small_checkpoint: Path, name: str) -> None:
    path = Path(shutil.copy(small_checkpoint, tmp_path / name))
    assert read_about(path) == read_about(small_checkpoint)
    assert load_checkpoint(path).data == load_checkpoint(small_checkpoint).data


def test_the_old_format_of_torch_is_read(tmp_path: Path, weights: Weights) -> None:
    path = tmp_path / "x.pth"
    torch.save({"state_dict": weights, "heads": 3}, path, _use_new_zipfile_serialization=False)
    assert load_checkpoint(path).model.config.heads == 3


def test_heads_are_asked_for(tmp_path: Path, weights: Weights) -> None:
    assert '"heads": N' in refused(saved(tmp_path / "x.pth", weights))
    assert "5 heads" in refused(saved(tmp_path / "x.pth", weights | {"heads": 5}))
    both = {"state_dict": weights, "heads": 3, "args": {"num_heads": 1}}
    assert "says 1, 3 heads" in refused(saved(tmp_path / "x.pth", both))


WRONG: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], str]] = {
    "int8": (
        lambda tensor: (tensor * 10).to(torch.int8),
        "is int8 strided cpu; expected dense floating-point",
    ),
    "bool": (lambda tensor: tensor > 0, "is bool"),
    "complex": (lambda tensor: tensor.to(torch.complex64), "is complex64"),
    "NaN": (lambda tensor: tensor * torch.nan, "NaN or infinite"),
    "one infinite": (lambda tensor: tensor.index_fill(0, torch.tensor([1]), torch.inf), "infinite"),
    "too large": (lambda tensor: tensor.double().clamp(1) * 1e300, "infinite in float32"),
    "empty": (lambda tensor: tensor[:0], "gathered from all processes"),
    "sparse": (lambda tensor: tensor.to_sparse(), "is float32 sparse_coo"),
    "meta": (lambda tensor: tensor.to("meta"), "strided meta"),
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("name", ["item.weight", "blocks.1.attention.key.weight", "norm.bias"])
def test_values_that_no_network_has_are_refused_by_name(
    tmp_path: Path, weights: Weights, kind: str, name: str
) -> None:
    change, words = WRONG[kind]
    weights[name] = change(weights[name])
    said = refused(saved(tmp_path / "x.pth", {"state_dict": weights, "heads": 3}))
    assert words in said
    assert name in said or kind == "empty"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_are_taken(tmp_path: Path, weights: Weights, dtype: torch.dtype) -> None:
    own = {name: tensor.to(dtype) for name, tensor in weights.items()}
    path = saved(tmp_path / "x.pth", {"state_dict": own, "heads": 3})
    assert load_checkpoint(path).model.item.weight.dtype == torch.float32


def test_a_network_that_diverged_is_refused(tmp_path: Path, small_checkpoint: Path) -> None:
    tensors = load_file(small_checkpoint)
    tensors["norm.bias"] = tensors["norm.bias"] * torch.nan
    about = read_about(small_checkpoint)
    path = tmp_path / "x.safetensors"
    save_file(tensors, path, metadata={METADATA_KEY: json.dumps(about)})
    assert "norm.bias has " in refused(path)
    tensors["item_ids"] = tensors["item_ids"][:-1]
    save_file(tensors, path, metadata={METADATA_KEY: json.dumps(about)})
    with pytest.raises(CheckpointError, match=r"item_ids is int64\[\d+\]; expected int64\[\d+\]"):
        read_ids(path)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"schema": 1}', '{"schema": 1, "config": [], "data": {}}',
     '{"schema": {}, "config": {"users": 1, "items": 1, "max_length": 1}, "data": {}}',
     '{"schema": 1, "config": {"users": 1, "items": "9", "max_length": 1}, '
     '"data": {"name": "x", "data_hash": ""}}',
     '{"schema": 1, "config": {"users": 1, "items": true, "max_length": 1}, '
     '"data": {"name": "x", "data_hash": ""}}',
     "[" * 100_000],
)  # fmt: skip
def test_broken_metadata_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"item.weight": torch.ones(2, 2)}, path, metadata={METADATA_KEY: text})
    assert "metadata" in refused(path)


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.7, 0.99])
def test_half_a_state_dict(tmp_path: Path, weights: Weights, old: bool, part: float) -> None:
    path = tmp_path / "x.pth"
    torch.save(weights, path, _use_new_zipfile_serialization=not old)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    refused(path)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([1, 2], "has no table item.weight; its keys are none"),
        ({f"layer.{n}.{'x' * 500}": torch.ones(1) for n in range(200)}, "and 195 more"),
        ({"optimizer": {"lr": 1.0}}, "has no table item.weight"),
        ("text", "has no table item.weight"),
    ],
)
def test_what_is_no_state_dict(tmp_path: Path, value: object, words: str) -> None:
    assert words in refused(saved(tmp_path / "x.pth", value))


def test_two_networks_are_not_chosen_from(tmp_path: Path, weights: Weights) -> None:
    said = refused(saved(tmp_path / "x.pth", {"model": weights, "ema": weights, "heads": 3}))
    assert "has 2 state dicts" in said
    both = keyed("student.")(weights) | keyed("teacher.")(weights)
    said = refused(saved(tmp_path / "x.pth", both | {"heads": 3}))
    assert "student.item.weight, teacher.item.weight" in said


@pytest.mark.parametrize(
    "key", ["\x00" * 60, "two\nlines", "\x1b[31m", "\U000e0001" * 60, "x" * 9000]
)
def test_keys_of_any_text_are_shown_in_one_line(tmp_path: Path, weights: Weights, key: str) -> None:
    more = {f"{key}{at}": torch.ones(1) for at in range(9)}
    for state in (more, weights | more, dict(list(weights.items())[9:]) | more):
        said = refused(saved(tmp_path / "x.pth", {"state_dict": state, "heads": 3}))
        assert said.isprintable()
        assert len(said) < 500 + len(str(tmp_path))


@pytest.mark.parametrize("heads", [0, -3, 10**5000, -(10**5000)], ids="0-lL")
def test_heads_that_there_cannot_be(tmp_path: Path, weights: Weights, heads: int) -> None:
    path = saved(tmp_path / "x.pth", {"state_dict": weights, "heads": heads})
    assert "heads" in refused(path)
    path = saved(tmp_path / "x.pth", {"state_dict": weights, "heads": heads, "n_head": 10**4999})
    assert "heads" in refused(path)


def test_torch_warns_of_nothing(
    tmp_path: Path, weights: Weights, recwarn: pytest.WarningsRecorder
) -> None:
    """Of a tensor in the place of a function it warned, beside our own line."""
    path = saved(tmp_path / "x.pth", {"state_dict": weights, "heads": 3})
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            # `tQ…R`: call the first tensor with no arguments, as soon as it is there.
            called = content.replace(b"tq\x0eR", b"tq\x0eR)R", 1)
            assert called != content or not name.endswith("data.pkl")
            archive.writestr(name, called if name.endswith("data.pkl") else content)
    refused(path)
    assert not list(recwarn)


# In the record of the first member in the list: the version that is needed, the flags, the name.
BROKEN_LISTS = {"version": (6, b"\xff"), "encrypted": (8, b"\1"), "no UTF-8": (9, b"\x08")}


@pytest.mark.parametrize("kind", BROKEN_LISTS)
def test_a_broken_list_of_members_is_refused(tmp_path: Path, weights: Weights, kind: str) -> None:
    path = saved(tmp_path / "x.pth", {"state_dict": weights, "heads": 3})
    content = bytearray(path.read_bytes())
    place, byte = BROKEN_LISTS[kind]
    start = content.index(b"PK\x01\x02")
    content[start + place] = byte[0]
    content[start + 46] = 0xFF if kind == "no UTF-8" else content[start + 46]
    path.write_bytes(content)
    assert "cut off or broken" in refused(path)


def test_a_list_of_members_before_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", b"")
    content = bytearray(path.read_bytes())
    content[-10:-6] = (1000).to_bytes(4, "little")  # the size of the list
    path.write_bytes(content)
    assert "cut off or broken" in refused(path)


def test_a_whole_module_is_refused(tmp_path: Path, network: SSEPT) -> None:
    assert "save `model.state_dict()`" in refused(saved(tmp_path / "x.pth", network))
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        for name in ("x/data.pkl", "x/constants.pkl", "x/code/x.py"):
            archive.writestr(name, b"")
    assert "TorchScript" in refused(tmp_path / "x.pt")


def test_bytes_of_noise_end_in_one_line(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for first in (b"\x80\x02", b"\x80\x04", b"PK\x03\x04", b"", b"\x08"):
        for size in (1, 30, 3000):
            path = tmp_path / "x.pth"
            path.write_bytes(first + random.bytes(size))
            refused(path)
