"""`ssept …` as a user runs it: what it writes, what it says, and how it fails."""

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ssept.cli import main
from ssept.cli.commands import COMMANDS, parser_of
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


SUBCOMMANDS = {
    "data": ("download", "prepare", "synthetic"),
    "fleet": ("run", "recommend"),
    "export": ("bencher", "mlflow"),
    "triton": ("repository", "serve", "perf"),
}
ALL_WORDS = [
    *([name] for name in COMMANDS),
    *([name, subcommand] for name, own in SUBCOMMANDS.items() for subcommand in own),
]
COLUMNS = 80
MOST_IN_A_GROUP = 12


def subparsers_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of a command's own commands."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= action.choices
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_the_subcommands_are_known(name: str) -> None:
    assert sorted(subparsers_of(parser_of(name))) == sorted(SUBCOMMANDS.get(name, ()))


@pytest.mark.parametrize("words", ALL_WORDS, ids=" ".join)
def test_help_has_examples_that_work_and_fits_a_terminal(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    parser = parser_of(words[0])
    for word in words[1:]:
        parser = subparsers_of(parser)[word]
    text = parser.format_help()
    assert max(map(len, text.splitlines())) <= COLUMNS
    _, examples = text.split("examples:\n")
    lines = examples.replace("\\\n", "").splitlines()
    assert len(lines) in (4, 6)  # each command line is under its purpose
    for purpose, line in zip(lines[::2], lines[1::2], strict=True):
        assert purpose.startswith("  # ")
        assert line.startswith(f"  {shlex.join(['ssept', *words])}")
        parser.parse_args(shlex.split(line)[1 + len(words) :])


@pytest.mark.parametrize("words", ALL_WORDS, ids=" ".join)
def test_long_lists_of_options_are_in_groups(words: list[str]) -> None:
    parser = parser_of(words[0])
    for word in words[1:]:
        parser = subparsers_of(parser)[word]
    sizes = {group.title: len(group._group_actions) for group in parser._action_groups}
    assert max(sizes.values()) <= MOST_IN_A_GROUP, sizes


@pytest.mark.parametrize("words", ALL_WORDS, ids=" ".join)
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


@pytest.mark.parametrize(
    ("words", "completed"),
    [("ga", "gate"), ("verify --tr", "--traceback"), ("export bench", "bencher")],
)
def test_bash_completes(
    words: str, completed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "ssept.bash"
    script.write_text(capsys.readouterr().out)
    program = (
        f"source {script}; COMP_WORDS=(ssept {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); "
        "COMP_POINT=0 COMP_LINE=; _shtab_ssept; echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [completed]


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_each_shell_has_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    said = capsys.readouterr().out
    assert all(command in said for command in COMMANDS)
