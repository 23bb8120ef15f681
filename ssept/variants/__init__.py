"""The variants of a checkpoint as model files. A new one is a module and one line in VARIANTS."""

import importlib
import math
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from ssept.artifacts import (
    ENCODER_AND_INDEX,
    EXACT_BEST,
    FILE_TYPES,
    TFLITE,
    Artifact,
    Model,
    Signature,
    artifact_of,
)
from ssept.artifacts.manifests import Entry, read_artifacts
from ssept.errors import ArtifactError, CheckpointError, SseptError
from ssept.files import sha256
from ssept.installation import shipped_folder
from ssept.variants.sources import source_hash

BASELINE = "onnx"
SOURCE = "ssept source"  # among an artifact's tools: a hash of the code that builds it
CUSTOM = "custom"  # an ONNX file of the user's own, which nothing here builds


@dataclass(frozen=True)
class Variant:
    """One way to turn a checkpoint into a model file.

    Attributes:
        build: "module:function", called as `function(base, destination)` with the file of the
            base variant and the path to write; None for the checkpoint itself. The module's
            TOOLS, if it has them, are the versions of what runs in an environment of its own.
        base: the variant whose file this one is built from.
        format: what the file holds; a provider runs it only if it names this format.
        tools: the distributions whose versions decide the file's content; so do the files that
            `ssept.variants.sources` finds from `build`.
        cpu_bound: the content also depends on the instruction set of the CPU that builds it.
        calibrated: the function takes a third argument, a `Calibration`.
        signature: the names of the file's inputs and outputs.
        max_score_error: the largest difference from torch's scores that passes.
        min_overlap: the least mean share of torch's top 10 that passes.
        max_ndcg_loss: the largest share of the baseline's NDCG@10 that may be lost.
    """

    build: str | None
    base: str | None = None
    format: str = "onnx"
    tools: tuple[str, ...] = ()
    cpu_bound: bool = False
    calibrated: bool = False
    signature: Signature = field(default_factory=Signature)
    max_score_error: float = 1e-4
    min_overlap: float = 0.999
    max_ndcg_loss: float = 0.005


QUANTIZED = Variant(
    None,
    BASELINE,
    max_score_error=math.inf,  # its unit is the model's own; the overlap and NDCG decide
    min_overlap=0.9,
    max_ndcg_loss=0.01,
)
VARIANTS = {
    "torch": Variant(None, format="torch"),
    "onnx": Variant("ssept.variants.export:export", "torch", tools=("torch", "onnx", "onnxscript")),
    "onnx_graph": Variant(
        "ssept.variants.optimized:optimize", "onnx", tools=("onnxruntime",), cpu_bound=True
    ),
    "fused": Variant("ssept.variants.fused:export", "torch", tools=("torch", "onnx", "onnx-ir")),
    "fused_int8": replace(
        QUANTIZED,
        build="ssept.variants.fused:export_int8",
        base="torch",
        tools=("torch", "onnx", "onnx-ir"),
        max_ndcg_loss=0.02,
    ),
    "fused_index": replace(
        QUANTIZED,
        build="ssept.variants.index:export",
        base="torch",
        format=ENCODER_AND_INDEX,
        tools=("torch", "onnx", "onnx-ir", "faiss-cpu"),
        calibrated=True,
        max_score_error=0.01,  # float16: 0.0015 on ML-1M, where scores go up to 14
        min_overlap=0.97,  # the index is made to find 99 % of what its calibration wants
        max_ndcg_loss=0.02,  # -0.65 % [-0.99, -0.32] on ML-1M
    ),
    "litert": Variant(
        "ssept.variants.litert:export", "torch", format=TFLITE, tools=("torch", "ai-edge-litert")
    ),
    "litert_int8": replace(
        QUANTIZED,
        build="ssept.variants.litert:export_int8",
        base="torch",
        format=TFLITE,
        tools=("torch", "ai-edge-litert"),
        max_ndcg_loss=0.02,
    ),
    "quant_dynamic": replace(QUANTIZED, build="ssept.variants.neural_compressor:dynamic"),
    "quant_static": replace(
        QUANTIZED,
        build="ssept.variants.neural_compressor:static",
        calibrated=True,
        max_ndcg_loss=0.02,
    ),
    "quant_static_aggressive": replace(
        QUANTIZED,
        build="ssept.variants.neural_compressor:static_aggressive",
        calibrated=True,
        min_overlap=0.85,
        max_ndcg_loss=0.03,
    ),
    "ort_dynamic": replace(
        QUANTIZED,
        build="ssept.variants.onnxruntime_quantizer:dynamic",
        tools=("onnxruntime", "onnx"),
    ),
    "ort_static": replace(
        QUANTIZED,
        build="ssept.variants.onnxruntime_quantizer:static",
        tools=("onnxruntime", "onnx"),
        calibrated=True,
        max_ndcg_loss=0.02,
    ),
    "nncf": replace(
        QUANTIZED, build="ssept.variants.nncf:static", calibrated=True, max_ndcg_loss=0.02
    ),
    # How it was made is unknown, so it has the widest budget of all.
    CUSTOM: replace(QUANTIZED, base=None, min_overlap=0.85, max_ndcg_loss=0.03),
}
VARIANTS |= {  # which find the best k by themselves
    f"{name}_topk": replace(
        VARIANTS[name], build=f"{VARIANTS[name].build}_topk", signature=Signature(topk=True)
    )
    for name in ("litert", "litert_int8")
}
VARIANTS |= {  # each of them with the top-k head, within the budgets of its own
    f"{name}_topk": replace(
        variant,
        build="ssept.variants.topk:append",
        base=name,
        tools=("onnx",),
        cpu_bound=False,
        calibrated=False,
        signature=Signature(topk=True),
    )
    for name, variant in VARIANTS.items()
    if variant.format == "onnx" and name != CUSTOM
}
VARIANTS["fused_exact_topk"] = replace(
    VARIANTS["fused"],
    build="ssept.variants.fused:export_exact_topk",
    format=EXACT_BEST,
    signature=Signature(topk=True),
)
ONNXRUNTIME_DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")


