"""Quantizes an ONNX file with Intel Neural Compressor; runs in that tool's own environment.

The request on standard input: `model` and `destination`, paths; `config`, the keywords of
PostTrainingQuantConfig; `calibration`, an .npz file with `user` and `sequence`, or null.
"""

import json
import sys
from collections.abc import Iterator

import numpy as np
from neural_compressor import (  # type: ignore[import-not-found]
    PostTrainingQuantConfig,
    quantization,
)


class Batches:
    """The calibration sequences as the tool wants them: feeds and an unused label."""

    batch_size = 64

    def __init__(self, path: str) -> None:
        with np.load(path) as arrays:
            self.user, self.sequence = arrays["user"], arrays["sequence"]

    def __iter__(self) -> Iterator[tuple[dict[str, np.ndarray], None]]:
        for start in range(0, len(self.user), self.batch_size):
            rows = slice(start, start + self.batch_size)
            yield {"user": self.user[rows], "sequence": self.sequence[rows]}, None


def main() -> None:
    """Quantize as the request says."""
    request = json.load(sys.stdin)
    config = PostTrainingQuantConfig(**request["config"])
    batches = Batches(request["calibration"]) if request["calibration"] else None
    model = quantization.fit(request["model"], config, calib_dataloader=batches)
    if model is None:  # it has logged why
        sys.exit("Neural Compressor gave no model")
    model.save(request["destination"])
    print(json.dumps({}))


if __name__ == "__main__":
    main()
