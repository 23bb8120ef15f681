"""The files that `tox -e deploy` checks, and its tools; imports nothing of ssept, which is not there."""

import asyncio
import importlib
import os
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import pytest
import yaml

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy/kubernetes"
REQUIRED = "SSEPT_REQUIRE_DEPLOY"
ROLE = "app.kubernetes.io/name"


def program(name: str) -> str:
    """A tool's path; without the tool the test is skipped, or fails where it is required."""
    places = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return shutil.which(name, path=places) or _missing(name)


def module(name: str) -> ModuleType:
    """A tool that is a module, as `program`."""
    try:
        return importlib.import_module(name)
    except ImportError:
        _missing(name)


def _missing(name: str) -> NoReturn:
    refuse = pytest.fail if os.environ.get(REQUIRED) == "1" else pytest.skip
    refuse(f"{name} is not installed: see `tox -e deploy`")


def kustomizations() -> list[Path]:
    """All folders that kustomize builds."""
    return sorted(path.parent for path in KUBERNETES.rglob("kustomization.yaml"))


def rendered(folder: Path) -> list[dict[str, Any]]:
    """The manifests of a folder as kustomize gives them."""
    kustomize = module("pykustomize")
    built = asyncio.run(kustomize.build(str(folder)))
    return [each for each in yaml.safe_load_all(built.yaml) if each]


def of_kind(manifests: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """The only manifest of a kind."""
    (found,) = (each for each in manifests if each["kind"] == kind)
    return found
