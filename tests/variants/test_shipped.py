"""The model files that come with ssept: taken where this code would build the same, else built."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from ssept import variants
from ssept.artifacts import Artifact
from ssept.cli import main
from ssept.installation import shipped_checkpoint, shipped_folder
from ssept.providers import load
from ssept.variants import build
from ssept.variants.parallel import build_all

CLASSIC = ("onnx", "quant_dynamic", "quant_static_aggressive")
K = 10


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, which no environment of a tool can be made in."""
    monkeypatch.setenv("SSEPT_CACHE_DIR", str(tmp_path / "cache"))

    def refused(*_: object) -> Path:
        raise AssertionError("a tool was asked for")

    monkeypatch.setattr("ssept.variants.neural_compressor.environment", refused)
    return tmp_path / "cache"


@pytest.mark.parametrize("variant", CLASSIC)
def test_the_classic_files_are_measured_without_any_tool(fresh: Path, variant: str) -> None:
    """Fails where the code that builds them was changed: then build them again (see models/)."""
    suffix = "" if variant == "onnx" else f"_{variant}"
    artifact = build(shipped_checkpoint(), variant)
    assert artifact.path == shipped_folder() / f"SSE_PT10kemb{suffix}.onnx"
    (outcome,) = build_all(shipped_checkpoint(), [variant])
    assert outcome.result == artifact
    assert not fresh.exists()


def test_a_copy_of_the_checkpoint_is_the_same_and_another_one_is_not(
    fresh: Path, tmp_path: Path, small_checkpoint: Path
) -> None:
    copy = tmp_path / shipped_checkpoint().name
    shutil.copyfile(shipped_checkpoint(), copy)
    assert build(copy, "onnx").path.parent == shipped_folder()
    assert build(small_checkpoint, "torch").path.parent != shipped_folder()


@pytest.mark.slow
@pytest.mark.parametrize("changed", ["onnx", "quant_dynamic"])
def test_after_a_change_of_its_code_a_file_is_built(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    real = variants._source
    module = variants.VARIANTS[changed].build

    def source(variant: variants.Variant) -> str:
        return "changed" if variant.build == module else real(variant)

    monkeypatch.setattr(variants, "_source", source)
    for variant in ("onnx", "quant_dynamic"):
        if variant == changed == "onnx":
            assert build(shipped_checkpoint(), variant).path.is_relative_to(fresh)
        elif variant == "onnx":
            assert build(shipped_checkpoint(), variant).path.parent == shipped_folder()
        else:  # of its own code, or of another base
            with pytest.raises(AssertionError, match="a tool was asked for"):
                build(shipped_checkpoint(), variant)


@pytest.mark.slow
@pytest.mark.usefixtures("neural_compressor")
def test_a_build_makes_the_same_files(tmp_path: Path) -> None:
    names = ",".join(CLASSIC)
    assert main(["build", f"--variants={names}", "--no-shipped", f"--out={tmp_path}"]) == 0
    for variant in CLASSIC:
        shipped, built = build(shipped_checkpoint(), variant), _in(tmp_path, variant)
        assert built.operators == shipped.operators
        assert built.size_bytes == pytest.approx(shipped.size_bytes, rel=0.01)
        if built.tools == shipped.tools:
            assert _overlap(built, shipped) > 0.99


def _in(folder: Path, variant: str) -> Artifact:
    return load(folder, variant).artifact


def _overlap(one: Artifact, other: Artifact) -> float:
    """The mean share of the best K that two files have in common, of random sequences."""
    user, sequence = one.model.random_inputs(64)
    best = [load(each).recommend(user, sequence, K)[0] for each in (one, other)]
    return float(np.mean([len({*a} & {*b}) / K for a, b in zip(*best, strict=True)]))
