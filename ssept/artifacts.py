"""Artifacts: one file per checkpoint and variant, kept in a cache under the hash of its inputs."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssept.errors import ArtifactError
from ssept.files import (
    cache_folder,
    locked,
    sha256,
    sha256_json,
    write_json,
    written_file,
    written_folder,
)
from ssept.onnx_external import external_files
from ssept.owned import remove

SCHEMA = 1
SEED = 0
MANIFEST = "manifest.json"
SHOWN = 80
# Inputs and outputs of the top-k head, which every file that has it calls so.
K, EXCLUDE, TOPK_IDS, TOPK_SCORES = "k", "exclude", "topk_ids", "topk_scores"
# The format of a zip file with a network up to its state, the output that its scores are products
# of, and an index of the item table that finds the largest of them.
ENCODER_AND_INDEX = "onnx+faiss"
ENCODER, INDEX, STATE = "encoder.onnx", "items.faiss", "state"


@dataclass(frozen=True)
class Model:
    """What every artifact of a checkpoint shares, known without reading its tensors.

    Attributes:
        checkpoint: the checkpoint file's name without its suffix.
        checkpoint_sha256: the hash of that file.
        data_name, data_hash: the data set that it was trained on; empty if unknown.
        users, items, max_length: the sizes of its tables, and its longest sequence.
    """

    checkpoint: str
    checkpoint_sha256: str
    data_name: str
    data_hash: str
    users: int
    items: int
    max_length: int

    def random_inputs(
        self, batch: int, length: int | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw users int64[B] and sequences int64[B, L] without padding, always the same ones.

        Args:
            batch: sequences.
            length: items in each; None for the longest sequence.
        """
        random = np.random.default_rng(SEED)
        users = random.integers(0, self.users + 1, batch)
        return users, random.integers(1, self.items + 1, (batch, length or self.max_length))


@dataclass(frozen=True)
class Signature:
    """What an ONNX file calls its inputs and its output, and the form it wants them in.

    Attributes:
        user: the name of the input [batch], or [batch, 1] if `user_is_column`.
        sequence: the name of the input [batch, length].
        scores: the name of the output float32[batch, items + 1].
        dtype: of both inputs, "int64" or "int32".
        user_is_column: whether the user input has a second axis of size 1.
        length: the only length that it takes, or None for any.
        topk: whether it has the top-k head: also inputs `k` int64[1] and `exclude`
            int64[batch, any], the padding among it; outputs `topk_ids` int64[batch, k] and
            `topk_scores` float32[batch, k]; see `ssept.variants.topk`.
    """

    user: str = "user"
    sequence: str = "sequence"
    scores: str = "scores"
    dtype: str = "int64"
    user_is_column: bool = False
    length: int | None = None
    topk: bool = False


@dataclass(frozen=True)
class Artifact:
    """A model file that a provider can run.

    Attributes:
        path: the file.
        variant: the variant's name.
        format: what the file holds, "torch", "onnx" or ENCODER_AND_INDEX; a provider runs some.
        model: the checkpoint that it was built from.
        sha256, size_bytes: of the file, and of those beside it that hold tensors of it.
        tools: the versions of the packages that built it, and before that what it was built from.
        signature: the names of an ONNX file's inputs and output.
        operators: how many nodes of each operator an ONNX file has, where it was built here.
        calibration: what the ranges of a calibrated variant were taken from, or of its base.
    """

    path: Path
    variant: str
    format: str
    model: Model
    sha256: str
    size_bytes: int
    tools: dict[str, str]
    signature: Signature = Signature()
    operators: dict[str, int] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)


def artifact_of(
    path: Path,
    variant: str,
    format: str,
    model: Model,
    tools: dict[str, str],
    signature: Signature = Signature(),
) -> Artifact:
    """The artifact that a file is, with its hash and size read from it.

    Raises:
        ArtifactError: as `model_files`.
    """
    files = model_files(path, format)
    size = sum(file.stat().st_size for file in files)
    return Artifact(path, variant, format, model, _digest(files), size, tools, signature)


