"""A side of the gate: a revision, a source tree, an artifacts folder or an ONNX file."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ssept.artifacts.manifests import MANIFEST
from ssept.decide.gate.sides.interpreter import HERE, python_for, versions
from ssept.decide.gate.sides.worktrees import ENVIRONMENT, check_out, own_folder
from ssept.errors import GateError, SseptError
from ssept.files.kinds import is_onnx
from ssept.git import commit_of
from ssept.providers.onnx.names import VARIABLE as ONNX_NAMES
from ssept.signals import ended_by_signals

ACCEPTED = (
    "expected a git revision, a source tree (a folder with pyproject.toml and ssept/), an "
    f"artifacts folder (with the {MANIFEST} of `ssept build --out`) or an ONNX file"
)


@dataclass(frozen=True)
class Side:
    """One of the two things compared.

    Attributes:
        name: as the user gave it, with the short commit hash where it is a revision.
        python: the interpreter that its worker runs with.
        tree: a source tree whose `ssept` that worker must import; None: the one installed
            with `python`.
        model: an artifacts folder or an ONNX file to measure; None: variants are built from the
            checkpoint.
        packages: the installed versions of ssept.measure.machine.PACKAGES.
        onnx_names: what the user says of an ONNX file, see `ssept.providers.onnx.names`.
        instead: the variant and the provider that it runs in place of those of each cell.
    """

    name: str
    python: Path
    tree: Path | None
    model: Path | None
    packages: dict[str, str]
    onnx_names: str = ""
    instead: tuple[str, str] | None = None

    def runs(self, variant: str, provider: str) -> tuple[str, str]:
        """Return the variant and the provider that it runs for a cell of these."""
        return self.instead or (variant, provider)

    def environment(self) -> dict[str, str]:
        """Return all environment variables of the worker, so that it imports this side's ssept.

        PYTHONPATH comes before an editable install, whether that is a path file or an import
        hook. PYTHONSAFEPATH keeps the current folder from coming before both, also in what the
        worker starts; `ssept.children` sees to that for the worker itself, also in Python 3.10,
        which does not know it. `-I` and `-E` would make Python ignore these variables.
        """
        variables = os.environ | {"PYTHONSAFEPATH": "1"}
        if self.onnx_names:
            variables[ONNX_NAMES] = self.onnx_names
        if self.tree is None:
            return variables
        # What the user added to this Python's path need not fit the packages of another.
        inherited = os.environ.get("PYTHONPATH") if self.python == HERE else None
        path = [str(self.tree), *([inherited] if inherited else [])]
        return variables | {"PYTHONPATH": os.pathsep.join(path)}


@contextmanager
def opened(text: str, *, extras: Sequence[str], onnx_names: str = "") -> Iterator[Side]:
    """Make one side ready to run; its temporary files are always removed after the block.

    A revision is checked out as a detached worktree of the repository of the current folder,
    without its uncommitted changes; a source tree is used as it is, `.` too. Where this
    Python's packages meet what the tree's pyproject.toml asks for, this Python runs it. Else it
    gets a virtual environment with those requirements, not with ssept itself, which is imported
    from the tree in both cases: nothing is built, and nothing is written into the tree.

    Both lie in a folder of their own under `gate` in the cache. SIGTERM and SIGHUP end the block
    as Ctrl-C does (from the main thread only); what a killed process left is removed by the next.

    Args:
        text: what the user named. A path wins over a revision of the same name
            (`refs/heads/NAME` names the branch).
        extras: of pyproject.toml, whose requirements a source tree needs besides its own.
        onnx_names: what the user says of an ONNX file.

    Raises:
        GateError: it is none of the things accepted, is no version of this project, needs
            another Python, or its requirements cannot be installed.
    """
    path = Path(text)
    if text and path.exists() and not _is_tree(path):
        yield Side(text, HERE, None, _model(path), versions(HERE), onnx_names)
        return
    with ended_by_signals(), _source(text) as (name, tree, folder):
        python = python_for(name, tree, extras, folder / ENVIRONMENT)
        yield Side(name, python, tree, None, versions(python))


def _is_tree(path: Path) -> bool:
    return (path / "pyproject.toml").is_file() and (path / "ssept/__init__.py").is_file()


def _model(path: Path) -> Path:
    if path.is_dir() and not (path / MANIFEST).is_file():
        raise GateError(f"{path}: neither a source tree nor an artifacts folder; {ACCEPTED}")
    if path.is_file() and not is_onnx(path):
        raise GateError(f"{path}: not an ONNX file; {ACCEPTED}")
    return path.resolve()


@contextmanager
def _source(text: str) -> Iterator[tuple[str, Path, Path]]:
    """Yield a side's name, source tree and own folder, which has the tree of a revision."""
    if text and Path(text).exists():
        with own_folder() as folder:
            yield text, Path(text).resolve(), folder
        return
    repository = Path.cwd()
    try:
        commit, short = commit_of(text, repository)
    except SseptError as error:
        raise GateError(f"{text!r}: no such file or folder, and {error}; {ACCEPTED}") from error
    name = short if commit.startswith(text) else f"{text} ({short})"
    with own_folder(repository) as folder:
        tree = check_out(repository, commit, folder)
        if not _is_tree(tree):
            raise GateError(f"{name}: is not a version of this project; {ACCEPTED}")
        yield name, tree, folder
