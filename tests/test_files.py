"""Files and folders are whole or absent."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from ssept.errors import SseptError
from ssept.files import written_file, written_folder

FULL_DISK = """
import resource, sys
from pathlib import Path
from ssept.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
sys.exit(main(["data", "synthetic", sys.argv[1], "--users", "400", "--items", "300"]))
"""


def test_a_failed_file_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with written_file(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_a_failed_folder_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "d"
    with written_folder(path) as temporary:
        (temporary / "x").write_text("old")

    def fail() -> None:
        with written_folder(path) as temporary:
            (temporary / "x").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (path / "x").read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["d"]


def test_what_did_not_fit_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(SseptError, match=r"a\.txt: No space left on device; nothing of it was kept"),
        written_file(tmp_path / "a.txt"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_nothing_and_says_what_did_not_fit(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, out], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"{out}: File too large" in done.stderr
    assert not list(tmp_path.iterdir())
