"""A network on a device as a session: what a call is given and what it gives are the host's."""

from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu.best import by_blocks, by_scores, scores_of
from ssept.artifacts import Artifact
from ssept.providers.session import Ids, Scores, Session
from ssept.providers.torch_cuda import Graph


class Network(Protocol):
    """What is measured: a state, and the items that it is multiplied with."""

    @property
    def items(self) -> Tensor:
        """The rows of the items, [N + 1, w]; row 0 is padding."""

    def __call__(self, user: Tensor, sequence: Tensor) -> Tensor:
        """State of the last position: int64[B] and int64[B, L] to [B, w]."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a network is run.

    Attributes:
        kernel: whether the best are found by the kernel, and not among all scores.
        graphs: whether a call is captured as a CUDA graph once for each shape.
        tf32: whether float32 products may round their inputs to TF32.
    """

    kernel: bool = False
    graphs: bool = False
    tf32: bool = False


class GpuSession(Session):
    """A network that lies on a device already."""

    def __init__(self, artifact: Artifact, network: Network, device: str, way: Way) -> None:
        super().__init__(artifact, threads=1)
        self.finds_best = True
        self.compiles_shapes = way.graphs
        self._network, self._device, self._way = network, torch.device(device), way
        self._graphs: dict[tuple[int, ...], Graph] = {}

    def _scores(self, user: Ids, sequence: Ids) -> Scores:
        self._set_precision()
        with torch.inference_mode():
            given = (torch.from_numpy(each).to(self._device) for each in (user, sequence))
            state = self._network(*given)
            scores: Scores = scores_of(state, self._network.items).cpu().numpy()
        return scores

    def _head(self, user: Ids, sequence: Ids, k: int, exclude: Ids) -> tuple[Ids, Scores]:
        more = min(k + exclude.shape[1], self.artifact.model.items)
        self._set_precision()
        with torch.inference_mode():
            found = self._found(torch.from_numpy(user), torch.from_numpy(sequence), more)
            ids, scores = (each.cpu().numpy() for each in found)
        if not exclude.size:
            return ids, scores
        left_out = (ids[:, :, None] == exclude[:, None, :]).any(axis=2)
        kept = np.argsort(left_out, axis=1, kind="stable")[:, :k]
        scores = np.where(left_out, -np.inf, scores)
        return np.take_along_axis(ids, kept, axis=1), np.take_along_axis(scores, kept, axis=1)

    def _found(self, user: Tensor, sequence: Tensor, k: int) -> tuple[Tensor, Tensor]:
        if not self._way.graphs:
            return self._best(user.to(self._device), sequence.to(self._device), k)
        key = (*sequence.shape, k)
        if key not in self._graphs:
            best_k = partial(self._best, k=k)
            self._graphs[key] = Graph(best_k, user, sequence, self._device)
        best: tuple[Tensor, Tensor] = self._graphs[key].replay(user, sequence)
        return best

    def _best(self, user: Tensor, sequence: Tensor, k: int) -> tuple[Tensor, Tensor]:
        state, items = self._network(user, sequence), self._network.items
        if self._way.kernel:
            return by_blocks(state.contiguous(), items, k, tf32=self._way.tf32)
        return by_scores(state, items, k)

    def _set_precision(self) -> None:
        """Set torch's switch, which is one of the whole process."""
        torch.backends.cuda.matmul.allow_tf32 = self._way.tf32

    def placement(self) -> dict[str, int]:
        """One network, on the device and in the type of its items."""
        items = self._network.items
        return {f"torch {items.device.type} {str(items.dtype).removeprefix('torch.')}": 1}
