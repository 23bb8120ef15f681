"""INT8 by ONNX Runtime's own quantizer, a peer of Intel Neural Compressor's on the same graph."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process

from ssept.files import written_file
from ssept.variants.calibration import Calibration

BATCH_SIZE = 64


class Batches(quantization.CalibrationDataReader):  # type: ignore[misc]
    """The calibration sequences, some at a time."""

    def __init__(self, calibration: Calibration) -> None:
        self._batches = self._feeds(calibration)

    def get_next(self) -> dict[str, npt.NDArray[np.int64]] | None:
        """Return the next feeds, or None at the end."""
        return next(self._batches, None)

    @staticmethod
    def _feeds(calibration: Calibration) -> Iterator[dict[str, npt.NDArray[np.int64]]]:
        for start in range(0, len(calibration.user), BATCH_SIZE):
            rows = slice(start, start + BATCH_SIZE)
            yield {"user": calibration.user[rows], "sequence": calibration.sequence[rows]}


def dynamic(base: Path, destination: Path) -> None:
    """Quantize weights and embeddings to INT8; each batch gives the ranges of its activations.

    Weights are unsigned, whose products with unsigned activations overflow on no CPU: they have
    all 8 bits. Against 7 signed ones that took a quarter off the error of the scores, at the same
    speed on a CPU with VNNI.
    """
    weights = {"weight_type": quantization.QuantType.QUInt8, "reduce_range": False}
    _quantize(base, destination, quantization.quantize_dynamic, **weights)


def static(base: Path, destination: Path, calibration: Calibration) -> None:
    """Quantize products and embeddings to INT8, by QDQ pairs; weights to 7 bits as elsewhere.

    Over all operators, which is the default, NDCG falls by 37 to 48 %: the mask of -1e4 in front
    of the softmax then sets the range of the attention scores, and all of them round to zero.
    """
    _quantize(
        base,
        destination,
        quantization.quantize_static,
        weight_type=quantization.QuantType.QInt8,
        reduce_range=True,
        calibration_data_reader=Batches(calibration),
        quant_format=quantization.QuantFormat.QDQ,
        # Signed ones, the default, meet no fast kernel on x86: calls took 2.8 times as long.
        activation_type=quantization.QuantType.QUInt8,
        op_types_to_quantize=["MatMul", "Gather"],
        # 256 levels for the scores of thousands of items would tie most of them.
        extra_options={"OpTypesToExcludeOutputQuantization": ["MatMul"]},
    )


def _quantize(base: Path, destination: Path, function: Any, **options: Any) -> None:
    with tempfile.TemporaryDirectory(prefix="ssept-") as name, written_file(destination) as result:
        prepared = Path(name) / "prepared.onnx"
        quant_pre_process(base, prepared, skip_symbolic_shape=True)
        function(
            prepared,
            result,
            per_channel=True,
            **options,
        )