def model_files(path: Path, format: str = "onnx") -> list[Path]:
    """The file of a model and, of an ONNX file, those beside it that hold tensors of it.

    To be asked before a runtime loads the file: runtimes open what it names, wherever that is.

    Raises:
        ArtifactError: it has tensors elsewhere than in regular files beside it, or is no ONNX file.
    """
    try:
        return [path, *(external_files(path) if format == "onnx" else ())]
    except ValueError as error:
        raise ArtifactError(str(error)) from error


def _digest(files: list[Path]) -> str:
    """The hash of a model: of its file, with the names and hashes of those beside it if any."""
    own, *others = files
    if not others:
        return sha256(own)
    return sha256_json([sha256(own), {file.name: sha256(file) for file in others}])


@dataclass(frozen=True)
class Entry:
    """The place of an artifact in the cache, named by all that decides its content.

    Attributes:
        file_name: the name of its file.
        variant, format, model: as of the artifact.
        tools: the versions of the packages that build it.
        inputs: what else decides its content, in JSON values.
    """

    file_name: str
    variant: str
    format: str
    model: Model
    tools: dict[str, str]
    inputs: dict[str, Any]

    def kept(self) -> Artifact | None:
        """The artifact if it is there; a damaged one counts as missing."""
        folder = self._folder()
        if (folder / MANIFEST).is_file():
            with contextlib.suppress(ArtifactError):
                return read_artifacts(folder)[self.variant]
        return None

    def made(self, build: Callable[[Path], dict[str, Any]]) -> Artifact:
        """The artifact, built by `build(path)` unless another process has done so meanwhile.

        `build` returns further fields of the artifact.
        """
        folder = self._folder()
        with locked(folder.with_name(f"{folder.name}.lock")):
            if kept := self.kept():
                return kept
            for left in folder.parent.glob(f".{folder.name}.*"):  # by a process that was killed
                remove(left)
            with written_folder(folder) as temporary:
                path = temporary / self.file_name
                more = build(path)
                artifact = artifact_of(path, self.variant, self.format, self.model, self.tools)
                _write_manifest(temporary, [replace(artifact, **more)])
            return read_artifacts(folder)[self.variant]

    def _folder(self) -> Path:
        key = {
            "file": self.file_name,
            "variant": self.variant,
            "format": self.format,
            "tools": self.tools,
            "inputs": self.inputs,
        }
        return cache_folder() / "artifacts" / sha256_json(key)[:16]


def copy_artifacts(artifacts: Iterable[Artifact], folder: Path) -> list[Artifact]:
    """Copy artifacts into a folder and describe them in its manifest, written last.

    A file that is there already with the same content is left alone. One with other content is
    replaced if the manifest describes it.

    Raises:
        ArtifactError: two of the files have the same name; the folder holds a file of the same name
            that is not in its manifest, or another manifest; or as `model_files`. Nothing is
            copied then.
    """
    artifacts, sources = list(artifacts), dict[str, Path]()
    for artifact in artifacts:
        for file in model_files(artifact.path, artifact.format):
            if (other := sources.setdefault(file.name, file)) != file:
                raise ArtifactError(
                    f"{file} and {other} have the same name: copy their models to two folders"
                )
    _check_replaceable(folder, sources.values())
    for file in sources.values():
        _copy(file, folder / file.name)
    copies = [replace(artifact, path=folder / artifact.path.name) for artifact in artifacts]
    _write_manifest(folder, copies)
    return copies


def _copy(file: Path, destination: Path) -> None:
    if not (destination.is_file() and sha256(destination) == sha256(file)):
        with written_file(destination) as temporary:
            shutil.copyfile(file, temporary)


