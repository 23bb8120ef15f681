"""PyTorch with torchao's dynamic INT8, compiled by inductor, on the CPU.

The linear layers multiply INT8 weights, one scale a row, with activations that each call rounds to
INT8, one scale a token. Attention's products and the scores, a product with the item table, stay
in float32, and so do the embeddings: torchao quantizes linear layers alone.

Of what torch offers for a CPU this is the fastest on the ML-1M model, against `onnx` on `cpu` at
batch 1 and 64, one thread: 0.47 and 1.02 times as fast. The same without a compiler: 0.10 and
0.58; `torch.ao.quantization.quantize_dynamic`, deprecated: 0.35 and 0.91, compiled 0.22 and 0.76;
inductor's freezing gave 0.46 and 1.05, float32 compiled 0.53 and 0.65.
"""

import importlib.util
import logging
from collections import Counter
from typing import Any

import numpy as np

from ssept.artifacts import Artifact
from ssept.errors import FallbackError
from ssept.providers.session import Ids, Scores, Session
from ssept.providers.torch import TorchSession
from ssept.providers.torch_compile import CompiledSession, TorchCompile

INT8_PRODUCT = "aten::_int_mm"
FLOAT_PRODUCTS = ("aten::mm", "aten::bmm", "aten::addmm", "aten::baddbmm")
NOISY = ("torchao", "torch.utils._pytree")  # on GPU libraries that are not there, and an own enum


class TorchAo(TorchCompile):
    """torchao as a provider of checkpoints."""

    def unavailable(self) -> str | None:
        """Why it cannot run here, or None."""
        if reason := super().unavailable():
            return reason
        if not importlib.util.find_spec("torchao"):
            return "torchao is not installed: install the torchao extra"
        return None

    def load(self, artifact: Artifact, threads: int, options: Any) -> Session:
        """Start a session of the checkpoint's network, quantized and compiled."""
        return CompiledInt8Session(artifact, threads, options)


class Int8Session(TorchSession):
    """The network with INT8 linear layers."""

    def __init__(self, artifact: Artifact, threads: int) -> None:
        super().__init__(artifact, threads)
        for name in NOISY:
            logging.getLogger(name).setLevel(logging.ERROR)
        from torchao.quantization import (
            Int8DynamicActivationInt8WeightConfig,
            Int8Tensor,
            quantize_,
        )
        from torchao.utils import should_reduce_range

        config = Int8DynamicActivationInt8WeightConfig(
            reduce_range=should_reduce_range(self._torch.device("cpu")),
            set_inductor_config=False,  # it would set them, and torch's precision, for all sessions
        )
        quantize_(self._model, config)
        self._layers = sum(isinstance(weight, Int8Tensor) for weight in self._model.parameters())
        if not self._layers:
            raise FallbackError(
                f"torchao quantized no layer of {artifact.path.name}, and float32 would run instead"
            )


class CompiledInt8Session(CompiledSession, Int8Session):
    """The quantized network, compiled. The order of the classes has it quantized first."""

    def _scores(self, user: Ids, sequence: Ids) -> Scores:
        # A matrix of one row is multiplied wrongly on CPUs with AMX (torch 2.13: `_int_mm` steps
        # through it by the stride that inductor gives a dimension of one). So a single item gets
        # padding before it.
        if sequence.size == 1:
            sequence = np.pad(sequence, ((0, 0), (1, 0)))
        return super()._scores(user, sequence)

    def placement(self) -> dict[str, int]:
        """Count the products of a call in INT8 and in float32, from its profile.

        Raises:
            FallbackError: fewer ran in INT8 than there are INT8 layers.
        """
        from torch.autograd import profiler

        longest = self.artifact.model.max_length
        with profiler.profile() as profile:
            self.scores(np.ones(1), np.ones((1, longest)))
        ran = Counter(event.name for event in profile.function_events)
        int8 = ran[INT8_PRODUCT]
        if int8 < self._layers:
            raise FallbackError(
                f"torchao made {self._layers} layers INT8, but a call has {int8} INT8 products only"
            )
        others = sum(ran[name] for name in FLOAT_PRODUCTS)
        return {"inductor int8": int8, "inductor float32": others}


cpu = TorchAo()
