"""Whether an NVIDIA GPU can be used here, asked of the driver alone."""

import ctypes

DRIVER = "libcuda.so.1"


def no_gpu() -> str | None:
    """Why no NVIDIA GPU can be used here, or None. Imports neither torch nor onnxruntime."""
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        return f"no NVIDIA driver: {DRIVER} is not found"
    if status := driver.cuInit(0):
        return f"the NVIDIA driver finds no GPU (cuInit returned {status})"
    return None
