"""Files and folders are whole or absent."""

import errno
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ssept.decide.journal import append
from ssept.errors import SseptError
from ssept.files import locked, opened_zip, written_file, written_folder
from ssept.files.owned import MARK, mark, remove

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


def write_folder(path: Path, **files: str) -> None:
    with written_folder(path) as temporary:
        for name, text in files.items():
            (temporary / name).write_text(text)


@pytest.mark.parametrize("mine", ["notes.txt", "x/notes.txt", "y"])
def test_a_folder_with_anything_else_in_it_is_not_replaced(tmp_path: Path, mine: str) -> None:
    path = tmp_path / "d"
    file = path / mine
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    with pytest.raises(SseptError, match=f"d: holds {mine}, which would be lost"):
        write_folder(path, x="new")
    assert file.read_text() == "mine"
    assert [entry.name for entry in tmp_path.iterdir()] == ["d"]


def test_a_file_is_not_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "d").write_text("mine")
    with pytest.raises(SseptError, match="d: is a file"):
        write_folder(tmp_path / "d", x="new")
    assert (tmp_path / "d").read_text() == "mine"
    assert [entry.name for entry in tmp_path.iterdir()] == ["d"]


def test_a_folder_behind_a_link_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    write_folder(tmp_path / "d", x="old")
    (tmp_path / "link").symlink_to("d")
    write_folder(tmp_path / "link", x="new", y="new")
    assert (tmp_path / "link").is_symlink()
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == ["x", "y"]
    assert (tmp_path / "d/x").read_text() == "new"


def test_a_link_is_replaced_by_a_file_and_its_target_stays(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("mine")
    (tmp_path / "link").symlink_to("target")
    with written_file(tmp_path / "link") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "target").read_text() == "mine"
    assert (tmp_path / "link").read_text() == "new"


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_what_is_no_file_is_not_replaced_by_one(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "out.json"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(os.devnull)
    with (
        pytest.raises(SseptError, match=r"out\.json: is not a regular file"),
        written_file(path) as temporary,
    ):
        temporary.write_text("new")
    assert not path.is_file()
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.json"]


def test_a_lock_empties_nothing(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("mine")
    with locked(tmp_path / "lock"):
        pass
    assert (tmp_path / "lock").read_text() == "mine"


@pytest.mark.parametrize("kind", ["link", "dangling", "folder", "pipe"])
def test_a_lock_is_a_plain_file(tmp_path: Path, kind: str) -> None:
    path, target = tmp_path / "lock", tmp_path / "target"
    if kind == "link":
        target.write_text("mine")
    if kind in ("link", "dangling"):
        path.symlink_to(target)
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    with pytest.raises(SseptError, match=r"lock: is a .*; expected a regular file"), locked(path):
        pass
    assert target.exists() == (kind == "link")
    assert kind != "link" or target.read_text() == "mine"


@pytest.mark.parametrize("torn", ["", "{", '{"schema"', '{"schema":1,"utc":"20'])
def test_a_torn_record_is_cut_off(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "records.jsonl"
    append(path, {"schema": 1})
    path.write_text(path.read_text() + torn)
    append(path, {"schema": 2})
    assert path.read_text() == '{"schema":1}\n{"schema":2}\n'


@pytest.mark.parametrize("mine", ["a line without an end", "[1]", '{"title": "mine"}', "\n{x"])
def test_another_line_is_not_cut_off(tmp_path: Path, mine: str) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(mine)
    with pytest.raises(SseptError, match=r"records\.jsonl: its last line is not a record"):
        append(path, {"schema": 1})
    assert path.read_text() == mine


def test_only_a_folder_with_a_mark_of_its_own_is_removed(tmp_path: Path) -> None:
    made, mine = tmp_path / "made", tmp_path / "mine"
    for folder in (made, mine):
        (folder / "inner").mkdir(parents=True)
        (folder / "inner/x").write_text("x")
    assert not remove(mine)
    mark(made)
    for text in ("", "[]", "{}", (made / MARK).read_text()):
        (mine / MARK).write_text(text)
        assert not remove(mine)
    (tmp_path / "link").symlink_to(made)
    assert not remove(tmp_path / "link")
    (made / "out").symlink_to(mine)
    assert remove(made)
    assert not made.exists()
    assert (mine / "inner/x").exists()
    assert remove(made)  # it is gone already


def test_a_stored_member_of_any_size_can_be_read_at_once(tmp_path: Path) -> None:
    content = bytes(range(256)) * 80_000
    path = tmp_path / "large.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("encoder.onnx", content)
    with opened_zip(path) as archive, archive.open("encoder.onnx") as member:
        assert member.read() == content
