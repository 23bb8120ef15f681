"""Whether this build of ONNX Runtime multiplies matrices of 8-bit integers rightly on this CPU.

1.24 does not where the CPU has AMX: of 32 rows in a kernel, the last has wrong sums in the columns
behind the last whole sixteen (github.com/microsoft/onnxruntime/pull/27671, in 1.25).
"""

import base64
import functools
import re
from pathlib import Path

import numpy as np
from packaging.version import Version

from ssept.errors import MiscalculationError

# One MatMulInteger: a uint8[m, k], b int8[k, n] to y int32[m, n]. As bytes, since the package onnx,
# which would make it, is not there on a small board; a test makes it again.
MODEL = base64.b64decode(
    "CAgSADpiChgKAWEKAWISAXkiDU1hdE11bEludGVnZXISAXBaFQoBYRIQCg4IAhIKCgMSAW0KAxIBa1oVCgFiEhAKDggD"
    "EgoKAxIBawoDEgFuYhUKAXkSEAoOCAYSCgoDEgFtCgMSAW5CBAoAEBE="
)
# The operators that multiply 8-bit integers, or become such a product when a session starts.
INTEGER_OPERATORS = re.compile(rb"MatMulInteger|QLinear|QGemm|QAttention|QuantizeLinear")
FIXED = Version("1.25")
ROWS, INNER, COLUMNS = 64, 50, 31  # two whole kernels, and fifteen columns behind sixteen
# Weights of 7 bits, as all variants have: without VNNI, ONNX Runtime adds pairs of products in 16
# bits (VPMADDUBSW), which 8-bit weights overflow on every such CPU, and in every version.
MOST = 64


@functools.cache
def wrong_integer_products() -> str | None:
    """Return what is wrong and what to do; None where the products are right.

    Also None where onnxruntime cannot be imported, which others report.
    """
    try:
        import onnxruntime

        session = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    except (ImportError, AttributeError):
        return None
    random = np.random.default_rng(0)
    a = random.integers(0, 256, (ROWS, INNER), dtype=np.uint8)
    b = random.integers(-MOST, MOST, (INNER, COLUMNS), dtype=np.int8)
    if np.array_equal(session.run(None, {"a": a, "b": b})[0], a.astype(int) @ b.astype(int)):
        return None
    version = onnxruntime.__version__
    other = "1.25 or later, as in `tox -e cpu`" if Version(version) < FIXED else "another provider"
    return (
        f"onnxruntime {version} multiplies INT8 matrices wrongly on this CPU: "
        f"the provider cpu runs no INT8 variant with it; use {other}"
    )


def check_integer_products(model: Path) -> None:
    """Refuse an ONNX file that multiplies 8-bit integers where that is done wrongly.

    Raises:
        MiscalculationError: its scores could be wrong here.
    """
    # The names of operators are plain text in the file, so that the package onnx is not needed.
    if (wrong := wrong_integer_products()) and INTEGER_OPERATORS.search(model.read_bytes()):
        raise MiscalculationError(wrong)  # one text, so that reports name all such cells at once
