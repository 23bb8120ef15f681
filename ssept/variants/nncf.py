"""INT8 by NNCF, OpenVINO's own quantizer, which runs in an environment of its own, file to file.

It quantizes OpenVINO's format or an ONNX file. On ML-1M OpenVINO ran the second as fast as the
first (1.02 and 0.99 times at batch 1 and 64, one thread), with no measurable difference of NDCG
(top 10: 97.3 % and 97.8 %), and an ONNX file is smaller here (0.87 and 1.33 MB) and runs
everywhere. Its options are NNCF's own for transformers, SmoothQuant and bias correction included,
but for the weights of products, kept to 7 bits as the other quantizers do: see `neural_compressor`.
With 8 bits, which files for CPUs with VNNI alone could have, 98.3 % of the top 10 agreed instead of
97.3 % on ML-1M, and NDCG did not differ measurably.

Tables get a scale for each row, which OpenVINO reads row by row; ONNX Runtime's CPU provider
dequantizes the whole of them in each call (reading rows took 0.77 times as long at batch 1).
"""

import tempfile
from pathlib import Path

import numpy as np
import onnx

from ssept.environments import environment, pinned, run
from ssept.files import written_file
from ssept.variants import qdq
from ssept.variants.calibration import Calibration

FOLDER = Path(__file__).parent
REQUIREMENTS = FOLDER / "requirements" / "nncf.txt"
PROGRAM = FOLDER / "programs" / "nncf_quantize.py"
TOOLS = pinned(REQUIREMENTS, "nncf", "onnxruntime", "onnx")
MEGABYTES = 400


def static(base: Path, destination: Path, calibration: Calibration) -> None:
    """Quantize embeddings and products to INT8, by QDQ pairs; a softmax's product stays float32."""
    python = environment("nncf", REQUIREMENTS, MEGABYTES)
    with tempfile.TemporaryDirectory(prefix="ssept-") as name, written_file(destination) as result:
        arrays, quantized = Path(name) / "calibration.npz", Path(name) / "quantized.onnx"
        np.savez(arrays, user=calibration.user, sequence=calibration.sequence)
        request = {
            "model": str(base.resolve()),
            "destination": str(quantized),
            "calibration": str(arrays),
        }
        run(python, PROGRAM, request)
        qdq.save(onnx.load(quantized), result)
