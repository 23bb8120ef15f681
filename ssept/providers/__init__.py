"""How a model file runs. A new provider is one module and one line in PROVIDERS."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ssept.artifacts import Artifact, read_artifacts
from ssept.errors import ArtifactError, ProviderError, SseptError
from ssept.providers.session import Session
from ssept.variants import VARIANTS, build


class Engine(Protocol):
    """What a provider's module offers to the table."""

    def unavailable(self) -> str | None:
        """Why this provider cannot run here and what to install, or None."""

    def load(self, artifact: Artifact, threads: int) -> Session:
        """A session; raises FallbackError if another provider would run a part of it."""


@dataclass(frozen=True)
class Provider:
    """One way to run an artifact.

    Attributes:
        engine: "module:object"; the module is imported only when the provider is used.
        formats: the artifact formats that it runs.
        shown_as: what it calls itself in proofs of use.
    """

    engine: str
    formats: tuple[str, ...]

    def unavailable(self) -> str | None:
        """Why this provider cannot run here and what to install, or None."""
        return self._engine().unavailable()

    def load(self, artifact: Artifact, threads: int) -> Session:
        """A session of an artifact with so many threads.

        Raises:
            ProviderError: the provider is unavailable, or cannot run the artifact.
            FallbackError: another provider would run all or a part of it.
        """
        if artifact.format not in self.formats:
            raise ProviderError(
                f"{artifact.path.name} is a {artifact.format} file; this provider runs "
                f"{', '.join(self.formats)}"
            )
        if reason := self.unavailable():
            raise ProviderError(reason)
        return self._engine().load(artifact, threads)

    def _engine(self) -> Engine:
        module, name = self.engine.split(":")
        engine: Engine = getattr(importlib.import_module(module), name)
        return engine


PROVIDERS = {
    "torch": Provider("ssept.providers.torch:torch_cpu", ("torch",)),
    "cpu": Provider("ssept.providers.onnxruntime:cpu", ("onnx",)),
    "openvino": Provider("ssept.providers.onnxruntime:openvino", ("onnx",)),
    "cuda": Provider("ssept.providers.onnxruntime:cuda", ("onnx",)),
    "tensorrt": Provider("ssept.providers.onnxruntime:tensorrt", ("onnx",)),
}


def load(
    checkpoint_or_artifact: str | Path | Artifact,
    variant: str = "onnx",
    provider: str = "cpu",
    threads: int = 1,
) -> Session:
    """A session of a model on a provider.

    Args:
        checkpoint_or_artifact: a checkpoint (`.safetensors`, or the state dict of a `.pth`),
            whose variant is built if need be; a folder that `ssept build --out` wrote; an
            ONNX file of any exporter (then `variant` says nothing); or an `Artifact`.
        variant: a name in VARIANTS.
        provider: a name in PROVIDERS.
        threads: how many threads a call may use.

    Raises:
        SseptError: no such variant or provider, or one of its packages is missing.
        CheckpointError: the checkpoint cannot be read.
        ArtifactError: the folder or the ONNX file cannot be used.
        FallbackError: another provider would run all or a part of it.
    """
    if provider not in PROVIDERS:
        raise SseptError(f"no provider {provider!r}; there are {', '.join(PROVIDERS)}")
    return PROVIDERS[provider].load(_artifact(checkpoint_or_artifact, variant), threads)


def _artifact(source: str | Path | Artifact, variant: str) -> Artifact:
    if isinstance(source, Artifact):
        return source
    path = Path(source)
    if path.suffix == ".onnx":
        from ssept.providers.onnx_file import describe

        return describe(path)
    if path.is_dir():
        artifacts = read_artifacts(path)
        if variant not in artifacts:
            raise ArtifactError(f"{path}: has no {variant}; it has {', '.join(artifacts)}")
        return artifacts[variant]
    return build(path, variant)


def applicable(variant: str, provider: str) -> bool:
    """Whether the provider runs the variant's format."""
    return VARIANTS[variant].format in PROVIDERS[provider].formats
