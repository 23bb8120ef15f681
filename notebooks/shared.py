"""What the notebooks share: where they run, what the matrix measures, how plots are drawn."""

import os
import shlex
import subprocess
import sys
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

import altair as alt

CLONE = Path(__file__).resolve().parents[1]
VARIANTS = "torch,onnx,onnx_graph,quant_dynamic,quant_static_aggressive,fused_topk,fused_int8_topk"
PROVIDERS = "cpu,openvino,openvino_native"
DATA = "MOVIELENS_DATA_DIR"
SHIPPED = "--artifacts=models"  # the files of models/, which need no torch


def begin() -> tuple[Path, float]:
    """Go to the clone, put this kernel's commands first, and draw plots without a network.

    Returns:
        The folder for the runs of this session, also $RUNS; the seconds to measure a cell or a
        load for, also $CELL_SECONDS.
    """
    os.chdir(CLONE)
    os.environ["PATH"] = os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    )
    default = f"results/notebooks/{datetime.now():%Y%m%d-%H%M%S}"
    runs = os.environ["RUNS"] = os.environ.get("SSEPT_NOTEBOOK_RUNS") or default
    seconds = os.environ["CELL_SECONDS"] = os.environ.get("SSEPT_NOTEBOOK_SECONDS") or "4"
    os.environ |= {"COLUMNS": "100", "NO_COLOR": "1"}  # of pytest; the kernel asks for colours
    alt.renderers.enable("svg")
    return Path(runs), float(seconds)


def printed(*words: str) -> str:
    """Run a command of ssept, and return what it prints; its errors are shown as ever."""
    command = [sys.executable, "-m", "ssept.cli", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603
    return done.stdout


def machine() -> None:
    """Print this machine and its providers: the first parts of `ssept doctor`."""
    print("\n\n".join(printed("doctor", "--seconds=0.3").split("\n\n")[:2]))


def every_variant() -> list[str]:
    """Return the options of the matrix for all that can be measured here; say what cannot."""
    if artifacts := os.environ.get("SSEPT_ARTIFACTS"):
        return [f"--artifacts={artifacts}", f"--providers={PROVIDERS}"]
    if find_spec("torch"):
        return [f"--variants={VARIANTS}", f"--providers=torch,{PROVIDERS}"]
    print("torch is not installed: only the model files of models/ are measured")
    if data := os.environ.pop(DATA, ""):
        print(
            f"{DATA}={data} is left out, since these files are of the synthetic data: build others "
            "elsewhere by `ssept build --out=DIR`, and name them by SSEPT_ARTIFACTS=DIR"
        )
    return [SHIPPED, f"--providers={PROVIDERS}"]


def measure(*options: str) -> None:
    """Let the next `python -m pytest` have these options, and those of SSEPT_NOTEBOOK_OPTIONS."""
    own = os.environ.get("SSEPT_NOTEBOOK_OPTIONS", "")
    chosen = shlex.join(options)
    os.environ["PYTEST_ADDOPTS"] = f"-p no:cacheprovider {chosen} {own}"
    print(f"options: {chosen} {own}".rstrip())
