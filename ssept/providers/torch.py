"""PyTorch, eager, on the CPU."""

import importlib.util
from typing import Any

from ssept.artifacts import Artifact
from ssept.providers.options import NoOptions
from ssept.providers.session import Ids, Scores, Session


class Torch:
    """PyTorch as a provider of checkpoints."""

    options = NoOptions()

    def unavailable(self) -> str | None:
        """Why torch cannot run here, or None."""
        missing = [name for name in ("torch", "safetensors") if not importlib.util.find_spec(name)]
        return f"{missing[0]} is not installed: install the train extra" if missing else None

    def load(self, artifact: Artifact, threads: int, options: NoOptions) -> Session:
        """Start a session of the checkpoint's own network."""
        del options
        return TorchSession(artifact, threads)


class TorchSession(Session):
    """The network itself. Threads are torch's own, one number for the whole process."""

    def __init__(self, artifact: Artifact, threads: int) -> None:
        super().__init__(artifact, threads)
        import torch

        from ssept.model.checkpoint import load_checkpoint

        self._torch = torch
        self._model: Any = load_checkpoint(artifact.path).model

    def _scores(self, user: Ids, sequence: Ids) -> Scores:
        torch = self._torch
        if torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        with torch.inference_mode():
            scores: Scores = self._call(torch.from_numpy(user), torch.from_numpy(sequence)).numpy()
        return scores

    def _call(self, user: Any, sequence: Any) -> Any:
        """Scores of tensors in the CPU's memory, there again: float32[B, items + 1]."""
        return self._model(user, sequence)

    def placement(self) -> dict[str, int]:
        """Count one module, on the device that holds its parameters: eager torch has no graph."""
        parameter = next(self._model.parameters())
        return {f"torch {parameter.device.type}": 1}


cpu = Torch()
