"""PyTorch compiled by inductor, on the CPU."""

import os
import shutil
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ssept.artifacts import Artifact
from ssept.errors import FallbackError, ProviderError
from ssept.providers.options import tried
from ssept.providers.session import Ids, Scores, Session
from ssept.providers.torch import Torch, TorchSession

DEFAULT_COMPILER = "g++"  # inductor's own, unless CXX names another
# Past torch's own limit of 8 a new shape is refused; this leaves room for one graph a length.
MOST_GRAPHS = 128


@dataclass(frozen=True)
class CompileOptions:
    """Options of `torch.compile`.

    `dynamic` compiles one graph for one sequence of any length, when a session is loaded, and one
    for any number of them, when there first are several. Without it each new shape costs a
    compilation of 8 to 12 s, which the lengths of real histories do not allow, and gained 2 to 10 %
    on the shipped model at batch 1, 2 to 5 % at batch 8 (one thread).
    """

    dynamic: bool = True
    mode: Literal["default", "max-autotune-no-cudagraphs"] = tried(
        "default", "max-autotune-no-cudagraphs"
    )


class TorchCompile(Torch):
    """`torch.compile` as a provider of checkpoints."""

    options: Any = CompileOptions()

    def unavailable(self) -> str | None:
        """Why it cannot run here, or None: inductor writes C++ and has it compiled."""
        if reason := super().unavailable():
            return reason
        compiler = os.environ.get("CXX", DEFAULT_COMPILER)
        if shutil.which(compiler):
            return None
        return f"torch.compile needs a C++ compiler: {compiler} is not found; install g++"

    def load(self, artifact: Artifact, threads: int, options: Any) -> Session:
        """Start a session of the checkpoint's network, compiled."""
        return CompiledSession(artifact, threads, options)


class CompiledSession(TorchSession):
    """The network as one compiled graph a call; a graph break is refused, as is eager torch."""

    def __init__(self, artifact: Artifact, threads: int, options: CompileOptions) -> None:
        super().__init__(artifact, threads)
        from torch._dynamo.exc import FailOnRecompileLimitHit

        self._refusals = (RuntimeError, FailOnRecompileLimitHit)
        self._compiled = self._torch.compile(
            self._model,
            fullgraph=True,
            dynamic=options.dynamic,
            mode=options.mode,
            isolate_recompiles=True,  # sessions of one process would share the limit else
            recompile_limit=MOST_GRAPHS,
        )
        self._graphs = self._compile()

    def _compile(self) -> int:
        """Compile for one sequence; the number of graphs that a call takes.

        Torch runs eagerly without a word where its environment switches the compiler off.
        """
        from torch._dynamo.utils import counters

        before = counters["stats"]["unique_graphs"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own deprecations, on its first compilation
            self.scores(np.ones(1), np.ones((1, self.artifact.model.max_length)))
        graphs: int = counters["stats"]["unique_graphs"] - before
        if not graphs:
            raise FallbackError(
                "torch.compile compiled nothing, and eager torch would run instead; is "
                "TORCHDYNAMO_DISABLE or TORCH_COMPILE_DISABLE set?"
            )
        return graphs

    def _scores(self, user: Ids, sequence: Ids) -> Scores:
        try:
            return super()._scores(user, sequence)
        except self._refusals as error:
            reason = next(line for line in str(error).splitlines() if line.strip())
            raise ProviderError(
                f"torch.compile does not run {self.artifact.path.name} on sequences "
                f"{list(sequence.shape)}: {reason}"
            ) from error

    def _call(self, user: Any, sequence: Any) -> Any:
        return self._compiled(user, sequence)

    def placement(self) -> dict[str, int]:
        """Count the graphs of a call; with fullgraph=True there is no break between them."""
        return {"inductor cpu": self._graphs}


cpu = TorchCompile()
