"""Availability of the providers, and the state of the onnxruntime distributions."""

import importlib.util
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version

from ssept.errors import ProviderError
from ssept.installation import is_clone
from ssept.providers import PROVIDERS
from ssept.providers.onnx.integer_products import wrong_integer_products
from ssept.variants import ONNXRUNTIME_DISTRIBUTIONS


@dataclass(frozen=True)
class ProviderState:
    """A provider of the table; `unavailable` says why it cannot run, None where it can."""

    name: str
    unavailable: str | None


@dataclass(frozen=True)
class OnnxRuntimeState:
    """Which onnxruntime distributions are installed.

    Attributes:
        installed: "name version" of each.
        problem: why what Python imports cannot be trusted; None where all is well.
        repair: shell commands that repair it, from this project's folder; empty if all is well.
        miscalculation: what it computes wrongly on this CPU, and what to do; None if nothing.
    """

    installed: tuple[str, ...]
    problem: str | None
    repair: tuple[str, ...]
    miscalculation: str | None = None


def provider_states() -> tuple[ProviderState, ...]:
    """Check every provider, also one whose package is broken."""
    return tuple(ProviderState(name, _unavailable(name)) for name in PROVIDERS)


def _unavailable(name: str) -> str | None:
    try:
        return PROVIDERS[name].unavailable()
    except ProviderError as error:
        return str(error)
    except (ImportError, AttributeError) as error:  # a hollow or half overwritten package
        return f"its package is broken: {error}"


def onnxruntime_state(extra: str) -> OnnxRuntimeState:
    """Check the onnxruntime distributions; `extra` is the one that it should have."""
    installed = []
    for name in ONNXRUNTIME_DISTRIBUTIONS:
        try:
            installed.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    spec = importlib.util.find_spec("onnxruntime")
    # A folder without __init__.py is a namespace, which has places but no file of its own.
    folder = next(iter(spec.submodule_search_locations or ()), None) if spec else None
    state = diagnose_onnxruntime(installed, folder, spec is not None and spec.has_location, extra)
    return state if state.problem else replace(state, miscalculation=wrong_integer_products())


def diagnose_onnxruntime(
    installed: Sequence[str], folder: str | None, whole: bool, extra: str
) -> OnnxRuntimeState:
    """Find what is wrong with the onnxruntime distributions, and the commands that repair it.

    Args:
        installed: "name version" of each that is installed.
        folder: where Python finds the package; None for nowhere.
        whole: whether that folder has its `__init__.py`.
        extra: the extra of this project to install.
    """
    problem = None
    if len(installed) > 1:
        problem = f"{' and '.join(installed)} are installed over each other"
    elif folder and not whole:
        problem = f"{folder} is a hollow package, without its __init__.py"
    elif installed and not folder:
        problem = f"{installed[0]} is installed, but its files are gone"
    return OnnxRuntimeState(tuple(installed), problem, _repair(extra) if problem else ())


def _repair(extra: str) -> tuple[str, str]:
    """Uninstall all, install one; with this very Python, which need not be the shell's."""
    pip = (sys.executable, "-m", "pip")
    ours = ("--editable", f".[{extra}]") if is_clone() else (f"ssept[{extra}]",)
    return (
        shlex.join((*pip, "uninstall", "--yes", *ONNXRUNTIME_DISTRIBUTIONS)),
        shlex.join((*pip, "install", *ours)),
    )
