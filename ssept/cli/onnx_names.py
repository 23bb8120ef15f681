"""What a user says of an ONNX file: the same option for every command that takes one."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from ssept.artifacts import Artifact
from ssept.cli.parsers import Options
from ssept.errors import ArtifactError
from ssept.files.kinds import is_onnx
from ssept.providers.onnx.names import OPTION, VARIABLE, read_names

HELP = (
    "what cannot be detected in an ONNX file, separated by commas: the names of its inputs and "
    "output as user=NAME,sequence=NAME,scores=NAME; length=N, its longest sequence, if it accepts "
    f"any length; padding=0, if column 0 of its scores is the padding (default: ${VARIABLE})"
)


def add_onnx_names(parser: Options, option: str = OPTION, purpose: str = HELP) -> None:
    """Declare --onnx-names, or another option of its form."""
    parser.add_argument(option, type=checked_names, metavar="NAMES", help=purpose)


def checked_names(text: str) -> str:
    """Check the value of --onnx-names; return it as it is, as processes pass it on."""
    try:
        read_names(text)
    except ArtifactError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def described(path: Path, text: str | None) -> Artifact | None:
    """Describe an ONNX file and print to standard error how it is understood; None of another.

    Args:
        path: any model file.
        text: the value of --onnx-names, or None without it.

    Raises:
        ArtifactError: it cannot be used, or it has to be said what its inputs and outputs are.
    """
    if not is_onnx(path):
        return None
    # Imported here: it brings onnxruntime.
    from ssept.providers.onnx.file import describe, interpretation

    artifact = describe(path, names_of(text))
    print(f"ssept: {interpretation(artifact)}", file=sys.stderr)
    return artifact


def names_of(text: str | None) -> Mapping[str, str] | None:
    """Return the names that a value of --onnx-names has; None without it."""
    return None if text is None else read_names(text)
