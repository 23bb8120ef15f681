"""Tiny files that declare large arrays: refused before anything of that size is allocated."""

import json
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import ssept
from ssept.artifacts import ENCODER, INDEX, Artifact
from ssept.artifacts.manifests import MANIFEST, copy_artifacts, read_artifacts
from ssept.data.dataset import Dataset
from ssept.errors import SseptError
from ssept.measure.cold_start import peak_rss_bytes
from ssept.model.checkpoint import load_checkpoint
from ssept.model.network import SSEPT, SSEPTConfig
from ssept.model.store import METADATA_KEY
from ssept.variants import build

faiss = pytest.importorskip("faiss", reason="faiss is not installed: install the index extra")
SMALL_BYTES = 60 << 20
LARGE = 1 << 28  # items of float32: a gigabyte


def peak_from_now() -> int:
    Path("/proc/self/clear_refs").write_text("5")  # else the peak is that of the process so far
    return peak_rss_bytes()


def refused(run: Callable[[], object], *names: str) -> None:
    """One line, and no more memory than a little."""
    before = peak_from_now()
    with pytest.raises(SseptError) as caught:
        run()
    grown = peak_rss_bytes() - before
    said = str(caught.value)
    assert grown < SMALL_BYTES, f"{grown >> 20} MB more; {said}"
    assert "\n" not in said
    assert len(said) < 1000
    assert all(name in said for name in names), said


# ---------------------------------------------------------------- checkpoints


