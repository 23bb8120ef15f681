"""A manifest describes files of its own folder, and a copy replaces only what a manifest names."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ssept.artifacts import Artifact, Model, artifact_of
from ssept.artifacts.manifests import MANIFEST, copy_artifacts, read_artifacts
from ssept.errors import ArtifactError

MODEL = Model(
    checkpoint="tiny",
    checkpoint_sha256="0" * 64,
    data_name="",
    data_hash="",
    users=1,
    items=1,
    max_length=1,
)

FIRST, LATER = b"\x08\x0a", b"\x08\x0b"  # ONNX models that hold a version alone


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    (tmp_path / "built").mkdir()
    (tmp_path / "built/tiny.onnx").write_bytes(FIRST)
    return artifact_of(tmp_path / "built/tiny.onnx", "onnx", "onnx", MODEL, {})


@pytest.fixture
def out(artifact: Artifact, tmp_path: Path) -> Path:
    copy_artifacts([artifact], tmp_path / "out")
    return tmp_path / "out"


def another(artifact: Artifact) -> Artifact:
    """The artifact of a later build, with the same name."""
    artifact.path.write_bytes(LATER)
    return artifact_of(artifact.path, "onnx", "onnx", MODEL, {})


@pytest.mark.parametrize(
    "name",
    [
        "../built/tiny.onnx",
        "{built}/tiny.onnx",
        "link.onnx",
        "folder/tiny.onnx",
        "./tiny.onnx",
        "..",
        "",
        "tiny.onnx\0",
        7,
        None,
    ],
)
def test_a_manifest_names_files_of_its_folder_only(
    out: Path, artifact: Artifact, name: object
) -> None:
    (out / "link.onnx").symlink_to(artifact.path)
    (out / "folder").symlink_to(artifact.path.parent)
    value = json.loads((out / MANIFEST).read_text())
    text = name.format(built=artifact.path.parent) if isinstance(name, str) else name
    value["artifacts"][0]["path"] = text
    (out / MANIFEST).write_text(json.dumps(value))
    with pytest.raises(ArtifactError, match=f"{MANIFEST}: (path|not a manifest)") as told:
        read_artifacts(out)
    assert "\n" not in str(told.value)


def test_a_link_within_the_folder_is_fine(out: Path) -> None:
    (out / "tiny.onnx").rename(out / "real.onnx")
    (out / "tiny.onnx").symlink_to("real.onnx")
    assert read_artifacts(out)["onnx"].path == out / "tiny.onnx"


def test_a_later_build_replaces_the_files_of_the_manifest(out: Path, artifact: Artifact) -> None:
    copy_artifacts([another(artifact)], out)
    assert (out / "tiny.onnx").read_bytes() == LATER


def test_a_copy_that_was_interrupted_is_finished(tmp_path: Path, artifact: Artifact) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/tiny.onnx").write_bytes(FIRST)
    copy_artifacts([artifact], tmp_path / "out")
    assert read_artifacts(tmp_path / "out")["onnx"].sha256 == artifact.sha256


@pytest.mark.parametrize("text", ["mine", ""])
def test_a_file_that_no_manifest_names_is_not_replaced(
    tmp_path: Path, artifact: Artifact, text: str
) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    (out / "tiny.onnx").write_text(text)
    other = replace(another(artifact), path=artifact.path.with_name("second.onnx"))
    other.path.write_bytes(LATER)
    with pytest.raises(ArtifactError, match=r"tiny\.onnx: is there already, and no manifest"):
        copy_artifacts([other, artifact], out)
    assert [path.name for path in out.iterdir()] == ["tiny.onnx"]
    assert (out / "tiny.onnx").read_text() == text


@pytest.mark.parametrize("text", ["{}", "[]", '{"name": "a web page"}', "not JSON"])
def test_another_program_s_manifest_is_not_replaced(
    tmp_path: Path, artifact: Artifact, text: str
) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(ArtifactError, match=f"{MANIFEST}: not a manifest of artifacts"):
        copy_artifacts([artifact], tmp_path)
    assert (tmp_path / MANIFEST).read_text() == text
    assert not (tmp_path / "tiny.onnx").exists()
