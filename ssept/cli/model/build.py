"""`ssept build`: the model files of a checkpoint, for this machine or to copy to another."""

import argparse
import os
import shutil
import sys
from collections import defaultdict
from pathlib import Path

from tabulate import tabulate
from tqdm import tqdm

from ssept.artifacts import Artifact
from ssept.artifacts.manifests import copy_artifacts
from ssept.cli.arguments import known_names, positive
from ssept.errors import SseptError
from ssept.files import check_model_path, written_file
from ssept.installation import shipped_checkpoint, shipped_folder
from ssept.measure.golden import golden_path
from ssept.report.text import BYTES_PER_MEGABYTE, NOTHING
from ssept.variants import BASELINE, VARIANTS, at_hand, build
from ssept.variants.parallel import Outcome, build_all

HELP = "build variants of a checkpoint; variants in the cache are not built again"
EPILOG = (
    "The table shows the size of each file (in MB, and as a share of the FP32 export), whether it "
    "was cached, shipped or built and in how many seconds, and its path. Exit code 1: a variant "
    "could not be built; the others are in the cache."
)
EXAMPLES = {
    "build all ONNX variants of the shipped checkpoint": "ssept build",
    "copy two variants to a folder for another machine": (
        "ssept build --variants=fused_topk,fused_int8_topk --out=artifacts"
    ),
    "build from your own checkpoint": (
        "ssept build --checkpoint=model.safetensors --data=prepared"
    ),
}
BUILT = tuple(name for name, variant in VARIANTS.items() if variant.build)
DEFAULT = tuple(name for name in BUILT if VARIANTS[name].format == "onnx")  # need no more extras


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--checkpoint",
        type=Path,
        default=shipped_checkpoint(),
        metavar="FILE",
        help="checkpoint to build from",
    )
    parser.add_argument(
        "--variants",
        default=",".join(DEFAULT),
        metavar="NAMES",
        help="variants to build, separated by commas (default: all ONNX variants)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="folder of the data that the checkpoint was trained on, prepared or raw; needed for "
        "calibrated variants that are not in the cache, unless it was the synthetic data",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="copy the files to this folder, with a manifest, for a machine without torch; nothing "
        "is copied if a variant could not be built",
    )
    parser.add_argument(
        "--no-shipped",
        action="store_true",
        help="also build the files that ssept ships in models/",
    )
    parser.add_argument(
        "--jobs",
        type=positive,
        default=len(os.sched_getaffinity(0)),
        metavar="N",
        help="variants to build at the same time; each needs about 0.5 GB of memory",
    )
    parser.set_defaults(run=_build)


def _build(arguments: argparse.Namespace) -> int:
    names = known_names("--variants", arguments.variants, BUILT)
    if arguments.out:
        check_model_path(arguments.out)
    outcomes = sorted(_with_progress(arguments, names), key=lambda one: names.index(one.variant))
    artifacts = {one.variant: one.result for one in outcomes if isinstance(one.result, Artifact)}
    failed = len(artifacts) < len(names)
    if arguments.out and not failed:
        copies = copy_artifacts(artifacts.values(), arguments.out)
        artifacts = {copy.variant: copy for copy in copies}
        _copy_golden(arguments.checkpoint, arguments.out)
    if artifacts:
        print(_table(outcomes, artifacts, _baseline_bytes(arguments.checkpoint)))
    _tell_errors(outcomes)
    if failed and arguments.out:
        print(
            f"ssept: nothing was copied to {arguments.out}, because not all variants were built",
            file=sys.stderr,
        )
    return int(failed)


def _with_progress(arguments: argparse.Namespace, names: list[str]) -> list[Outcome]:
    """Build, with a bar that shows what is being built."""
    outcomes = []
    with tqdm(total=len(names), unit="variant", disable=None, leave=False) as bar:
        for outcome in build_all(
            arguments.checkpoint,
            names,
            arguments.data,
            arguments.jobs,
            lambda running: bar.set_description(", ".join(running)),
            shipped=not arguments.no_shipped,
        ):
            outcomes.append(outcome)
            bar.update()
    return outcomes


def _copy_golden(checkpoint: Path, folder: Path) -> None:
    golden = golden_path(checkpoint)
    if golden.is_file():
        with written_file(folder / golden.name) as temporary:
            shutil.copyfile(golden, temporary)


def _baseline_bytes(checkpoint: Path) -> int | None:
    """Return the size of the FP32 export; None if it is not in the cache."""
    kept = at_hand(build(checkpoint, str(VARIANTS[BASELINE].base)), BASELINE)
    return kept.size_bytes if kept else None


def _table(outcomes: list[Outcome], artifacts: dict[str, Artifact], baseline: int | None) -> str:
    rows = []
    for outcome in outcomes:
        if artifact := artifacts.get(outcome.variant):
            share = f"{artifact.size_bytes / baseline:.0%}" if baseline else NOTHING
            took = "cached" if outcome.seconds is None else f"built {outcome.seconds:.1f} s"
            if artifact.path.parent == shipped_folder():
                took = "shipped"
            megabytes = f"{artifact.size_bytes / BYTES_PER_MEGABYTE:.2f}"
            rows.append((artifact.variant, megabytes, share, took, artifact.path))
    return tabulate(
        rows,
        headers=("variant", "MB", f"of {BASELINE}", "state", "file"),
        tablefmt="plain",
        colalign=("left", "right", "right", "left", "left"),
        disable_numparse=True,
    )


def _tell_errors(outcomes: list[Outcome]) -> None:
    """Print a line for each error, with all the variants that failed by it."""
    variants = defaultdict(list)
    for outcome in outcomes:
        if isinstance(outcome.result, SseptError):
            variants[" ".join(str(outcome.result).split())].append(outcome.variant)
    for message, names in variants.items():
        print(f"ssept: error: {', '.join(names)}: {message}", file=sys.stderr)
