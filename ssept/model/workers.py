"""The processes that train together, started by `torchrun`; one process needs none of it."""

import io
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, distributed


def is_first() -> bool:
    """Return whether this process is the only one or the first of those that train together."""
    return _count() == 1 or os.environ.get("RANK") == "0"


def _count() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


class Workers:
    """The processes of this training run.

    Attributes:
        rank: the number of this process.
        count: how many there are.
    """

    def __init__(self) -> None:
        """Join the others, if `torchrun` started this process as one of several."""
        self.count = _count()
        if self.count > 1 and not distributed.is_initialized():
            distributed.init_process_group("gloo")
        self.rank = distributed.get_rank() if self.count > 1 else 0

    def leave(self) -> None:
        """Leave the others, at the end."""
        if self.count > 1 and distributed.is_initialized():
            distributed.destroy_process_group()

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and shows."""
        return self.rank == 0

    def sum(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor with its sum over the processes."""
        if self.count > 1:
            for tensor in tensors:
                distributed.all_reduce(tensor)

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace each gradient with its sum; a process without one has zeros."""
        if self.count == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            distributed.all_reduce(parameter.grad)

    def interleaved(self, values: npt.NDArray[np.float64], total: int) -> npt.NDArray[np.float64]:
        """Join the values of every `count`-th of `total` rows, float64[rows], from all."""
        if self.count == 1:
            return values
        joined = np.zeros(total)
        joined[self.rank :: self.count] = values
        self.sum_arrays(joined)
        return joined

    def sum_arrays(self, *arrays: npt.NDArray[np.float64]) -> None:
        """Replace each array with its sum over the processes."""
        self.sum(map(torch.from_numpy, arrays))

    def of_first(self, value: float) -> float:
        """Return the first process's value."""
        if self.count == 1:
            return value
        tensor = torch.tensor([value], dtype=torch.float64)
        distributed.broadcast(tensor, 0)
        return float(tensor)

    def file_of_first(self, path: Path) -> io.BytesIO | None:
        """Return the content of the first process's file, None if it has none.

        The others may run on machines that do not share a disk with it.
        """
        content = path.read_bytes() if self.first and path.exists() else b""
        size = int(self.of_first(len(content)))
        if self.count > 1 and size:
            # A copy, since torch writes into what it is given.
            data = np.frombuffer(content, np.uint8).copy() if self.first else np.empty(size, "u1")
            distributed.broadcast(torch.from_numpy(data), 0)
            content = data.tobytes()
        return io.BytesIO(content) if size else None
