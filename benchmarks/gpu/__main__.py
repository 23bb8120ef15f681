"""`python -m benchmarks.gpu`: measure the network on an NVIDIA GPU within some minutes.

It needs Python, torch, numpy and onnx alone, and no network. What else is missing, and what is
left out without it, it says first.
"""

import argparse
import importlib.util
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

DESCRIPTION = """\
Measure the network on an NVIDIA GPU: float32, TF32 and bfloat16, with and without CUDA graphs,
batches of 1 to 4096, catalogs of 10,000 to 1,000,000 items; the network as it was trained
("torch"), rewritten for inference ("fused"), and with the best items found by a kernel in Triton's
language ("fused_kernel"). Each cell is checked against the CPU, then timed beside the baseline.
What is measured is saved after each cell, a run for each catalog, which `ssept report` and
`ssept compare` read.

Exit codes: 0 all was measured that the time allowed; 1 a cell failed, or there is no GPU;
2 wrong arguments; 130 stopped by Ctrl-C.
"""
# What may be missing, and what is left out then.
OPTIONAL = {
    "safetensors": "the shipped weights and their golden outputs: random ones are measured",
    "pandas": "the shipped weights and their golden outputs: random ones are measured",
    "scipy": "p95 and p99",
    "triton": "fused_kernel",
    "pynvml": "energy",
    "psutil": "the description of the machine beyond the GPU",
    "tabulate": "the tables at the end",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and return the exit code."""
    started = time.monotonic()  # before torch is imported, which takes its time
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="a folder for the saved runs; made if need be"
    )
    parser.add_argument(
        "--minutes",
        type=_minutes,
        default=8.0,
        metavar="N",
        help="stop after about this long; few scores come first (default: %(default)g)",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="run a few cells on the CPU instead; the kernel is checked in Triton's interpreter, "
        "if that is installed; with --out it is saved, as of provider torch",
    )
    chosen = parser.parse_args(arguments)
    if chosen.out is None and not chosen.dry_run:
        parser.error("--out is missing: a folder for the saved runs")
    if chosen.dry_run:
        os.environ["TRITON_INTERPRET"] = "1"  # read when triton is first imported
    for package, lost in OPTIONAL.items():
        if importlib.util.find_spec(package) is None:
            print(f"{package} is not installed; without it: {lost}")
    from benchmarks.gpu.run import no_gpu, run
    from ssept.errors import SseptError

    if not chosen.dry_run and (reason := no_gpu()):
        print(f"{reason}; --dry-run runs a few cells on the CPU", file=sys.stderr)
        return 1
    try:
        return run(chosen.out, chosen.minutes * 60, started, dry_run=chosen.dry_run)
    except SseptError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; what was measured is saved", file=sys.stderr)
        return 130


def _minutes(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 < number <= 24 * 60:
        raise argparse.ArgumentTypeError(f"{text!r:.40}: expected minutes above 0, at most 1,440")
    return number


if __name__ == "__main__":
    sys.exit(main())
