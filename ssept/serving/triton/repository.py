"""The model repository of Triton: written atomically, and checked against its ONNX files."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssept.artifacts import Artifact, model_files
from ssept.errors import ArtifactError
from ssept.files import written_folder
from ssept.providers.onnx.session import cpu_session, refusals
from ssept.serving.interface import (
    DEFAULT_K,
    MODEL,
    SEQ,
    USER_ID,
    Interface,
    Tensor,
    model_interface,
)
from ssept.serving.triton.config import (
    BACKEND,
    PLATFORM,
    TritonSettings,
    interface_of,
    model_config,
    read_config,
    to_text,
)
from ssept.serving.triton.graph import rewrite

CONFIG, MODEL_FILE = "config.pbtxt", "model.onnx"
ALL_SCORES, BEST = "scores", "topk"
OUTPUTS = (ALL_SCORES, BEST)
DEFAULTS = TritonSettings()
TYPES = {"tensor(int64)": "TYPE_INT64", "tensor(int32)": "TYPE_INT32", "tensor(float)": "TYPE_FP32"}


def write_repository(
    artifact: Artifact,
    repository: Path,
    settings: TritonSettings = DEFAULTS,
    *,
    version: int = 1,
    k: int | None = None,
    outputs: Sequence[str] | None = None,
) -> Path:
    """Write a version of the model `recommender_model_onnx`, whole or not at all.

    The folder `repository` may hold other models, and other versions of this one if they take and
    give the same; the settings then are those of all versions. The same version is replaced.

    Args:
        artifact: of an ONNX variant.
        repository: the folder to give to tritonserver as its model repository.
        settings: how the server runs the model.
        version: a number from 1.
        k: how many best items the outputs `topk_ids` and `topk_scores` hold, 100 by default.
        outputs: "scores", "topk" or both; by default both from a variant with the top-k head.
            One that a client does not ask for is not sent, but it is computed, and on a GPU
            copied from there.

    Returns:
        The ONNX file in the repository.

    Raises:
        SseptError: the triton extra or onnx is not installed.
        ArtifactError: the artifact cannot give this, or the versions that are there differ.
    """
    tensors = _interface(artifact, k, outputs)
    config = model_config(tensors, settings)
    text = to_text(config)
    folder = repository / MODEL
    if folder.exists():
        _check_other_versions(folder, version, tensors)
    with written_folder(folder) as temporary:
        if folder.exists():
            shutil.copytree(folder, temporary, symlinks=True, dirs_exist_ok=True)
        file = temporary / str(version) / MODEL_FILE
        file.parent.mkdir(exist_ok=True)
        rewrite(artifact, tensors, file)
        (temporary / CONFIG).write_text(text, encoding="utf-8")
        _check(temporary, folder)
    return folder / str(version) / MODEL_FILE


def check(repository: Path) -> Any:
    """Hold the model's configuration against its ONNX files, as Triton's backend does.

    Returns:
        The configuration, a message `inference.ModelConfig`.

    Raises:
        ArtifactError: something is missing or broken, or the two differ in platform, names,
            types or dims.
        SseptError: the triton extra is not installed.
    """
    folder = repository / MODEL
    return _check(folder, folder)


def versions(folder: Path) -> list[int]:
    """Return the versions in a model's folder; Triton ignores folders of other names."""
    return sorted(
        int(path.name)
        for path in folder.iterdir()
        if path.is_dir() and path.name.isdecimal() and not path.name.startswith("0")
    )


def answers_any_ids(file: Path) -> bool:
    """Return whether a model answers 32-bit ids, almost all of them outside its tables.

    Ids that need more bits are replaced by 0 before.
    """
    session = _session(file, file)
    length = next(value.shape[1] for value in session.get_inputs() if value.name == SEQ)
    bounds = np.iinfo(np.int32)
    ids = np.random.default_rng(0).integers(bounds.min, bounds.max, (8, length + 1))
    try:
        session.run(None, {USER_ID: ids[:, :1], SEQ: ids[:, 1:]})
    except refusals():
        return False
    return True


def _interface(artifact: Artifact, k: int | None, outputs: Sequence[str] | None) -> Interface:
    """Return the inputs and outputs of the served model, if the artifact has them."""
    head, model = artifact.signature.topk, artifact.model
    if artifact.format != "onnx":
        raise ArtifactError(f"{artifact.path}: is a {artifact.format} file; expected an ONNX one")
    chosen = outputs if outputs is not None else OUTPUTS if head else (ALL_SCORES,)
    if not chosen or not set(chosen) <= set(OUTPUTS):
        raise ArtifactError(
            f"outputs {', '.join(chosen) or 'of no name'}: expected names from {', '.join(OUTPUTS)}"
        )
    if not head and (BEST in chosen or k is not None):
        raise ArtifactError(
            f"{artifact.path}: {artifact.variant} has no top-k head, so it gives all scores only; "
            "choose a variant whose name ends in _topk"
        )
    if BEST not in chosen:
        if k is not None:
            raise ArtifactError(f"the best {k} are requested, but {BEST} is not among the outputs")
    elif not 1 <= (k or DEFAULT_K) <= model.items:
        raise ArtifactError(
            f"the best {k or DEFAULT_K} are requested; expected 1 to {model.items}, the items of "
            f"{artifact.path.name}"
        )
    return model_interface(
        model.max_length,
        model.items if ALL_SCORES in chosen else None,
        (k or DEFAULT_K) if BEST in chosen else None,
    )


