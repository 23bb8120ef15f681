"""`ssept build`: the model files of a checkpoint, for this machine or to copy to another."""

import argparse
import shutil
from pathlib import Path

from tqdm import tqdm

from ssept.artifacts import Artifact, copy_artifacts
from ssept.errors import SseptError
from ssept.files import written_file
from ssept.measure.golden import golden_path
from ssept.model.store import shipped_folder
from ssept.variants import VARIANTS, build

HELP = "build the variants of a checkpoint"
MEGABYTE = 1e6
DEFAULT_CHECKPOINT = "SSE_PT10kemb.safetensors"
BUILT = tuple(name for name, variant in VARIANTS.items() if variant.build)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--checkpoint",
        type=Path,
        default=shipped_folder() / DEFAULT_CHECKPOINT,
        metavar="FILE",
        help="the checkpoint",
    )
    parser.add_argument(
        "--variants",
        default=",".join(BUILT),
        metavar="NAMES",
        help="which ones, separated by commas",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="the data that the checkpoint was trained on, for calibrated variants",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="copy the files there, with a manifest, for a machine without torch",
    )
    parser.set_defaults(run=_build)


def _build(arguments: argparse.Namespace) -> None:
    names = [name.strip() for name in arguments.variants.split(",") if name.strip()]
    unknown = [name for name in names if name not in BUILT]
    if unknown or not names:
        raise SseptError(f"--variants {arguments.variants}: expected names out of {BUILT}")
    artifacts = []
    with tqdm(names, unit="variant", disable=None) as bar:
        for name in bar:
            bar.set_description(name)
            artifacts.append(build(arguments.checkpoint, name, arguments.data))
    if arguments.out:
        artifacts = copy_artifacts(artifacts, arguments.out)
        golden = golden_path(arguments.checkpoint)
        if golden.is_file():
            with written_file(arguments.out / golden.name) as temporary:
                shutil.copyfile(golden, temporary)
    for artifact in artifacts:
        _tell(artifact)


def _tell(artifact: Artifact) -> None:
    megabytes = artifact.size_bytes / MEGABYTE
    print(f"{artifact.variant:28} {megabytes:8.2f} MB  {artifact.sha256[:12]}  {artifact.path}")