def find(variant: str) -> Variant:
    """Find the variant of a name.

    Raises:
        SseptError: there is none; with the names that there are.
    """
    if variant not in VARIANTS:
        raise SseptError(f"unknown variant {variant!r}; expected one of {', '.join(VARIANTS)}")
    return VARIANTS[variant]


def build(
    checkpoint: Path, variant: str, data: Path | None = None, *, shipped: bool = True
) -> Artifact:
    """Return the artifact of a checkpoint's variant: shipped, from the cache, or built now.

    Args:
        checkpoint: the checkpoint file.
        variant: a name in VARIANTS.
        data: the folder that the checkpoint was trained on, prepared or raw. Only a calibrated
            variant that is not in the cache reads it; the embedded data need not be named.
        shipped: whether a file that came with ssept may be taken.

    Raises:
        SseptError: no such variant, or a package that builds it is missing.
        CheckpointError: the checkpoint cannot be read, or has nothing to quantize.
        DataError: calibration needs data that are not given, or are not the checkpoint's.
    """
    chosen = find(variant)
    if variant == CUSTOM:
        raise SseptError(f"{checkpoint}: the variant {CUSTOM} is an ONNX file of your own")
    if chosen.build is None or chosen.base is None:
        return _checkpoint_artifact(checkpoint, variant, chosen)
    if chosen.max_score_error == QUANTIZED.max_score_error:
        _check_users(checkpoint, variant)
    base = build(checkpoint, chosen.base, data, shipped=shipped)
    return at_hand(base, variant, data, shipped=shipped) or cache_entry(base, variant, data).made(
        lambda file: _write(base, variant, data, file)
    )


def _check_users(checkpoint: Path, variant: str) -> None:
    """Refuse to quantize a model without users: its user embedding has no values to quantize."""
    from ssept.model.store import read_about

    if not read_about(checkpoint)["config"]["user_dim"]:
        raise CheckpointError(
            f"{checkpoint}: has no user embedding (user_dim 0), so that {variant} cannot quantize "
            "it; choose variants in FP32, such as onnx or fused"
        )


def at_hand(
    base: Artifact, variant: str, data: Path | None = None, *, shipped: bool = True
) -> Artifact | None:
    """Return the artifact of a variant if it came with ssept or is in the cache.

    One that came with ssept is taken whatever packages are installed here, if this code would
    build it from the same base.

    Args:
        base: the artifact that the variant is built from.
        variant: a name in VARIANTS, of one that is built.
        data, shipped: as for `build`.

    Raises:
        SseptError, DataError: as `cache_entry`.
    """
    entry = cache_entry(base, variant, data)
    return (_shipped(base, entry) if shipped else None) or entry.kept()


