"""Small packages made here, and pip kept to them, so that no test needs a package index."""

import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from ssept.files import sha256
from tests.helpers.matrix import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def write_wheel(folder: Path, name: str = "tiny", version: str = "1.0", text: str = "") -> str:
    """Write a package of one module, `text`; returns it as a requirement with its hash."""
    about = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": text or "ANSWER = 42\n",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/RECORD": f"{name}.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n",
    }
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for file, content in files.items():
            wheel.writestr(zipfile.ZipInfo(file), content)  # which has no time: the same each time
    return f"{name}=={version} --hash=sha256:{sha256(path)}"


def install_only_from(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pip take packages from a new folder, and from nowhere else."""
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))


def pyproject() -> dict[str, Any]:
    """This project's pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