def _check_replaceable(folder: Path, sources: Iterable[Path]) -> None:
    """Refuse to copy over what no `copy_artifacts` has written."""
    names = _described(folder) if os.path.lexists(folder / MANIFEST) else set()
    for source in sources:
        file = folder / source.name
        if file.name in names or not os.path.lexists(file):
            continue
        if file.is_symlink() or not file.is_file() or sha256(file) != sha256(source):
            raise ArtifactError(
                f"{file}: is another file, which no {MANIFEST} describes; move it away, or choose "
                "another folder"
            )


def _described(folder: Path) -> set[str]:
    """The names of the files that a folder's manifest describes, external data included."""
    names = set()
    for entry in _entries(folder):
        names.add(entry["path"])
        with contextlib.suppress(ArtifactError, OSError):  # it is to be replaced
            names.update(file.name for file in model_files(folder / entry["path"], entry["format"]))
    return names


def read_artifacts(folder: Path) -> dict[str, Artifact]:
    """The artifacts that a folder's manifest describes, by variant.

    Raises:
        ArtifactError: there is no manifest, it is broken or of another schema, or a file is not
            the one that it describes.
    """
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise ArtifactError(f"{folder}: has no {MANIFEST}; `ssept build --out {folder}` writes one")
    try:
        artifacts = [artifact_from(folder, entry) for entry in _entries(folder)]
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{manifest}: not a manifest of artifacts: {error!r}") from error
    for artifact in artifacts:
        _check(artifact)
    return {artifact.variant: artifact for artifact in artifacts}


def _check(artifact: Artifact) -> None:
    """Refuse a file that is not the one described, or too small for what is said of it."""
    path, cause = artifact.path, ""
    try:
        same = path.is_file() and _digest(model_files(path, artifact.format)) == artifact.sha256
    except ArtifactError as error:
        same, cause = False, f" ({error})"
    if not same:
        raise ArtifactError(
            f"{path}: missing, or not the file that {MANIFEST} describes{cause}; build or copy it "
            "again"
        )
    # Arrays are made by these numbers. A table has at least a byte for each row.
    for name in ("users", "items", "max_length"):
        declared = getattr(artifact.model, name)
        if not isinstance(declared, int) or not 0 <= declared <= artifact.size_bytes:
            raise ArtifactError(
                f"{path}: {MANIFEST} says {name} {str(declared)[:20]}; expected a number, and no "
                f"more than the file's bytes: build it again"
            )


def artifact_to(artifact: Artifact) -> dict[str, Any]:
    """An artifact as plain JSON values."""
    return asdict(artifact) | {"path": str(artifact.path)}


def artifact_from(folder: Path, entry: dict[str, Any]) -> Artifact:
    """The artifact of JSON values, its path taken from `folder`.

    Raises:
        KeyError, TypeError: they are not those of an artifact.
    """
    parts = {
        "path": folder / entry["path"],
        "model": Model(**entry["model"]),
        "signature": Signature(**entry["signature"]),
    }
    return Artifact(**entry | parts)


def _entries(folder: Path) -> list[dict[str, Any]]:
    """What a folder's manifest says of each artifact, whose file lies in that folder.

    Raises:
        ArtifactError: it is broken, of another schema, or names a file that lies elsewhere.
    """
    manifest = folder / MANIFEST
    try:
        value = json.loads(manifest.read_text(encoding="utf-8"))
        if value["schema"] != SCHEMA:
            raise ArtifactError(
                f"{manifest}: schema {value['schema']}; this version reads {SCHEMA}"
            )
        entries: list[dict[str, Any]] = list(value["artifacts"])
        for name in (entry["path"] for entry in entries):
            if Path(name).name != name or (folder / name).resolve().parent != folder.resolve():
                raise ArtifactError(
                    f"{manifest}: path {name[:SHOWN]!r}: expected the name of a file in its folder"
                )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtifactError(f"{manifest}: not a manifest of artifacts: {error!r}") from error
    return entries


def _write_manifest(folder: Path, artifacts: list[Artifact]) -> None:
    entries = [artifact_to(artifact) | {"path": artifact.path.name} for artifact in artifacts]
    write_json(folder / MANIFEST, {"schema": SCHEMA, "artifacts": entries})
