"""`ssept golden`: keep a few answers of a checkpoint, to notice drift."""

import argparse
from pathlib import Path

from ssept.measure.golden import golden_path, write_golden
from ssept.providers import load

HELP = "write a few of a checkpoint's answers beside it, which the matrix then compares with"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("checkpoint", type=Path, help="the checkpoint; torch answers for it")
    parser.set_defaults(run=_golden)


def _golden(arguments: argparse.Namespace) -> None:
    path = golden_path(arguments.checkpoint)
    write_golden(load(arguments.checkpoint, "torch", "torch"), path)
    print(path)
