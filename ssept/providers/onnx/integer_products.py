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
# Their names are plain text in a file, so that the package onnx is not needed to find them.
INTEGER_OPERATORS = re.compile(rb"MatMulInteger|QLinear|QGemm|QAttention|QuantizeLinear")
FIXED = Version("1.25")
ROWS, INNER, COLUMNS = 64, 50, 31  # two whole kernels, and fifteen columns behind sixteen
# Weights of 7 bits, as all variants have: without VNNI, ONNX Runtime adds pairs of products in 16
# bits (VPMADDUBSW), which 8-bit weights overflow on every such CPU, and in every version.
SEVEN_BITS, EIGHT_BITS = 64, 127


@functools.cache
def wrong_integer_products() -> str | None:
    """Return what is wrong and what to do; None where the products are right.

    Also None where onnxruntime cannot be imported, which others report.
    """
    if _right(SEVEN_BITS):
        return None
    import onnxruntime

    version = onnxruntime.__version__
    other = "1.25 or later, as in `tox -e cpu`" if Version(version) < FIXED else "another provider"
    return (
        f"onnxruntime {version} multiplies INT8 matrices wrongly on this CPU: "
        f"the provider cpu runs no INT8 variant with it; use {other}"
    )


@functools.cache
def eight_bits_overflow() -> bool:
    """Whether weights of 8 bits, not of 7, give wrong products on this CPU; False if not known."""
    return not _right(EIGHT_BITS) and _right(SEVEN_BITS)


def _right(most: int) -> bool:
    """Whether weights of -most to most are multiplied rightly; True without onnxruntime."""
    try:
        import onnxruntime

        session = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    except (ImportError, AttributeError):
        return True
    random = np.random.default_rng(0)
    a = random.integers(0, 256, (ROWS, INNER), dtype=np.uint8)
    b = random.integers(-most, most, (INNER, COLUMNS), dtype=np.int8)
    product: bool = np.array_equal(
        session.run(None, {"a": a, "b": b})[0], a.astype(int) @ b.astype(int)
    )
    return product


def overflow_of(model: Path) -> str:
    """Return what may be wrong with the 8-bit weights of an ONNX file here; empty if nothing."""
    if not (INTEGER_OPERATORS.search(model.read_bytes()) and eight_bits_overflow()):
        return ""
    return (
        "without VNNI, as here, the provider cpu adds pairs of 8-bit products in 16 bits, which "
        "signed weights of 8 bits overflow: if the accuracy is low, quantize with reduce_range=True"
    )


def check_integer_products(model: Path) -> None:
    """Refuse an ONNX file that multiplies 8-bit integers where that is done wrongly.

    Raises:
        MiscalculationError: its scores could be wrong here.
    """
    if (wrong := wrong_integer_products()) and INTEGER_OPERATORS.search(model.read_bytes()):
        raise MiscalculationError(wrong)  # one text, so that reports name all such cells at once
