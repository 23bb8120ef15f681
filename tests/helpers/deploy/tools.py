"""The tools of `tox -e deploy`; nothing of ssept is imported, which is not installed there."""

import importlib
import os
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest

ROOT = Path(__file__).parents[3]
REQUIRED = "SSEPT_REQUIRE_DEPLOY"


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
