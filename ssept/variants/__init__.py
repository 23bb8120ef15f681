"""How a checkpoint becomes a model file. A new variant is one module and one line in VARIANTS."""

import hashlib
import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from ssept.artifacts import Artifact, Model, cached_artifact
from ssept.errors import SseptError
from ssept.files import sha256


@dataclass(frozen=True)
class Variant:
    """One way to turn a checkpoint into a model file.

    Attributes:
        build: "module:function", called as `function(base, destination)` with the file of the
            base variant and the path to write; None for the checkpoint itself.
        base: the variant whose file this one is built from.
        format: what the file holds; a provider runs it only if it names this format.
        tools: the distributions whose versions decide the file's content.
        cpu_bound: the content also depends on the instruction set of the CPU that builds it.
        max_score_error: the largest difference from torch's scores that passes.
        min_overlap: the least mean share of torch's top 10 that passes.
    """

    build: str | None
    base: str | None = None
    format: str = "onnx"
    tools: tuple[str, ...] = ()
    cpu_bound: bool = False
    max_score_error: float = 1e-4
    min_overlap: float = 0.999


BASELINE = "onnx"
CUSTOM = "custom"  # an ONNX file of the user's own, which nothing here builds
VARIANTS = {
    "torch": Variant(None, format="torch"),
    "onnx": Variant("ssept.variants.export:export", "torch", tools=("torch", "onnx", "onnxscript")),
    "onnx_graph": Variant(
        "ssept.variants.graph:optimize", "onnx", tools=("onnxruntime",), cpu_bound=True
    ),
    CUSTOM: Variant(None),
}
ONNXRUNTIME_DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")


def build(checkpoint: Path, variant: str) -> Artifact:
    """The artifact of a variant of a checkpoint, from the cache or built now.

    Raises:
        SseptError: no such variant, or a package that builds it is missing.
        CheckpointError: the checkpoint cannot be read.
    """
    if variant not in VARIANTS:
        raise SseptError(f"no variant {variant!r}; there are {', '.join(VARIANTS)}")
    chosen = VARIANTS[variant]
    if variant == CUSTOM:
        raise SseptError(f"{checkpoint}: the variant {CUSTOM} is an ONNX file of your own")
    if chosen.build is None or chosen.base is None:
        return _checkpoint_artifact(checkpoint, variant, chosen)
    base = build(checkpoint, chosen.base)
    tools = {name: _tool_version(name) for name in chosen.tools}
    function = _function(chosen.build)
    inputs: dict[str, Any] = {"base": base.sha256, "source": _source_hash(function)}
    if chosen.cpu_bound:
        inputs["cpu"] = np.show_config(mode="dicts")["SIMD Extensions"]["found"]
    suffix = "" if variant == BASELINE else f"_{variant}"
    return cached_artifact(
        f"{base.model.checkpoint}{suffix}.onnx",
        variant,
        chosen.format,
        base.model,
        tools,
        inputs,
        lambda destination: function(base.path, destination),
    )


def _checkpoint_artifact(path: Path, name: str, variant: Variant) -> Artifact:
    try:
        from ssept.model.store import read_about
    except ImportError as error:
        raise SseptError(
            f"{path}: reading a checkpoint needs {error.name}; install the train extra, or use "
            "artifacts built on another machine"
        ) from error
    about = read_about(path)
    digest, config = sha256(path), about["config"]
    model = Model(
        path.stem,
        digest,
        about["data"]["name"],
        about["data"]["data_hash"],
        config["users"],
        config["items"],
        config["max_length"],
    )
    return Artifact(path, name, variant.format, model, digest, path.stat().st_size, {})


def _function(target: str) -> Callable[[Path, Path], None]:
    module, name = target.split(":")
    try:
        function: Callable[[Path, Path], None] = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise SseptError(
            f"{target} needs {error.name}: install the train extra on the machine that builds"
        ) from error
    return function


def _source_hash(function: Callable[..., None]) -> str:
    """The hash of the builder's module: a changed builder makes a new artifact."""
    return hashlib.sha256(inspect.getsource(inspect.getmodule(function)).encode()).hexdigest()  # type: ignore[arg-type]


def _tool_version(name: str) -> str:
    names = ONNXRUNTIME_DISTRIBUTIONS if name == "onnxruntime" else (name,)
    for distribution in names:
        try:
            return f"{distribution} {version(distribution)}"
        except PackageNotFoundError:
            continue
    raise SseptError(f"building needs {name}, which is not installed")
