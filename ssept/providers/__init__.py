"""The providers, which run model files. A new one is a module and one line in PROVIDERS."""

import dataclasses
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ssept.artifacts import ENCODER_AND_INDEX, EXACT_BEST, TFLITE, Artifact
from ssept.artifacts.manifests import read_artifacts
from ssept.errors import ArtifactError, ProviderError, SseptError
from ssept.files.kinds import is_onnx
from ssept.providers.options import Value, declared, option_of, with_changes
from ssept.providers.session import Session
from ssept.variants import VARIANTS, build


@dataclass(frozen=True)
class Budget:
    """What a cell may differ from the exact model.

    Attributes:
        max_score_error: the largest difference from torch's scores.
        min_overlap: the least mean share of torch's top 10.
        max_ndcg_loss: the largest share of the baseline's NDCG@10.
    """

    max_score_error: float
    min_overlap: float
    max_ndcg_loss: float


class Engine(Protocol):
    """What a provider's module offers to the table.

    It imports the provider's packages inside its functions: the options are read, and the reason
    why it is unavailable asked for, where those packages are missing.
    """

    @property
    def options(self) -> Any:
        """A frozen dataclass: a field for each option, by the provider's own name."""

    def unavailable(self) -> str | None:
        """Why this provider cannot run here and what to install, or None."""

    def load(self, artifact: Artifact, threads: int, options: Any) -> Session:
        """Start a session; raise FallbackError if another provider would run a part of it."""


@dataclass(frozen=True)
class Provider:
    """One way to run an artifact.

    Attributes:
        engine: "module:object"; the module is imported only when the provider is used.
        formats: the artifact formats that it runs.
        nvidia: whether it runs on an NVIDIA GPU, that of its option `device_id`.
        max_score_error, min_overlap, max_ndcg_loss: what its arithmetic alone may cost; they
            widen a variant's own, see `budget`.
    """

    engine: str
    formats: tuple[str, ...]
    nvidia: bool = False
    max_score_error: float = 0.0
    min_overlap: float = 1.0
    max_ndcg_loss: float = 0.0

    def unavailable(self) -> str | None:
        """Why this provider cannot run here and what to install, or None."""
        return self._engine().unavailable()

    def options(self) -> dict[str, Any]:
        """Return the options by the provider's own names, with their defaults.

        None means that the provider decides.
        """
        return dataclasses.asdict(self._engine().options)

    def worth_trying(self) -> dict[str, list[Value]]:
        """Return the options that may make it faster, with the values to try, the default first."""
        known = declared(self._engine().options)
        return {
            name: list(option.worth_trying) for name, option in known.items() if option.worth_trying
        }

    def read_option(self, name: str, text: str) -> Value:
        """Read the value of an option from a text of the command line.

        Raises:
            ProviderError: there is no such option, or the text is none of its values.
        """
        return option_of(declared(self._engine().options), name).read(text)

    def load(
        self, artifact: Artifact, threads: int, options: Mapping[str, Value] | None = None
    ) -> Session:
        """Start a session of an artifact.

        Args:
            artifact: of one of the provider's formats.
            threads: how many threads a call may use.
            options: options that override the defaults.

        Raises:
            ProviderError: the provider is unavailable, knows no such option or value, or cannot
                run the artifact.
            FallbackError: another provider would run all or a part of it.
        """
        if artifact.format not in self.formats:
            raise ProviderError(
                f"{artifact.path.name} is a {artifact.format} file; this provider runs "
                f"{', '.join(self.formats)}"
            )
        chosen = with_changes(self._engine().options, options or {})
        if reason := self.unavailable():
            raise ProviderError(reason)
        return self._engine().load(artifact, threads, chosen)

    def _engine(self) -> Engine:
        module, name = self.engine.split(":")
        engine: Engine = getattr(importlib.import_module(module), name)
        return engine


