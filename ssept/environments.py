"""Tools whose pins fight today's packages: each in an environment of its own, run as a program."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssept.children import finished, isolated, last_words
from ssept.errors import SseptError, shortened
from ssept.files import cache_folder, locked, sha256_json
from ssept.files.owned import mark, remove

MARKER = ".complete"
TIMEOUT_SECONDS = 600


def environment(name: str, requirements: Path, megabytes: int) -> Path:
    """Return the Python of a tool's environment, which is made in the cache at first.

    A virtual environment cannot be moved, so it is built in its place under a lock and marked
    when it is whole; one without the mark, whose build was interrupted, is built again. Its
    folder is named by the requirements and by this Python's version, so a change makes another.

    Args:
        name: the tool's, for the folder and the messages.
        requirements: a requirements file that pins every package, what the tool's packages need
            included, with the hashes of its files: nothing is resolved, so that the environment is
            the same on every day, and nothing else can be put in its place on the way.
        megabytes: about how much disk it takes, for the message.

    Raises:
        SseptError: it cannot be made; with the last lines that pip wrote.
    """
    packages = requirements.read_text(encoding="utf-8")
    made_for = [packages, sys.implementation.cache_tag, sysconfig.get_platform()]
    folder = cache_folder() / "environments" / f"{name}-{sha256_json(made_for)[:12]}"
    if not _is_whole(folder):
        with locked(folder.with_name(f"{folder.name}.lock")):
            if not _is_whole(folder):  # nobody made it while this process waited
                _make(folder, name, requirements, megabytes)
    return _python(folder)


def pinned(requirements: Path, *names: str) -> dict[str, str]:
    """List the named packages of a requirements file with versions: "neural-compressor 2.6".

    Of several lines for a package, the one that is for this Python counts.
    """
    from packaging.requirements import Requirement  # not needed where nothing is built

    pins = {}
    for line in requirements.read_text(encoding="utf-8").splitlines():
        if not line.startswith(names):
            continue
        pin = Requirement(line.rstrip("\\ "))  # without its hashes, which are lines of their own
        if pin.name in names and (pin.marker is None or pin.marker.evaluate()):
            pins[pin.name] = f"{pin.name} {str(pin.specifier).removeprefix('==')}"
    return pins


def run(
    python: Path, script: Path, request: dict[str, Any], timeout_seconds: float = TIMEOUT_SECONDS
) -> dict[str, Any]:
    """Run a script of a tool's environment: JSON in, JSON out, files by their full paths.

    Args:
        python: of `environment`.
        script: reads the request from standard input and ends with its result as the last line
            of standard output. It runs in an empty folder, deleted afterwards, and imports
            nothing that lies beside it.
        request: JSON values.
        timeout_seconds: after which it is killed.

    Raises:
        SseptError: it failed, took too long or gave no result; with its last lines.
    """
    with tempfile.TemporaryDirectory(prefix="ssept-") as folder:
        try:
            done = finished(
                isolated(script, python=python),
                input=json.dumps(request),
                cwd=folder,
                timeout=timeout_seconds,
            )
        except subprocess.TimeoutExpired as error:
            raise SseptError(
                f"{script.name}: no result after {timeout_seconds:g} s; it was stopped"
            ) from error
    if done.returncode:
        raise SseptError(f"{script.name}: ended with {done.returncode}: {last_words(done.stderr)}")
    try:
        result = json.loads(done.stdout.strip().rpartition("\n")[2])
    except ValueError as error:
        raise SseptError(
            f"{script.name}: its last line is not JSON: {last_words(done.stdout)}"
        ) from error
    if not isinstance(result, dict):
        raise SseptError(f"{script.name}: gave {shortened(repr(result))}; expected a JSON object")
    return result


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


def _is_whole(folder: Path) -> bool:
    """Whether it was built to its end, and the Python that it links to is still there."""
    return (folder / MARKER).is_file() and _python(folder).exists()


def virtual_environment(folder: Path, install: Sequence[str]) -> Path:
    """Make a virtual environment of this Python with wheels in it; returns its interpreter.

    Args:
        folder: where; one that was made here before is replaced, and it is deleted where this
            fails. pip's own temporary files lie in it, on the same disk as the packages.
        install: pip's arguments: requirements, or a file of them.

    Raises:
        SseptError: it cannot be made; the message is the last lines that the tool wrote. Or there
            is a folder that was not made here.
    """
    if not remove(folder):
        raise SseptError(f"{folder}: was not made by ssept: move it away")
    folder.mkdir(parents=True)
    mark(folder)
    pip = ["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
    scratch = folder / ".tmp"
    scratch.mkdir()
    # Constraints are for the packages beside ssept; a tool's own pins may differ from them.
    variables = {key: value for key, value in os.environ.items() if key != "PIP_CONSTRAINT"}
    try:
        for command in (
            isolated("-m", "venv", folder),
            # Wheels alone: a source package would run its own build, with tools that may be absent.
            isolated(*pip, "--only-binary=:all:", *install, python=_python(folder)),
        ):
            done = finished(command, env=variables | {"TMPDIR": str(scratch)})
            if done.returncode:
                remove(folder)
                raise SseptError(last_words(done.stderr or done.stdout))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return _python(folder)


def _make(folder: Path, name: str, requirements: Path, megabytes: int) -> None:
    message = f"ssept: installing the environment {name} once, about {megabytes} MB"
    print(message, file=sys.stderr, flush=True)
    try:
        whole = ("--no-deps", "--require-hashes", "--requirement", str(requirements))
        virtual_environment(folder, whole)
    except SseptError as error:
        version = ".".join(map(str, sys.version_info[:2]))
        raise SseptError(
            f"the environment {name} cannot be made of {requirements} with Python {version}: "
            f"{error}"
        ) from error
    (folder / MARKER).touch()
