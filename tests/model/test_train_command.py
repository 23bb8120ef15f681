"""`ssept train` checks its numbers and places before anything starts, and says why it gives up."""

import dataclasses
from pathlib import Path

import pytest

from ssept.cli import main
from ssept.data.dataset import Dataset, load_dataset
from ssept.data.prepare import prepare
from ssept.errors import DataError, TrainingError
from ssept.model.network import SSEPTConfig
from ssept.model.recipe import TrainingSettings
from ssept.model.train import train

SETTINGS = TrainingSettings(epochs=2, batch_size=16)
NUMBERS = {
    ("--batch-size", "--epochs", "--patience", "--validation-users", "--item-dim",
     "--max-length", "--blocks", "--heads"): ("0", "-4", "1.5", "nan", "x", "", "9" * 999),
    ("--negatives", "--seed", "--threads", "--user-dim", "--decay-epochs"):
        ("-1", "1.5", "inf", "x", "9" * 12),
    ("--max-minutes", "--learning-rate"): ("0", "-1", "nan", "inf", "-inf", "1e999", "x", ""),
    ("--keep-user", "--keep-item", "--random-start"): ("-0.1", "1.1", "nan", "inf", "x"),
    ("--dropout", "--attention-dropout", "--average"): ("-0.1", "1", "1.5", "nan", "inf", "x"),
}  # fmt: skip
CASES = [
    (option, text) for options, texts in NUMBERS.items() for option in options for text in texts
]


def config_for(dataset: Dataset) -> SSEPTConfig:
    return SSEPTConfig(dataset.users, dataset.items, item_dim=8, user_dim=8, max_length=10)


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    """The last line of the errors, without the usage; bounded."""
    last = capsys.readouterr().err.splitlines()[-1]
    assert len(last) < 400
    return last


@pytest.mark.parametrize(("option", "text"), CASES, ids=lambda text: text[:14])
def test_a_number_is_checked_before_the_data_are_read(
    option: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", str(tmp_path / "missing"), f"{option}={text}"])
    assert ended.value.code == 2
    said = error_of(capsys)
    assert f"argument {option}: {text[:80]}: expected" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--heads=4", "--user-dim=50"], "a width of 114 does not divide into 4 heads"),
        (["--loss=mse"], "loss is 'mse'; expected one of ce, bce"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_before_the_data_are_read(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(tmp_path / "missing"), *options]) == 1
    assert error_of(capsys) == f"ssept: error: {said}"


def test_a_place_that_cannot_be_written_is_refused_before_the_data_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "a.safetensors.training").mkdir()
    refused = {
        tmp_path: "is not a regular file; expected the name of a file to write",
        tmp_path / "file" / "a.safetensors": "cannot be written",
        tmp_path / "a.safetensors": "training: is not a regular file",
        Path("/proc/new/a.safetensors"): "/proc: cannot be written",
        Path("/dev/null"): "is not a regular file",
    }
    for out, said in refused.items():
        assert main(["train", str(tmp_path / "missing"), f"--out={out}"]) == 1
        assert said in error_of(capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors.training", "file"]


def test_a_place_that_is_to_be_made_is_not_made_for_a_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(tmp_path / "missing"), f"--out={tmp_path / 'new/a.x'}"]) == 1
    assert "missing: does not exist" in error_of(capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("loss", ["ce", "bce"])
@pytest.mark.parametrize("rate", [1e6, 1e30, 1.7e308])
def test_a_loss_that_is_no_number_ends_the_training(
    loss: str, rate: float, small: Dataset, tmp_path: Path
) -> None:
    settings = dataclasses.replace(SETTINGS, loss=loss, learning_rate=rate)
    with pytest.raises(TrainingError) as caught:
        train(small, config_for(small), settings, tmp_path / "a.safetensors", "small")
    said = str(caught.value)
    assert "in epoch 1; train with a learning rate below" in said
    assert said.startswith(("loss is NaN", "loss is infinite", "a score is NaN"))
    assert not list(tmp_path.iterdir())


def test_a_user_who_has_the_whole_catalog_leaves_no_negative(tmp_path: Path) -> None:
    header = "userId,movieId,rating,timestamp\n"
    rows = [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)]
    (tmp_path / "train.csv").write_text(header + "".join(f"{u},{i},1,{i}\n" for u, i in rows))
    for split in ("val", "test"):
        (tmp_path / f"{split}.csv").write_text(f"{header}2,3,1,9\n")
    dataset = load_dataset(tmp_path)
    settings = dataclasses.replace(SETTINGS, loss="bce")
    with pytest.raises(DataError, match=r"train\.csv: user 1 has all 3 items.*use --loss ce"):
        train(dataset, config_for(dataset), settings, tmp_path / "a.safetensors", "tiny")
    train(dataset, config_for(dataset), SETTINGS, tmp_path / "a.safetensors", "tiny")


def test_histories_of_one_item_teach_nothing(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("".join(f"{u} {i}\n" for u in (1, 2) for i in (1, 2, 3)))
    prepare(tmp_path / "list.txt", tmp_path / "out", progress=False)
    dataset = load_dataset(tmp_path / "out")
    with pytest.raises(DataError, match=r"train\.csv: no user has two items"):
        train(dataset, config_for(dataset), SETTINGS, tmp_path / "a.safetensors", "tiny")
