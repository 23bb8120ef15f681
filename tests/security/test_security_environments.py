"""Tool environments: nothing but what the lock names is installed, on whatever day and machine."""

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import ssept
from ssept.environments import environment
from ssept.errors import SseptError
from ssept.files import cache_folder
from tests.helpers.wheels import install_only_from, write_wheel

LOCKS = sorted(Path(ssept.__file__).parent.rglob("requirements/*.txt"))
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")
# The first versions without faults that are known, of what reads files from elsewhere.
LEAST = {
    "onnxruntime": "1.24",
    "pillow": "12.1.1",
    "protobuf": "6.33.5",
    "opencv-python-headless": "4.12",
    "setuptools": "80.10.2",
}
PYTHONS = [(lock, python) for lock in LOCKS for python in ("3.10", "3.11", "3.12")]


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SSEPT_CACHE_DIR", str(tmp_path / "cache"))
    install_only_from(tmp_path / "shelf", monkeypatch)
    return tmp_path / "shelf"


def entries(lock: Path) -> list[str]:
    """Each requirement of a lock with its hashes, on one line."""
    text = lock.read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def pins(file: Path, python: str) -> dict[str, str]:
    """The packages of a file for a Python, with their versions."""
    lines = [Requirement(line.partition("--hash")[0]) for line in entries(file)]
    wanted = {"python_version": python, "python_full_version": f"{python}.0"}
    chosen = [line for line in lines if line.marker is None or line.marker.evaluate(wanted)]
    assert len({line.name for line in chosen}) == len(chosen)
    found = {}
    for line in chosen:
        (pin,) = line.specifier
        assert pin.operator == "=="
        found[re.sub("[-_.]+", "-", line.name).lower()] = pin.version
    return found


def test_there_are_locks() -> None:
    assert {lock.stem for lock in LOCKS} == {"neural-compressor", "nncf", "triton"}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_has_hashes_alone_and_no_address(lock: Path) -> None:
    for entry in entries(lock):
        _, *hashes = entry.split("--hash")
        assert hashes
        assert all(HASH.fullmatch(f"--hash{one}".strip()) for one in hashes)
    assert "://" not in lock.read_text()


@pytest.mark.parametrize(("lock", "python"), PYTHONS)
def test_a_lock_has_the_pins_that_were_meant(lock: Path, python: str) -> None:
    assert pins(lock, python) == pins(lock.with_suffix(".in"), python)


@pytest.mark.parametrize(("lock", "python"), PYTHONS)
def test_no_version_with_a_known_fault_is_pinned(lock: Path, python: str) -> None:
    if lock.stem == "triton" and python == "3.10":
        pytest.skip("this Python does not run that server")
    for name, version in pins(lock, python).items():
        if name == "onnxruntime" and python == "3.10":
            continue  # it has no later one; the quantizers read our own exports alone
        assert Version(version) >= Version(LEAST.get(name, "0")), name


@pytest.mark.slow
def test_a_package_that_was_swapped_is_not_installed(shelf: Path, tmp_path: Path) -> None:
    requirements = tmp_path / "tiny.txt"
    requirements.write_text(write_wheel(shelf))
    write_wheel(shelf, text="print('something else')\n")
    with pytest.raises(SseptError, match=r"tiny\.txt(.|\n)*sha256"):
        environment("tiny", requirements, 20)
    assert not list((cache_folder() / "environments").glob("tiny-*/"))


@pytest.mark.slow
@pytest.mark.parametrize("requirement", ["tiny==1.0", "tiny>=1.0", "tiny"])
def test_a_requirement_without_its_hash_is_refused(
    shelf: Path, tmp_path: Path, requirement: str
) -> None:
    write_wheel(shelf)
    requirements = tmp_path / "tiny.txt"
    requirements.write_text(requirement)
    with pytest.raises(SseptError, match="hash"):
        environment("tiny", requirements, 20)