def _shipped(base: Artifact, entry: Entry) -> Artifact | None:
    if not (shipped_folder() / entry.file_name).is_file():  # do not hash what cannot match
        return None
    try:
        artifacts = read_artifacts(shipped_folder())
    except ArtifactError:  # without any, or damaged
        return None
    found = artifacts.get(entry.variant)
    from_same = base.format == "torch" or base in artifacts.values()
    if not (found and from_same and found.model == base.model):
        return None
    same = found.tools.get(SOURCE) == entry.inputs["source"]
    calibration = entry.inputs.get("calibration", {})
    return found if same and calibration.items() <= found.calibration.items() else None


def cache_entry(base: Artifact, variant: str, data: Path | None = None) -> Entry:
    """Where the cache keeps a variant; what builds it is not imported.

    Args:
        base: the artifact that the variant is built from.
        variant: a name in VARIANTS, of one that is built.
        data: as for `build`.

    Raises:
        SseptError: a package that builds it is missing.
        DataError: nothing says which data it would be calibrated on.
    """
    chosen = VARIANTS[variant]
    inputs: dict[str, Any] = {
        "base": base.sha256,
        "source": _source(chosen),
        "signature": asdict(chosen.signature),
    }
    if chosen.cpu_bound:
        inputs["cpu"] = np.show_config(mode="dicts")["SIMD Extensions"]["found"]
    if chosen.calibrated:
        from ssept.variants.calibration import calibration_key

        inputs["calibration"] = calibration_key(base.model, data, variant)
    suffix = "" if variant == BASELINE else f"_{variant}"
    return Entry(
        file_name=f"{base.model.checkpoint}{suffix}.{FILE_TYPES[chosen.format]}",
        variant=variant,
        format=chosen.format,
        model=base.model,
        tools=_versions(chosen),
        inputs=inputs,
    )


def _write(base: Artifact, variant: str, data: Path | None, destination: Path) -> dict[str, Any]:
    """Build a variant's file; return the further fields of its manifest."""
    chosen = VARIANTS[variant]
    function = _function(str(chosen.build))
    own_tools = getattr(sys.modules[function.__module__], "TOOLS", {})
    more: dict[str, Any] = {
        "tools": base.tools | _versions(chosen) | own_tools | {SOURCE: _source(chosen)},
        "signature": chosen.signature,
        "calibration": base.calibration,
    }
    if chosen.calibrated:
        from ssept.variants.calibration import calibration_for, calibration_key

        calibration = calibration_for(base.model, data, variant)
        function(base.path, destination, calibration)
        more["calibration"] = calibration_key(base.model, data, variant) | {
            "sequences": len(calibration.user),
            "sha256": calibration.sha256,
        }
    else:
        function(base.path, destination)
    if chosen.format == "onnx":
        more["operators"] = _function("ssept.variants.qdq:operators")(destination)
    return more


def _checkpoint_artifact(path: Path, name: str, variant: Variant) -> Artifact:
    # Imported here, as the calibration is: pandas, which both bring, doubled the import of ssept.
    from ssept.model.store import read_about

    about = read_about(path)
    digest, config = sha256(path), about["config"]
    model = Model(
        checkpoint=path.stem,
        checkpoint_sha256=digest,
        data_name=about["data"]["name"],
        data_hash=about["data"]["data_hash"],
        users=config["users"],
        items=config["items"],
        max_length=config["max_length"],
    )
    return artifact_of(path, name, variant.format, model, {})


def _source(variant: Variant) -> str:
    return source_hash(str(variant.build).partition(":")[0])


def _function(target: str) -> Callable[..., Any]:
    module, name = target.split(":")
    try:
        function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise SseptError(
            f"{target} needs {error.name}: install the train extra on the machine that builds"
        ) from error
    return function


def _versions(variant: Variant) -> dict[str, str]:
    return {name: _tool_version(name) for name in variant.tools}


def _tool_version(name: str) -> str:
    names = ONNXRUNTIME_DISTRIBUTIONS if name == "onnxruntime" else (name,)
    for distribution in names:
        try:
            return f"{distribution} {version(distribution)}"
        except PackageNotFoundError:
            continue
    extra = {"onnxruntime": "cpu", "faiss-cpu": "index", "ai-edge-litert": "litert"}.get(
        name, "train"
    )
    raise SseptError(f"building needs {name}: install the {extra} extra")