@pytest.fixture
def parts(small_checkpoint: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """A checkpoint's tensors, and what its metadata says."""
    with small_checkpoint.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return load_file(small_checkpoint), json.loads(header["__metadata__"][METADATA_KEY])


CONFIGS = {
    "users": {"users": LARGE},
    "items": {"items": LARGE},
    "length": {"max_length": LARGE},
    "blocks": {"blocks": 10_000},
    "width": {"item_dim": 1 << 14, "user_dim": 1 << 14},
    "beyond all memory": {"items": 1 << 60},
    "beyond all numbers": {"blocks": 10**4000},
    "text": {"items": "300"},
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_checkpoint_whose_metadata_say_more_than_its_tensors(
    tmp_path: Path, parts: tuple[dict[str, np.ndarray], dict[str, Any]], kind: str
) -> None:
    tensors, about = parts
    about["config"] |= CONFIGS[kind]
    path = tmp_path / "tiny.safetensors"
    save_file(tensors, path, metadata={METADATA_KEY: json.dumps(about)})
    refused(lambda: load_checkpoint(path), str(path))
    refused(lambda: ssept.load(path, "torch", "torch"), str(path))
    refused(lambda: build(path, "onnx"), str(path))


def test_the_number_of_parameters_is_known_beforehand() -> None:
    for sizes in ({}, {"item_dim": 7, "user_dim": 5, "max_length": 9, "blocks": 3, "heads": 2}):
        config = SSEPTConfig(11, 13, **sizes)
        assert config.parameters == sum(one.numel() for one in SSEPT(config).parameters())


def test_a_checkpoint_of_a_few_bytes(tmp_path: Path, parts: tuple[Any, dict[str, Any]]) -> None:
    _, about = parts
    about["config"] |= {"users": LARGE // 100, "items": LARGE // 100}
    path = tmp_path / "tiny.safetensors"
    nothing = {"user_ids": np.ones(1, np.int64), "item_ids": np.ones(1, np.int64)}
    save_file(nothing, path, metadata={METADATA_KEY: json.dumps(about)})
    refused(lambda: load_checkpoint(path), str(path))


def test_wide_tables_of_few_rows(tmp_path: Path, parts: tuple[Any, dict[str, Any]]) -> None:
    """Layers are as large as the square of the width that the tables have."""
    _, about = parts
    width = 1 << 14
    about["config"] |= {"users": 1, "items": 1, "max_length": 1, "blocks": 1}
    about["config"] |= {"item_dim": width, "user_dim": width}
    tensors = {
        "item.weight": np.ones((2, width), np.float32),
        "user.weight": np.ones((2, width), np.float32),
        "position.weight": np.ones((1, 2 * width), np.float32),
        "blocks.0.attention.query.weight": np.ones((1, 1), np.float32),
        "user_ids": np.ones(1, np.int64),
        "item_ids": np.ones(1, np.int64),
    }
    path = tmp_path / "wide.safetensors"
    save_file(tensors, path, metadata={METADATA_KEY: json.dumps(about)})
    refused(lambda: load_checkpoint(path), str(path), "numbers")
    state = {name: torch.from_numpy(array) for name, array in tensors.items()}
    torch.save(state, path.with_suffix(".pth"))
    refused(lambda: load_checkpoint(path.with_suffix(".pth")), "numbers")


def weights(small_checkpoint: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(small_checkpoint).model.state_dict()


def test_a_pth_whose_rows_are_all_the_same(tmp_path: Path, small_checkpoint: Path) -> None:
    state = weights(small_checkpoint)
    state["item.weight"] = torch.zeros(1).expand(LARGE, 8)
    path = tmp_path / "repeated.pth"
    torch.save(state, path)
    assert path.stat().st_size < 1 << 20
    refused(lambda: load_checkpoint(path), str(path))
    refused(lambda: build(path, "onnx"), str(path))


NOTHING: dict[str, Callable[[], torch.Tensor]] = {
    "no columns": lambda: torch.zeros(LARGE, 0),
    "sparse": lambda: torch.sparse_coo_tensor(
        torch.zeros(2, 0, dtype=torch.int64), [], (LARGE, 8), check_invariants=True
    ),
    "meta": lambda: torch.empty(LARGE, 8, device="meta"),
}


@pytest.mark.parametrize("kind", NOTHING)
def test_a_pth_with_a_large_tensor_of_nothing(
    tmp_path: Path, small_checkpoint: Path, kind: str
) -> None:
    path = tmp_path / "nothing.pth"
    torch.save(weights(small_checkpoint) | {"item.weight": NOTHING[kind]()}, path)
    refused(lambda: load_checkpoint(path), str(path))


def test_a_pth_that_unpacks_to_more(tmp_path: Path, small_checkpoint: Path) -> None:
    plain, path = tmp_path / "plain.pth", tmp_path / "packed.pth"
    torch.save(weights(small_checkpoint) | {"item.weight": torch.zeros(1 << 22, 8)}, plain)
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    plain.unlink()
    assert path.stat().st_size < 1 << 20
    refused(lambda: load_checkpoint(path), str(path), "packed")


# ---------------------------------------------------------------- the index


@pytest.fixture(scope="module")
def artifact(
    small_checkpoint: Path, small_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Artifact:
    """An index in a cache of its own: tests of other processes replace that of the session's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSEPT_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        return build(small_checkpoint, "fused_index", small_folder)


@pytest.fixture
def members(artifact: Artifact) -> dict[str, bytes]:
    with zipfile.ZipFile(artifact.path) as archive:
        return {name: archive.read(name) for name in (ENCODER, INDEX)}


def zipped(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def run(artifact: Artifact, path: Path) -> None:
    ssept.load(replace(artifact, path=path), provider="faiss")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("name", [ENCODER, INDEX])
def test_a_member_that_unpacks_to_more(
    tmp_path: Path, artifact: Artifact, members: dict[str, bytes], name: str, method: int
) -> None:
    path = zipped(tmp_path / "x.zip", members | {name: bytes(200 << 20)}, method)
    assert path.stat().st_size < 1 << 20
    refused(lambda: run(artifact, path), str(path), "build it again")


def test_a_member_that_says_it_is_larger(
    tmp_path: Path, artifact: Artifact, members: dict[str, bytes]
) -> None:
    path = zipped(tmp_path / "x.zip", members)
    size = len(members[INDEX]).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(size, (1 << 31).to_bytes(4, "little")))
    refused(lambda: run(artifact, path), str(path))


@pytest.mark.slow
def test_an_index_that_says_it_has_large_arrays(
    tmp_path: Path, artifact: Artifact, members: dict[str, bytes]
) -> None:
    """A large number wherever its head has the size of an array, or of anything else."""
    whole = np.frombuffer(members[INDEX], np.uint8)
    refusals = 0
    for place in range(4, 400):
        content = whole.copy()
        content[place : place + 8] = np.frombuffer(struct.pack("<Q", 1 << 31), np.uint8)
        path = zipped(tmp_path / "x.zip", members | {INDEX: content.tobytes()})
        before = peak_from_now()
        try:
            run(artifact, path)
        except SseptError:
            refusals += 1
        assert peak_rss_bytes() - before < SMALL_BYTES, place
    assert refusals


def test_an_index_opens_no_other_file(
    tmp_path: Path, artifact: Artifact, members: dict[str, bytes]
) -> None:
    """FAISS can leave an index's lists in a file that the index names."""
    index = faiss.deserialize_index(np.frombuffer(members[INDEX], np.uint8))
    elsewhere, inside = tmp_path / "lists", index.invlists
    lists = faiss.OnDiskInvertedLists(index.nlist, index.code_size, str(elsewhere))
    for number in range(index.nlist):
        size = inside.list_size(number)
        lists.add_entries(number, size, inside.get_ids(number), inside.get_codes(number))
    other = faiss.clone_index(index)
    other.replace_invlists(lists, False)
    content = faiss.serialize_index(other).tobytes()
    assert str(elsewhere).encode() in content
    path = zipped(tmp_path / "x.zip", members | {INDEX: content})
    refused(lambda: run(artifact, path), str(path), INDEX)


def test_another_kind_of_index_is_refused(
    tmp_path: Path, artifact: Artifact, members: dict[str, bytes]
) -> None:
    flat = faiss.IndexFlatIP(16)
    flat.add(np.ones((artifact.model.items, 16), np.float32))
    path = zipped(tmp_path / "x.zip", members | {INDEX: faiss.serialize_index(flat).tobytes()})
    refused(lambda: run(artifact, path), str(path), INDEX)


# ---------------------------------------------------------------- manifests


@pytest.mark.parametrize("name", ["users", "items", "max_length"])
@pytest.mark.parametrize("value", [LARGE, -1, "9", 1.5, None, 10**4000])
def test_a_manifest_that_says_more_than_the_file_can_hold(
    tmp_path: Path, small_checkpoint: Path, name: str, value: object
) -> None:
    copy_artifacts([build(small_checkpoint, "onnx")], tmp_path)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    manifest["artifacts"][0]["model"][name] = value
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    refused(lambda: read_artifacts(tmp_path), "tiny.onnx", name)


@pytest.mark.parametrize("text", ["[" * 200_000, '{"schema":1,"artifacts":' + "[" * 200_000, "3"])
def test_a_manifest_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    refused(lambda: read_artifacts(tmp_path), MANIFEST)


def test_what_is_honest_still_loads(
    tmp_path: Path, small: Dataset, small_checkpoint: Path, artifact: Artifact
) -> None:
    torch.save(weights(small_checkpoint) | {"heads": 1}, tmp_path / "own.pth")
    assert load_checkpoint(tmp_path / "own.pth").model.config.items == small.items
    ids, _ = ssept.load(artifact, provider="faiss").recommend([1], [[1, 2]], 3)
    assert ids.shape == (1, 3)