# Scores of the shipped model lie between -9 and 14. In bfloat16 they were off by up to 0.12
# (OpenVINO) and 0.14 (torch), with 99.6 % and 98.7 % of the top 10. TensorRT multiplies in TF32,
# whose mantissa is three bits longer: an eighth of that, not measured. torchao's INT8 was off by up
# to 0.18 with 99.4 % of the top 10. NDCG@10 changed by +0.01 % [-0.20, +0.20] on ML-1M and by
# -0.45 % [-0.88, -0.12] on ml-100k, where scores lie between -8 and 8.
PROVIDERS = {
    "torch": Provider("ssept.providers.torch:cpu", ("torch",)),
    "torch_compile": Provider("ssept.providers.torch_compile:cpu", ("torch",)),
    "torchao_int8": Provider(
        "ssept.providers.torchao:cpu",
        ("torch",),
        max_score_error=0.7,
        min_overlap=0.95,
        max_ndcg_loss=0.01,
    ),
    "cpu": Provider("ssept.providers.onnxruntime:cpu", ("onnx", EXACT_BEST)),
    "litert": Provider("ssept.providers.litert:cpu", (TFLITE,)),
    "faiss": Provider("ssept.providers.faiss_index:cpu", (ENCODER_AND_INDEX,)),
    "openvino": Provider("ssept.providers.onnxruntime:openvino", ("onnx",)),
    "openvino_native": Provider("ssept.providers.openvino:f32", ("onnx",)),
    "openvino_native_bf16": Provider(
        "ssept.providers.openvino:bf16",
        ("onnx",),
        max_score_error=0.5,
        min_overlap=0.95,
        max_ndcg_loss=0.01,
    ),
    "cuda": Provider("ssept.providers.onnxruntime:cuda", ("onnx",), nvidia=True),
    "tensorrt": Provider(
        "ssept.providers.onnxruntime:tensorrt",
        ("onnx",),
        nvidia=True,
        max_score_error=0.06,
        min_overlap=0.99,
        max_ndcg_loss=0.01,
    ),
    "torch_cuda": Provider("ssept.providers.torch_cuda:float32", ("torch",), nvidia=True),
    "torch_cuda_bf16": Provider(
        "ssept.providers.torch_cuda:bfloat16",
        ("torch",),
        nvidia=True,
        max_score_error=0.5,
        min_overlap=0.95,
        max_ndcg_loss=0.01,
    ),
}


def load(
    checkpoint_or_artifact: str | Path | Artifact,
    variant: str = "onnx",
    provider: str = "cpu",
    threads: int = 1,
    options: Mapping[str, Value] | None = None,
    names: Mapping[str, str] | None = None,
) -> Session:
    """Load a model on a provider.

    Args:
        checkpoint_or_artifact: a checkpoint (of `ssept train`, or a state dict), whose variant is
            built if need be; a folder that `ssept build --out` wrote; an ONNX file of any exporter
            (then `variant` says nothing); or an `Artifact`. What a file is, its content decides.
        variant: a name in VARIANTS.
        provider: a name in PROVIDERS.
        threads: how many threads a call may use.
        options: the provider's options that override the defaults; `Provider.options()` of
            PROVIDERS names them.
        names: what an ONNX file calls its inputs and output, where they cannot be found, as
            `{"user": NAME, "sequence": NAME, "scores": NAME}`; also its `length`. None for what
            the variable SSEPT_ONNX_NAMES says.

    Raises:
        SseptError: no such variant or provider, or one of its packages is missing.
        ProviderError: no such option, or not such a value.
        CheckpointError: the checkpoint cannot be read.
        ArtifactError: the folder or the ONNX file cannot be used.
        FallbackError: another provider would run all or a part of it.
    """
    if provider not in PROVIDERS:
        raise SseptError(f"unknown provider {provider!r}; expected one of {', '.join(PROVIDERS)}")
    from ssept.providers.onnxruntime import check_one_onnxruntime

    check_one_onnxruntime()  # also for torch: results would name a version that is not there
    artifact = _artifact(checkpoint_or_artifact, variant, names)
    return PROVIDERS[provider].load(artifact, threads, options)


def _artifact(
    source: str | Path | Artifact, variant: str, names: Mapping[str, str] | None
) -> Artifact:
    if isinstance(source, Artifact):
        return source
    path = Path(source)
    if is_onnx(path):
        from ssept.providers.onnx.file import describe

        return describe(path, names)
    if path.is_dir():
        artifacts = read_artifacts(path)
        if variant not in artifacts:
            raise ArtifactError(
                f"{path}: does not contain {variant}; expected one of {', '.join(artifacts)}"
            )
        return artifacts[variant]
    return build(path, variant)


def applicable(variant: str, provider: str) -> bool:
    """Whether the provider runs the variant's format."""
    return VARIANTS[variant].format in PROVIDERS[provider].formats


def budget(variant: str, provider: str) -> Budget:
    """Return a cell's budget: the wider of its variant's and its provider's."""
    built, run = VARIANTS[variant], PROVIDERS[provider]
    return Budget(
        max(built.max_score_error, run.max_score_error),
        min(built.min_overlap, run.min_overlap),
        max(built.max_ndcg_loss, run.max_ndcg_loss),
    )
