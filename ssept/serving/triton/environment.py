"""The environment that the tritonserver of PyPI runs in, and perf_analyzer with it.

Neither wheel runs as it is installed: the server's has no backend directory and leaves Python's
own library to be found, perf_analyzer's names two libraries that it does not carry.
"""

import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from ssept.environments import environment
from ssept.errors import ServerError
from ssept.files import onnx_external

FOLDER = Path(__file__).parent
REQUIREMENTS = FOLDER / "requirements" / "triton.txt"
MEGABYTES = 350
PYTHONS = ((3, 11), (3, 12))  # of an onnxruntime without known faults, and of a numpy below 2
BACKEND = FOLDER / "backend" / "model.py"
# What perf_analyzer is linked with, under the names that the wheel of the server gives them.
LIBRARIES = {"libb64.so.0d": "libb64-*.so.0d", "libcudart.so.12": "libcudart-*.so.12*"}


@dataclass(frozen=True)
class Tools:
    """The programs of the environment.

    Attributes:
        python: its interpreter, which the server's Python backend runs.
    """

    python: Path

    @property
    def server(self) -> Path:
        """The program tritonserver."""
        return self._packages / "pytriton" / "tritonserver" / "bin" / "tritonserver"

    @property
    def perf_analyzer(self) -> Path:
        """The program perf_analyzer."""
        return self.python.with_name("perf_analyzer")

    def server_variables(self) -> dict[str, str]:
        """Return the environment variables of the server.

        Without the wheel's libraries in the path the backend's process does not end; the first
        `python` of PATH decides which packages it has.
        """
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name not in ("PYTHONHOME", "PYTHONPATH")
        }
        libraries = (self._libraries, sysconfig.get_config_var("LIBDIR"))
        return inherited | {
            # In both an empty name would be the current folder.
            "PATH": f"{self.python.parent}:{os.environ.get('PATH') or os.defpath}",
            "LD_LIBRARY_PATH": ":".join(str(folder) for folder in libraries if folder),
            "PYTHONDONTWRITEBYTECODE": "1",  # else beside the backend, in this package's folder
        }

    def copy_backends(self, folder: Path) -> None:
        """Make the server's backend directory: `python`, and `onnxruntime` in Python.

        The server refuses links that lead out of it.
        """
        server = self.server.parents[1]
        version = ".".join(map(str, sys.version_info[:2]))
        stub = server / "python_backend_stubs" / version / "triton_python_backend_stub"
        for file in (*(server / "backends" / "python").glob("*.*"), stub):
            _copy(file, folder / "python")
        for file in (BACKEND, Path(onnx_external.__file__)):
            _copy(file, folder / "onnxruntime")

    def link_libraries(self, folder: Path) -> None:
        """Put what perf_analyzer is linked with into a folder for LD_LIBRARY_PATH."""
        for name, pattern in LIBRARIES.items():
            (file,) = self._libraries.glob(pattern)
            (folder / name).symlink_to(file)

    @property
    def _packages(self) -> Path:
        version = ".".join(map(str, sys.version_info[:2]))
        return self.python.parents[1] / "lib" / f"python{version}" / "site-packages"

    @property
    def _libraries(self) -> Path:
        return self._packages / "nvidia_pytriton.libs"


def tools() -> Tools:
    """Return the programs of the environment, which is made in the cache at the first call.

    Raises:
        ServerError: this Python cannot run the server.
        SseptError: the environment cannot be made.
    """
    version = sys.version_info[:2]
    if not PYTHONS[0] <= version <= PYTHONS[1]:
        first, last = (".".join(map(str, bound)) for bound in PYTHONS)
        raise ServerError(
            f"this is Python {'.'.join(map(str, version))}, and the tritonserver of PyPI needs one "
            f"of {first} to {last}, those with a safe onnxruntime and a numpy below 2; or use its "
            "container: --docker"
        )
    return Tools(environment("triton", REQUIREMENTS, MEGABYTES))


def _copy(file: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy2(file, folder)
