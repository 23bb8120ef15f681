"""Artifacts: one file per checkpoint and variant, kept in a cache under the hash of its inputs."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssept.errors import ArtifactError
from ssept.files import sha256, sha256_json
from ssept.files.kinds import ONNX, kind_of
from ssept.files.onnx_external import external_files

SEED = 0
# Inputs and outputs of the top-k head, which every file that has it calls so.
K, EXCLUDE, TOPK_IDS, TOPK_SCORES = "k", "exclude", "topk_ids", "topk_scores"
# The format of a zip file with a network up to its state, the output that its scores are products
# of, and an index of the item table that finds the largest of them.
ENCODER_AND_INDEX = "onnx+faiss"
TFLITE = "tflite"
# An ONNX file that gives the best k where it can tell them, else ids of 0; all scores where k is 0.
EXACT_BEST = "onnx+exact"
FILE_TYPES = {"onnx": "onnx", EXACT_BEST: "onnx", ENCODER_AND_INDEX: "zip", TFLITE: "tflite"}
ENCODER, INDEX, STATE = "encoder.onnx", "items.faiss", "state"


@dataclass(frozen=True, kw_only=True)
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
        return self.random_batches(1, batch, length)[0]

    def random_batches(
        self, count: int, batch: int, length: int | None = None
    ) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Draw several inputs, the first as in `random_inputs`: other sequences of the same users.

        So an answer that is kept for a user, or for all, is wrong for most of them.
        """
        random = np.random.default_rng(SEED)
        users = random.integers(0, self.users + 1, batch)
        size = (count, batch, length or self.max_length)
        return [(users, sequences) for sequences in random.integers(1, self.items + 1, size)]


@dataclass(frozen=True, kw_only=True)
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


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A model file that a provider can run.

    Attributes:
        path: the file.
        variant: the variant's name.
        format: what the file holds, "torch" or one of FILE_TYPES; a provider runs some.
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
    """Describe a model file as an artifact; its hash and size are read from it.

    Raises:
        ArtifactError: as `model_files`.
    """
    files = model_files(path, format)
    size = sum(file.stat().st_size for file in files)
    return Artifact(
        path=path,
        variant=variant,
        format=format,
        model=model,
        sha256=digest(files),
        size_bytes=size,
        tools=tools,
        signature=signature,
    )


def model_files(path: Path, format: str = "onnx") -> list[Path]:
    """Return a model's file and, for ONNX, the files beside it that hold its tensors.

    To be asked before a runtime loads the file: runtimes open what it names, wherever that is.
    A file that is something else is described by its content, not by its name.

    Raises:
        ArtifactError: it has tensors elsewhere than in regular files beside it, or is no ONNX file.
    """
    if format not in ("onnx", EXACT_BEST):
        return [path]
    try:
        kind = kind_of(path)
    except ValueError as error:
        raise ArtifactError(f"{path}: not an ONNX file: {error}") from error
    if kind != ONNX:
        raise ArtifactError(f"{path}: not an ONNX file, but a {kind}")
    try:
        return [path, *external_files(path)]
    except ValueError as error:
        raise ArtifactError(str(error)) from error


def digest(files: list[Path]) -> str:
    """Hash a model: its file, with the names and hashes of those beside it if any."""
    own, *others = files
    if not others:
        return sha256(own)
    return sha256_json([sha256(own), {file.name: sha256(file) for file in others}])


def artifact_to(artifact: Artifact) -> dict[str, Any]:
    """Convert an artifact to plain JSON values."""
    return asdict(artifact) | {"path": str(artifact.path)}


def artifact_from(folder: Path, entry: dict[str, Any]) -> Artifact:
    """Build an artifact from JSON values, with its path in `folder`.

    Raises:
        KeyError, TypeError: they are not those of an artifact.
    """
    parts = {
        "path": folder / entry["path"],
        "model": Model(**entry["model"]),
        "signature": Signature(**entry["signature"]),
    }
    return Artifact(**entry | parts)
