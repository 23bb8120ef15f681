"""Artifacts: one file per checkpoint and variant, kept in a cache under the hash of its inputs."""

import contextlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ssept.errors import SseptError
from ssept.files import cache_folder, sha256, sha256_json, written_folder

SCHEMA = 1
MANIFEST = "artifact.json"


@dataclass(frozen=True)
class Model:
    """What every artifact of a checkpoint shares, known without reading its tensors.

    Attributes:
        checkpoint: the checkpoint file's name without its suffix.
        checkpoint_sha256: the hash of that file.
        data_name, data_hash: the data set that it was trained on.
        users, items, max_length: the sizes of its tables, and its longest sequence.
    """

    checkpoint: str
    checkpoint_sha256: str
    data_name: str
    data_hash: str
    users: int
    items: int
    max_length: int


@dataclass(frozen=True)
class Artifact:
    """A model file that a provider can run.

    Attributes:
        path: the file.
        variant: the variant's name.
        format: what the file holds, "torch" or "onnx"; a provider runs some formats.
        model: the checkpoint that it was built from.
        sha256, size_bytes: of the file.
        tools: the versions of the packages that built it.
    """

    path: Path
    variant: str
    format: str
    model: Model
    sha256: str
    size_bytes: int
    tools: dict[str, str]


def cached_artifact(
    file_name: str,
    variant: str,
    format: str,
    model: Model,
    tools: dict[str, str],
    inputs: dict[str, Any],
    build: Callable[[Path], None],
) -> Artifact:
    """The artifact of these inputs: from the cache, or built by `build(path)` and kept there.

    `inputs`, with the tools' versions, is all that decides the file's content; it must be JSON.
    """
    key = sha256_json({"file": file_name, "variant": variant, "tools": tools, "inputs": inputs})[
        :16
    ]
    folder = cache_folder() / "artifacts" / key
    if (folder / MANIFEST).is_file():
        with contextlib.suppress(SseptError):  # a damaged cache entry is built again
            return read_artifact(folder / MANIFEST)
    with written_folder(folder) as temporary:
        path = temporary / file_name
        build(path)
        artifact = Artifact(path, variant, format, model, sha256(path), path.stat().st_size, tools)
        write_manifest(artifact, temporary / MANIFEST)
    return read_artifact(folder / MANIFEST)


def write_manifest(artifact: Artifact, path: Path) -> None:
    """Describe an artifact in JSON beside it."""
    value = asdict(artifact) | {"schema": SCHEMA, "path": artifact.path.name}
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def read_artifact(manifest: Path) -> Artifact:
    """The artifact that a manifest describes.

    Raises:
        SseptError: the manifest is broken or of another schema, or the file is not the one that
            it describes.
    """
    try:
        value = json.loads(manifest.read_text(encoding="utf-8"))
        if value.pop("schema") != SCHEMA:
            raise SseptError(f"{manifest}: not schema {SCHEMA}; build the artifact again")
        value["path"] = manifest.parent / value["path"]
        artifact = Artifact(**value | {"model": Model(**value["model"])})
    except (ValueError, KeyError, TypeError) as error:
        raise SseptError(f"{manifest}: not an artifact's manifest: {error}") from error
    if not artifact.path.is_file() or sha256(artifact.path) != artifact.sha256:
        raise SseptError(
            f"{artifact.path}: missing, or not the file that {manifest.name} describes; "
            "build it again"
        )
    return artifact
