"""Small packages made here, and pip kept to them, so that no test needs a package index."""

import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.matrix import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def write_wheel(folder: Path, name: str = "tiny", version: str = "1.0", text: str = "") -> None:
    """A package of one module, `text`."""
    about = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", text or "ANSWER = 42\n")
        wheel.writestr(
            f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        wheel.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{about}/RECORD", f"{name}.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n")


def install_only_from(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pip take packages from a new folder, and from nowhere else."""
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))


def pyproject() -> dict[str, Any]:
    """This project's pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
