"""`ssept golden`: save a few outputs of a checkpoint, to detect drift."""

import argparse
from pathlib import Path

from ssept.measure.golden import golden_path, write_golden
from ssept.providers import load

HELP = "save a few outputs of a checkpoint beside it; the matrix compares later outputs with them"

EXAMPLES = {
    "save outputs of the shipped checkpoint": "ssept golden models/SSE_PT10kemb.safetensors",
    "save outputs of your own checkpoint": "ssept golden model.safetensors",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("checkpoint", type=Path, help="checkpoint file; torch computes the outputs")
    parser.set_defaults(run=_golden)


def _golden(arguments: argparse.Namespace) -> None:
    path = golden_path(arguments.checkpoint)
    write_golden(load(arguments.checkpoint, "torch", "torch"), path)
    print(path)
