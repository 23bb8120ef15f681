"""The files of ours that decide what a builder writes, found by reading them.

Importing a builder's module would show the same, and would take seconds for torch and the
quantizers: too long to learn that everything is in the cache.
"""

import ast
import functools
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from ssept.files import sha256, sha256_json

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
FOLLOWED = ("ssept.model.", "ssept.variants.")


@functools.cache  # a process does not see a change of what it has imported either
def source_hash(module: str) -> str:
    """Hash all `sources` of a module: a changed builder makes a new artifact."""
    return sha256_json([sha256(file) for file in sources(module)])


def sources(module: str) -> list[Path]:
    """Iterate over a builder's module and, recursively, the modules that it uses.

    That is the modules of FOLLOWED that it imports, and the files in this folder whose names it
    writes out: the requirements and the programs of tools with an environment of their own.

    Args:
        module: its full name; it is not imported, but the packages that it lies in are.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)
    beside = {file.name: file for file in FOLDER.glob("*/*") if file.is_file()}
    found: set[Path] = set()
    waiting = {Path(spec.origin)}
    while waiting:
        file = waiting.pop()
        found.add(file)
        if file.suffix == ".py":
            waiting |= set(_led_to(file, beside)) - found
    return sorted(found)


def _led_to(source: Path, beside: dict[str, Path]) -> Iterator[Path]:
    for node in ast.walk(ast.parse(source.read_bytes())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):  # of a module, or of a module's object
            names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            named = beside.get(node.value)
            if named:
                yield named
        for name in names:
            file = ROOT / f"{name.replace('.', '/')}.py"
            if name.startswith(FOLLOWED) and file.is_file():
                yield file
