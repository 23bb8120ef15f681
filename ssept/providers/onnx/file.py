"""ONNX files of any exporter: described by their names, and by what they answer."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ssept.artifacts import Artifact, Model, Signature, artifact_of, model_files
from ssept.errors import ArtifactError
from ssept.providers.onnx.integer_products import overflow_of
from ssept.providers.onnx.length import longest
from ssept.providers.onnx.names import (
    ASK,
    LENGTH,
    PADDING,
    VARIABLE,
    check_names,
    read_names,
    signature_of,
)
from ssept.providers.onnx.session import cpu_session, feeds, first_line, refusals
from ssept.providers.onnxruntime import check_one_onnxruntime
from ssept.providers.session import Ids, Scores, not_finite
from ssept.variants import CUSTOM

SOME = 3  # sequences in a batch, which no exporter takes as the example


def describe(path: Path, names: Mapping[str, str] | None = None, users: int = 0) -> Artifact:
    """Describe an ONNX file as an artifact; a few inferences show what it does not say.

    Args:
        path: the file. It takes users [batch] or [batch, 1] and sequences [batch, length], both
            int64 or both int32, and gives scores float32[batch, items + 1] whose column 0 is
            padding. It may also have the top-k head, see `Signature.topk`.
        names: what it calls them, and what cannot be found, see `ssept.providers.onnx.names`;
            None for what the variable SSEPT_ONNX_NAMES says.
        users: the number of its users, which the file does not contain.

    Raises:
        ArtifactError: the file is missing or broken, has tensors elsewhere than in regular files
            beside it, its inputs and outputs are not as above, or it has to be said what they are.
    """
    if not path.is_file():
        raise ArtifactError(f"{path}: no such ONNX file")
    model_files(path)
    check_one_onnxruntime()
    try:
        given = read_names(os.environ.get(VARIABLE, "")) if names is None else names
        check_names(given)
        signature, items, length = _looked_at(_open(path), given)
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from error
    except UnicodeDecodeError as error:
        raise ArtifactError(
            f"{path}: has names that are not UTF-8 text; export it again"
        ) from error
    model = Model(
        checkpoint=path.stem,
        checkpoint_sha256="",
        data_name="",
        data_hash="",
        users=users,
        items=items,
        max_length=length,
    )
    artifact = artifact_of(path, CUSTOM, "onnx", model, {}, signature)
    checkpoint_sha256 = artifact.sha256  # the file is all there is to know the model by
    return replace(artifact, model=replace(model, checkpoint_sha256=checkpoint_sha256))


def interpretation(artifact: Artifact) -> str:
    """Write how the inputs and the output of an ONNX file are understood, in one line.

    It also says what the CPU here may calculate wrongly of it.
    """
    signature, model = artifact.signature, artifact.model
    understood = (
        f"{artifact.path}: user={signature.user}, sequence={signature.sequence}, "
        f"scores={signature.scores}; {model.items} items behind the padding, sequences of at most "
        f"{model.max_length}"
    )
    return "; ".join(filter(None, (understood, overflow_of(artifact.path))))


def _open(path: Path) -> Any:
    try:
        return cpu_session(path, optimized=True)
    except refusals() as error:
        raise ArtifactError(f"ONNX Runtime cannot load it: {first_line(error)}") from error


def _looked_at(session: Any, names: Mapping[str, str]) -> tuple[Signature, int, int]:
    """Find a file's signature, the number of its items and its longest sequence."""
    signature = signature_of(session, names)
    trial = _Trial(session, signature)
    length = longest(trial, signature.length, int(names[LENGTH]) if LENGTH in names else None)
    random = np.random.default_rng(0)
    scores = trial(np.ones((1, length), np.int64))
    items = scores.shape[1] - 1
    some = random.integers(1, items + 1, (SOME, length))
    some[0, : length // 2] = 0  # padded
    scores = trial(some)
    if problem := not_finite(scores):
        raise ArtifactError(f"{signature.scores} {problem}; train or export it again")
    if PADDING not in names:
        _check_padding(trial, length, items)
    return signature, items, length


class _Trial:
    """Runs a file on sequences."""

    def __init__(self, session: Any, signature: Signature) -> None:
        self._session = session
        self._signature = signature

    def __call__(self, sequence: Ids) -> Scores:
        """Compute the scores of sequences int64[B, L].

        Raises:
            ArtifactError: it does not run, or gives something else.
        """
        batch, name = len(sequence), self._signature.scores
        # User 0, the unknown one, is in every table.
        inputs = feeds(self._signature, np.zeros(batch, np.int64), sequence)
        try:
            scores: Scores = self._session.run([name], inputs)[0]
        except refusals() as error:
            raise ArtifactError(
                f"does not run {batch} sequences of {sequence.shape[1]}: {first_line(error)}; "
                "export it with a dynamic batch axis"
            ) from error
        if self._signature.topk and not len(scores):
            raise ArtifactError(
                f"gives {name} only where k is 0, as a fused_exact_topk of `ssept build` does: "
                "give the folder that it was built into, not the file"
            )
        if scores.ndim != 2 or len(scores) != batch or scores.shape[1] < 2:
            raise ArtifactError(
                f"{name} is {list(scores.shape)} for {batch} sequences; expected float32[{batch}, "
                "items + 1]"
            )
        return scores


def _check_padding(trial: _Trial, length: int, items: int) -> None:
    """Refuse scores without a column of the padding: each id would be one too low.

    They have as many columns as there are items, so that the number of columns is an item, too. A
    network that checks its ids takes it for padding otherwise, or for its last item.
    """
    columns = items + 1
    try:
        beyond, padding, last = (
            trial(np.array([[0] * (length - 1) + [item]])) for item in (columns, 0, items)
        )
    except ArtifactError:
        return
    if not (np.array_equal(beyond, padding) or np.array_equal(beyond, last)):
        raise ArtifactError(
            f"gives {columns} scores, but accepts item {columns}: its scores seem to lack column "
            f"0, the padding; export it with that column, or give padding=0 {ASK} if it is there"
        )
