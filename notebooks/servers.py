"""The servers of benchmark_serving: started here, or others whose addresses are given."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from ssept import SseptError, shipped_checkpoint
from ssept.serving.launch import ssept_serve
from ssept.serving.launch.supervised import ADDRESS
from ssept.serving.settings import DATA_VARIABLE, ServerSettings
from ssept.serving.triton import server as triton
from ssept.serving.triton.repository import BEST, write_repository
from ssept.variants import build

VARIANT = "fused_topk"
K = 10
Address = tuple[str, int]


@contextmanager
def servers() -> Iterator[dict[str, Address]]:
    """Run both servers of the shipped model for the time of the block; say why one is missing.

    SSEPT_FASTAPI=HOST:PORT and SSEPT_TRITON=HOST:PORT name servers that run already.
    """
    os.environ.pop(DATA_VARIABLE, None)  # the shipped model is of other data
    found: dict[str, Address] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ssept-")))
        for name, start in STARTS.items():
            host, _, port = os.environ.get(f"SSEPT_{name.upper()}", "").rpartition(":")
            try:
                found[name] = (host, int(port)) if host else stack.enter_context(start(folder))
            except SseptError as error:
                print(f"{name} is not measured: {error}")
        yield found


@contextmanager
def _fastapi(folder: Path) -> Iterator[Address]:
    settings = ServerSettings(variants=(VARIANT,), max_top_k=K)
    with ssept_serve.running(settings, folder / "fastapi.log") as server:
        yield server.address


@contextmanager
def _triton(folder: Path) -> Iterator[Address]:
    repository = folder / "models"
    write_repository(build(shipped_checkpoint(), VARIANT), repository, k=K, outputs=[BEST])
    with triton.running(repository, folder / "triton.log", triton.free_ports()) as server:
        yield ADDRESS, server.ports.http


STARTS: dict[str, Callable[[Path], AbstractContextManager[Address]]] = {
    "FastAPI": _fastapi,
    "Triton": _triton,
}
