"""TOML files that a user writes."""

import sys
from pathlib import Path
from typing import Any

from ssept.errors import SseptError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_toml(path: Path) -> dict[str, Any]:
    """Read a file.

    Raises:
        SseptError: it cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SseptError(f"{path}: cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise SseptError(f"{path}: not TOML: {error}") from error
