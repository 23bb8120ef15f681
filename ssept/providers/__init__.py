"""How a model file runs. A new provider is one module and one line in PROVIDERS."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ssept.artifacts import Artifact
from ssept.errors import ProviderError, SseptError
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
    """A session of a checkpoint's variant (built if need be), or of an artifact, on a provider.

    Raises:
        SseptError: no such variant or provider, or one of its packages is missing.
        CheckpointError: the checkpoint cannot be read.
        FallbackError: another provider would run all or a part of it.
    """
    if provider not in PROVIDERS:
        raise SseptError(f"no provider {provider!r}; there are {', '.join(PROVIDERS)}")
    if isinstance(checkpoint_or_artifact, Artifact):
        artifact = checkpoint_or_artifact
    else:
        artifact = build(Path(checkpoint_or_artifact), variant)
    return PROVIDERS[provider].load(artifact, threads)


def applicable(variant: str, provider: str) -> bool:
    """Whether the provider runs the variant's format."""
    return VARIANTS[variant].format in PROVIDERS[provider].formats
