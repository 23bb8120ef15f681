"""The interpreter for a source tree: this one if its packages fit, else a new environment."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from ssept.environments import virtual_environment
from ssept.errors import GateError, SseptError
from ssept.measure.machine import PACKAGES, package_versions

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(sys.executable)
SHOWN = 80


def versions(python: Path) -> dict[str, str]:
    """Return the versions of ssept.measure.machine.PACKAGES that an interpreter has.

    Args:
        python: this one, or one that `python_for` made.
    """
    if python == HERE:
        return package_versions()
    path = [str(folder) for folder in python.parents[1].glob("lib/python*/site-packages")]
    found = {name: _installed(name, path) for name in PACKAGES}
    return {name: version for name, version in found.items() if version}


# Extras that an older revision has not, nor the providers that need them.
LATER = ("litert",)


def python_for(name: str, tree: Path, extras: Sequence[str], folder: Path) -> Path:
    """Return an interpreter with the requirements of a source tree.

    Only what the tree asks for is installed, never the tree: that would build it, and leave the
    build's files in it.

    Args:
        name: the side's, for messages.
        tree: with its pyproject.toml.
        extras: whose requirements count too.
        folder: where an environment is made if this Python's packages do not serve; the caller
            removes it.

    Raises:
        GateError: the pyproject.toml lacks an extra or cannot be read, asks for another Python,
            for a package from an address, or for what cannot be installed.
    """
    requirements = _requirements(name, tree, extras)
    unmet = [requirement for requirement in requirements if not _is_met(requirement)]
    if not unmet:
        return HERE
    lacks = ", ".join(f"{each} (here: {_installed(each.name) or 'none'})" for each in unmet)
    _tell(f"{name} needs {lacks}: installing an environment for it, which may take minutes")
    # What both sides may share stays at this Python's version: else whatever was released since
    # would be measured too. pip chooses where the packages do not fit together so.
    kept = [str(each) if each in unmet else _held(each) for each in requirements]
    asked = [str(each) for each in requirements]
    if kept != asked:
        with suppress(SseptError):
            return virtual_environment(folder, kept)
        _tell(
            f"{name} conflicts with other packages of this environment: letting pip choose versions"
        )
    try:
        return virtual_environment(folder, asked)
    except SseptError as error:
        raise GateError(f"{name}: its requirements cannot be installed: {error}") from error


def _tell(message: str) -> None:
    print(f"ssept: {message}", file=sys.stderr, flush=True)


def _requirements(name: str, tree: Path, extras: Sequence[str]) -> list[Requirement]:
    """Return the requirements of a tree's pyproject.toml on this Python."""
    try:
        project = tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        optional = project.get("optional-dependencies", {})
        wanted = [extra for extra in extras if extra in optional or extra not in LATER]
        texts = [*project.get("dependencies", []), *(t for e in wanted for t in optional[e])]
        found = [Requirement(text) for text in texts]
        pythons = SpecifierSet(project.get("requires-python", ""))
    except KeyError as error:
        raise GateError(
            f"{name}: its pyproject.toml has no {error}; expected [project] with the extras of "
            f"this environment, {', '.join(extras)}"
        ) from error
    # Of TOML, of a requirement or a Python version; of another type than these have.
    except (ValueError, TypeError, AttributeError) as error:
        raise GateError(f"{name}: its pyproject.toml cannot be read: {error}") from error
    if not pythons.contains(".".join(map(str, sys.version_info[:3]))):
        raise GateError(f"{name}: needs Python {pythons}; run the gate with such a Python")
    asked = [each for each in found if each.marker is None or each.marker.evaluate({"extra": ""})]
    if addresses := [each for each in asked if each.url]:
        raise GateError(
            f"{name}: its pyproject.toml installs {addresses[0].name[:SHOWN]} from a URL, whose "
            "code would be built and run; expected a version: install that package here, and gate "
            "a tree that requires its version"
        )
    return asked


def _is_met(requirement: Requirement) -> bool:
    version = _installed(requirement.name)
    return version is not None and requirement.specifier.contains(version, prereleases=True)


def _held(requirement: Requirement) -> str:
    """Pin a requirement to the installed version, without the local part, which no index has."""
    version = Version(str(_installed(requirement.name))).public
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{requirement.name}{extras}=={version}"


def _installed(name: str, path: list[str] | None = None) -> str | None:
    """Return a distribution's version on a module search path, this Python's by default."""
    found = next(iter(distributions(name=name, path=sys.path if path is None else path)), None)
    return found.version if found else None
