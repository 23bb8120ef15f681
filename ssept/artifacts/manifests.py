"""Manifests: the file of a folder of artifacts that describes them; reading, checking, copying."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ssept.artifacts import (
    Artifact,
    Model,
    artifact_from,
    artifact_of,
    artifact_to,
    digest,
    model_files,
)
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
from ssept.files.owned import remove

SCHEMA = 1
MANIFEST = "manifest.json"
SHOWN = 80


@dataclass(frozen=True, kw_only=True)
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
        """Return the artifact if it is in the cache; a damaged one counts as missing."""
        folder = self._folder()
        if (folder / MANIFEST).is_file():
            with contextlib.suppress(ArtifactError):
                return read_artifacts(folder)[self.variant]
        return None

    def made(self, build: Callable[[Path], dict[str, Any]]) -> Artifact:
        """Build the artifact by `build(path)`, unless another process has done so meanwhile.

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
                f"{file}: is there already, and no {MANIFEST} describes it; move it away, or "
                "choose another folder"
            )


def _described(folder: Path) -> set[str]:
    """List the files that a folder's manifest describes, external data included."""
    names = set()
    for entry in _entries(folder):
        names.add(entry["path"])
        with contextlib.suppress(ArtifactError, OSError):  # it is to be replaced
            names.update(file.name for file in model_files(folder / entry["path"], entry["format"]))
    return names


def read_artifacts(folder: Path) -> dict[str, Artifact]:
    """Read and check the artifacts that a folder's manifest describes, by variant.

    Raises:
        ArtifactError: there is no manifest, it is broken or of another schema, or a file is not
            the one that it describes.
    """
    manifest = folder / MANIFEST
    if folder.exists() and not folder.is_dir():
        raise ArtifactError(
            f"{folder}: is a file; expected a folder that `ssept build --out` wrote"
        )
    if not manifest.is_file():
        raise ArtifactError(f"{folder}: has no {MANIFEST}; `ssept build --out {folder}` writes one")
    try:
        artifacts = [artifact_from(folder, entry) for entry in _entries(folder)]
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{manifest}: not a manifest of artifacts: {error!r:.200}") from error
    for artifact in artifacts:
        _check(artifact)
    return {artifact.variant: artifact for artifact in artifacts}


def _check(artifact: Artifact) -> None:
    """Refuse a file that is not the one described, or too small for what is said of it."""
    path, cause = artifact.path, ""
    try:
        same = path.is_file() and digest(model_files(path, artifact.format)) == artifact.sha256
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
                f"{path}: {MANIFEST} gives {name} as {str(declared)[:20]}; expected a number that "
                "is at most the size of the file in bytes: build it again"
            )


def _entries(folder: Path) -> list[dict[str, Any]]:
    """Read a manifest's entries, each of a file that lies in the manifest's folder.

    Raises:
        ArtifactError: it is broken, of another schema, or names a file that lies elsewhere.
    """
    manifest = folder / MANIFEST
    try:
        value = json.loads(manifest.read_text(encoding="utf-8"))
        if value["schema"] != SCHEMA:
            raise ArtifactError(
                f"{manifest}: schema {value['schema']!r:.40}; this version reads {SCHEMA}"
            )
        entries: list[dict[str, Any]] = list(value["artifacts"])
        for name in (entry["path"] for entry in entries):
            if Path(name).name != name or (folder / name).resolve().parent != folder.resolve():
                raise ArtifactError(
                    f"{manifest}: path {name!r:.40}: expected the name of a file in its folder"
                )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtifactError(f"{manifest}: not a manifest of artifacts: {error!r:.200}") from error
    return entries


def _write_manifest(folder: Path, artifacts: list[Artifact]) -> None:
    entries = [artifact_to(artifact) | {"path": artifact.path.name} for artifact in artifacts]
    write_json(folder / MANIFEST, {"schema": SCHEMA, "artifacts": entries})
