"""Small git repositories of something like this project, and processes that gate them."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROJECT = """
[project]
name = "ssept"
version = "0.0"
requires-python = "{python}"
dependencies = {dependencies}
[project.optional-dependencies]
cpu = {cpu}
train = []
"""
ENGINE = """
from types import SimpleNamespace

class Session:
    def __init__(self, path):
        model = SimpleNamespace(users=5, items={items}, max_length=4, data_hash="")
        self.artifact = SimpleNamespace(path=path, sha256="", size_bytes=4, model=model)

    def recommend(self, user, sequence, k):
        import numpy as np
        sum(range({work}))
        first = sequence[:, :1]  # answers of different inputs differ, or the worker refuses them
        return np.repeat(first, k, axis=1), np.repeat(first.astype(np.float32), k, axis=1)

    def scores(self, user, sequence):
        import numpy as np
        return np.random.default_rng(0).random((len(user), {items} + 1))

def load(source, variant, provider, threads):
    return Session(source)
"""
ENGINE_PROVIDERS = """
from types import SimpleNamespace
PROVIDERS = {"cpu": SimpleNamespace(formats=("onnx",), unavailable=lambda: None)}
"""
# Opens a revision, says where its tree lies, and waits to be ended.
HOLDER = """
import signal, sys
from ssept.decide.gate.sides.side import opened
with opened(sys.argv[1], extras=("cpu", "train")) as side:
    print(side.tree, flush=True)
    signal.pause()
"""


def git(*arguments: str, folder: Path | None = None) -> str:
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    command = ["git", *who, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def write_tree(
    folder: Path,
    label: str,
    dependencies: tuple[str, ...] = (),
    cpu: tuple[str, ...] = (),
    python: str = ">=3.10",
) -> Path:
    """The least that is a version of this project."""
    (folder / "ssept").mkdir(parents=True, exist_ok=True)
    (folder / "ssept/__init__.py").write_text(f"LABEL = {label!r}\n")
    text = PROJECT.format(dependencies=list(dependencies), cpu=list(cpu), python=python)
    (folder / "pyproject.toml").write_text(text)
    return folder


def commit(folder: Path, label: str) -> str:
    git("add", "--all", folder=folder)
    git("commit", "--quiet", "--message", label, folder=folder)
    return git("rev-parse", "HEAD", folder=folder)


@contextmanager
def started(revision: str, script: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that opens a revision and holds it."""
    script.write_text(HOLDER)  # not by -c: the current folder has a ssept of its own
    command = [sys.executable, script, revision]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def holding(revision: str, script: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that has a revision open, and where its tree lies."""
    with started(revision, script) as process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())


def write_engine(folder: Path, label: str, items: int, work: int) -> Path:
    """Such a version whose model does some work in each call; it needs no torch."""
    write_tree(folder, label)
    with (folder / "pyproject.toml").open("a") as file:
        file.write("openvino = []\ngpu = []\n")  # whichever is installed here
    (folder / "ssept/__init__.py").write_text(
        f"LABEL = {label!r}" + ENGINE.format(items=items, work=work)
    )
    (folder / "ssept/providers.py").write_text(ENGINE_PROVIDERS)
    (folder / "ssept/variants.py").write_text("VARIANTS = {'onnx': None}")
    return folder
