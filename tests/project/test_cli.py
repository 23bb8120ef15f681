"""`ssept …` as a user runs it: what it writes, what it says, and how it fails."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ssept.cli import main
from ssept.cli.commands import COMMANDS
from ssept.data.dataset import load_dataset
from ssept.model.store import read_about
from tests.helpers.data_files import made_up_ratings, write_latest


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    assert "data" in said
    assert "train" in said


def test_every_option_of_train_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    said = capsys.readouterr().out
    for option in ("--loss", "--keep-user", "--max-minutes", "--max-length", "--out", "--seed"):
        assert option in said
    assert "default: " in said


def test_prepare_then_train_then_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = tmp_path / "raw"
    write_latest(raw, made_up_ratings())
    assert main(["data", "prepare", str(raw), str(tmp_path / "out")]) == 0
    assert "users" in capsys.readouterr().out
    model = tmp_path / "m.safetensors"
    assert (
        main(
            [
                "train",
                str(tmp_path / "out"),
                "--epochs",
                "1",
                "--item-dim",
                "4",
                "--user-dim",
                "4",
                "--threads",
                "1",
                "--out",
                str(model),
            ]
        )
        == 0
    )
    assert "validation NDCG@10" in capsys.readouterr().out
    assert read_about(model)["data"]["data_hash"] == load_dataset(tmp_path / "out").data_hash


def test_synthetic_writes_a_prepared_folder(tmp_path: Path) -> None:
    out = tmp_path / "syn"
    assert main(["data", "synthetic", str(out), "--users", "12", "--items", "300"]) == 0
    assert load_dataset(out).users == 12


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "the folder is empty; expected one of u.data"),
        ({"notes.txt": "hello\n"}, "no known rating data; expected one of u.data"),
        ({"ratings.csv": ""}, "ratings.csv"),
        ({"ratings.csv": "userId,movieId,rating,timestamp\n"}, "no ratings in it"),
        ({"ratings.csv": "userId,movieId,timestamp\n1,2,3\n"}, "no column rating"),
        ({"u.data": "1\t2\t3\t4\n1\t2\tgood\t4\n"}, "u.data:2: expected rating to be a number"),
        ({"ml1m.txt": "1 2\n1 2 3\n"}, "ml1m.txt:2: expected 2 fields"),
    ],
)
def test_bad_data_is_one_line_naming_file_and_line(
    tmp_path: Path, files: dict[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for name, text in files.items():
        (raw / name).write_text(text)
    assert main(["data", "prepare", str(raw), str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert message in said
    assert str(raw) in said
    assert len(said.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [("--loss", "mse", "expected one of ce, bce"), ("--heads", "7", "does not divide")],
)
def test_bad_settings_are_named(
    small_folder: Path,
    option: str,
    value: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["train", str(small_folder), option, value]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        *([name] for name in COMMANDS),
        *(["data", name] for name in ("download", "prepare", "synthetic")),
        *(["triton", name] for name in ("repository", "serve", "perf")),
    ],
    ids=" ".join,
)
def test_defaults_are_shown_as_they_are_written(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([*words, "--help"])
    said = " ".join(capsys.readouterr().out.split())
    for wrong in ("default: None", "default: [", "default: (", "%%"):
        assert wrong not in said


def test_the_installed_command_runs() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("ssept"), "data", "prepare", "/no/such", "/tmp/x"],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )
    assert done.returncode == 1
    assert done.stderr.startswith("ssept: error: /no/such")