def _check_other_versions(folder: Path, version: int, tensors: Interface) -> None:
    """Refuse other inputs or outputs than those of the versions that share the configuration."""
    others = [str(other) for other in versions(folder) if other != version]
    if others and (there := interface_of(read_config(folder / CONFIG))) != tensors:
        raise ArtifactError(
            f"{folder}: version {', '.join(others)} has {there}, but version {version} would "
            f"have {tensors}: write it to another repository, or with the same options"
        )


def _check(folder: Path, name: Path) -> Any:
    """Check the model in `folder`; messages call it `name`."""
    if not folder.is_dir():
        raise ArtifactError(f"{name}: no such model; `ssept triton repository` writes it")
    config = read_config(folder / CONFIG)
    problem = _problem(config, versions(folder))
    if problem:
        raise ArtifactError(f"{name / CONFIG}: {problem}")
    for version in versions(folder):
        part = Path(str(version)) / MODEL_FILE
        session = _session(folder / part, name / part)
        if problem := _difference(config, session):
            raise ArtifactError(f"{name / part}: {problem}")
    return config


def _problem(config: Any, there: list[int]) -> str | None:
    """Return what is wrong with a configuration itself; None if nothing is."""
    if config.name not in ("", MODEL):
        return f"name is {config.name}; expected that of its folder, {MODEL}"
    if config.platform not in ("", PLATFORM):
        return f"platform is {config.platform}; expected {PLATFORM}"
    if config.backend not in ("", BACKEND) or not (config.platform or config.backend):
        return f"backend is {config.backend or 'missing'}; expected {BACKEND}"
    missing = sorted(set(config.version_policy.specific.versions) - set(there))
    if missing:
        return f"version_policy names version {missing[0]}, which is not there"
    return None if there else f"has no version; expected a folder 1 with {MODEL_FILE}"


def _difference(config: Any, session: Any) -> str | None:
    """Describe how an ONNX file differs from its configuration; None if it does not."""
    wanted = interface_of(config)
    given = {value.name: value for value in session.get_inputs()}
    if len(given) != len(wanted.inputs):
        return f"has {len(given)} inputs, {', '.join(given)}; {CONFIG} has {len(wanted.inputs)}"
    for tensor in wanted.inputs:
        if problem := _mismatch(config, tensor, given, exact=False):
            return problem
    given = {value.name: value for value in session.get_outputs()}
    for tensor in wanted.outputs:
        if problem := _mismatch(config, tensor, given, exact=True):
            return problem
    return None


def _mismatch(config: Any, tensor: Tensor, given: dict[str, Any], *, exact: bool) -> str | None:
    """Describe how a tensor differs between configuration and file; None if it does not.

    Where it need not be exact, an axis of any size fits.
    """
    if tensor.name not in given:
        return f"has no {tensor.name}, which {CONFIG} names; it has {', '.join(given)}"
    value = given[tensor.name]
    kind = TYPES.get(value.type, value.type)
    if kind != tensor.type:
        return f"{tensor.name} is {kind}; {CONFIG} says {tensor.type}"
    shape = [size if isinstance(size, int) else -1 for size in value.shape]
    if config.max_batch_size:
        if shape[:1] != [-1]:
            return f"{tensor.name} is {shape}; its first axis is not of any size, so no batch fits"
        del shape[0]
    free = () if exact else (-1,)
    fits = len(shape) == len(tensor.dims) and all(
        size in (wanted, *free) for size, wanted in zip(shape, tensor.dims, strict=True)
    )
    return None if fits else f"{tensor.name} has dims {shape}; {CONFIG} says {list(tensor.dims)}"


def _session(file: Path, name: Path) -> Any:
    """Open an ONNX file, to read what it takes and gives; messages call it `name`."""
    if not file.is_file():
        raise ArtifactError(f"{name}: is missing")
    try:
        model_files(file)
    except ArtifactError as error:
        raise ArtifactError(str(error).replace(str(file.parent), str(name.parent))) from error
    try:
        return cpu_session(file)
    except refusals() as error:
        reason = str(error).strip().splitlines()[0]
        raise ArtifactError(f"{name}: ONNX Runtime cannot load it: {reason}") from error
