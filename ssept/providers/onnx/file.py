"""ONNX files of any exporter: the role of each input is found in the file, or given."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ssept.artifacts import (
    EXCLUDE,
    TOPK_IDS,
    TOPK_SCORES,
    Artifact,
    K,
    Model,
    Signature,
    artifact_of,
    model_files,
)
from ssept.errors import ArtifactError
from ssept.providers.onnx.session import cpu_session, feeds, refusals
from ssept.providers.onnxruntime import check_one_onnxruntime
from ssept.variants import CUSTOM

INTEGERS = {"tensor(int64)": "int64", "tensor(int32)": "int32"}
HEAD_INPUTS = {K: ("tensor(int64)", 1), EXCLUDE: ("tensor(int64)", 2)}
HEAD_OUTPUTS = {TOPK_IDS: ("tensor(int64)", 2), TOPK_SCORES: ("tensor(float)", 2)}
ROLES = ("user", "sequence", "scores")
MAX_LENGTH = 50


def describe(path: Path, names: dict[str, str] | None = None, users: int = 0) -> Artifact:
    """Describe an ONNX file as an artifact; one inference counts the items that it scores.

    Args:
        path: the file. It takes users [batch] or [batch, 1] and sequences [batch, length], both
            int64 or both int32, and gives scores float32[batch, items + 1] whose column 0 is
            padding. It may also have the top-k head, see `Signature.topk`.
        names: the file's own names of "user", "sequence" and "scores"; those left out are found
            by their ranks.
        users: the number of its users, which the file does not contain.

    Raises:
        ArtifactError: the file is missing or broken, has tensors elsewhere than in regular files
            beside it, or its inputs and outputs are not as above.
    """
    if not path.is_file():
        raise ArtifactError(f"{path}: no such ONNX file")
    model_files(path)
    check_one_onnxruntime()
    session = _open(path)
    signature = _signature(path, session, names or {})
    length = signature.length or MAX_LENGTH
    sequence = np.ones((1, length), dtype=np.int64)
    (scores,) = session.run([signature.scores], feeds(signature, sequence[:, 0], sequence))
    if scores.ndim != 2 or scores.dtype != np.float32 or scores.shape[1] < 2:
        raise ArtifactError(
            f"{path}: {signature.scores} is {scores.dtype}{list(scores.shape)}; expected "
            "float32[batch, items + 1]"
        )
    model = Model(
        checkpoint=path.stem,
        checkpoint_sha256="",
        data_name="",
        data_hash="",
        users=users,
        items=scores.shape[1] - 1,
        max_length=length,
    )
    artifact = artifact_of(path, CUSTOM, "onnx", model, {}, signature)
    checkpoint_sha256 = artifact.sha256  # the file is all there is to know the model by
    return replace(artifact, model=replace(model, checkpoint_sha256=checkpoint_sha256))


def _open(path: Path) -> Any:
    try:
        return cpu_session(path, optimized=True)
    except refusals() as error:
        raise ArtifactError(
            f"{path}: ONNX Runtime cannot load it: {str(error).splitlines()[0]}"
        ) from error


def _signature(path: Path, session: Any, names: dict[str, str]) -> Signature:
    unknown = sorted(names.keys() - set(ROLES))
    if unknown:
        raise ArtifactError(f"{path}: no role {unknown[0]!r}; there are {', '.join(ROLES)}")
    inputs = {value.name: value for value in session.get_inputs()}
    outputs = {value.name: value for value in session.get_outputs()}
    for role, name in names.items():
        have = outputs if role == "scores" else inputs
        if name not in have:
            raise ArtifactError(f"{path}: has no {name!r} for {role}; it has {', '.join(have)}")
    topk = _without_head(path, inputs, outputs)
    user, sequence = _inputs(path, inputs, names)
    types = {INTEGERS.get(inputs[name].type) for name in (user, sequence)}
    (dtype,) = types if len(types) == 1 else (None,)
    if dtype is None:
        kinds = ", ".join(f"{name}: {inputs[name].type}" for name in (user, sequence))
        raise ArtifactError(f"{path}: {kinds}; expected both int64 or both int32")
    batch, length = inputs[sequence].shape
    if isinstance(batch, int):
        raise ArtifactError(
            f"{path}: takes batches of {batch} only; export it with a dynamic batch axis"
        )
    return Signature(
        user=user,
        sequence=sequence,
        scores=names.get("scores", next(iter(outputs))),
        dtype=dtype,
        user_is_column=len(inputs[user].shape) == 2,
        length=length if isinstance(length, int) else None,
        topk=topk,
    )


def _without_head(path: Path, inputs: dict[str, Any], outputs: dict[str, Any]) -> bool:
    """Take the inputs and outputs of the top-k head out; whether they were there, all four."""
    if not (HEAD_INPUTS.keys() <= inputs.keys() and HEAD_OUTPUTS.keys() <= outputs.keys()):
        return False
    for have, head in ((inputs, HEAD_INPUTS), (outputs, HEAD_OUTPUTS)):
        for name, (kind, rank) in head.items():
            value = have.pop(name)
            if (value.type, len(value.shape)) != (kind, rank):
                raise ArtifactError(
                    f"{path}: {name} of the top-k head is {value.type} {value.shape}; expected "
                    f"{kind} with {rank} {'axes' if rank > 1 else 'axis'}"
                )
    if not outputs:
        raise ArtifactError(f"{path}: has {', '.join(HEAD_OUTPUTS)}, but no scores of all items")
    return True


def _inputs(path: Path, inputs: dict[str, Any], names: dict[str, str]) -> tuple[str, str]:
    """Find the names of the user input and of the sequence input."""
    if len(inputs) == 2 and len(names.keys() & {"user", "sequence"}) < 2:
        user = names.get("user") or _only(
            name
            for name, value in inputs.items()
            if len(value.shape) == 1 or (len(value.shape) == 2 and value.shape[1] == 1)
        )
        sequence = names.get("sequence") or _only(name for name in inputs if name != user)
    else:
        user, sequence = names.get("user"), names.get("sequence")
    if not user or not sequence or user == sequence:
        shapes = ", ".join(f"{name}{value.shape}" for name, value in inputs.items())
        raise ArtifactError(
            f"{path}: cannot decide which input is the user and which the sequence: it has "
            f"{shapes}; name them with user=NAME,sequence=NAME"
        )
    return user, sequence


def _only(names: Any) -> str | None:
    found = list(names)
    return found[0] if len(found) == 1 else None
