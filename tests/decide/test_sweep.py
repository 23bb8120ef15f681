"""`ssept sweep`: how layers are chosen, what is kept, and what the table says."""

import contextlib
import io
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ssept.cli import main
from ssept.data.dataset import load_dataset
from ssept.data.formats import COLUMNS
from ssept.decide.sweep.search import (
    FP32,
    ROUNDS,
    File,
    LayerSet,
    SweepResult,
    geometric_mean,
    search,
)
from ssept.estimate import Estimate
from ssept.report.sweep import sweep_table
from ssept.variants import fused, topk
from tests.conftest import untrained
from tests.helpers.integer_products import REASON

USERS, ITEMS, HISTORY = 30, 24, 6


@dataclass(frozen=True)
class Layer:
    """What a made-up layer in INT8 does: to the log of the speed, to NDCG@10, to the size."""

    gain: float = 0.0
    loss: float = 0.0
    saves: int = 0


@dataclass
class MadeUp:
    """Sets whose figures are the sums of their layers', plus `together` where all of a key are."""

    of: Mapping[str, Layer]
    together: Mapping[LayerSet, Layer] = field(default_factory=dict)
    width: float = 0.001
    timed: list[tuple[LayerSet, LayerSet]] = field(default_factory=list)

    @property
    def layers(self) -> Sequence[str]:
        return list(self.of)

    def file(self, int8: LayerSet) -> File:
        change = -sum(each.loss for each in self._in(int8))
        size = 1000 - sum(each.saves for each in self._in(int8))
        width = 0.001 if int8 else 0.0
        return File(size, 0.1 * (1 + change), Estimate(change, change - width, change + width))

    def ratios(self, int8: LayerSet, against: LayerSet) -> dict[int, Estimate]:
        self.timed.append((int8, against))
        log = sum(each.gain for each in self._in(int8)) - sum(
            each.gain for each in self._in(against)
        )
        return {
            batch: Estimate(*(math.exp(log + by) for by in (0, -self.width, self.width)))
            for batch in (1, 64)
        }

    def _in(self, int8: LayerSet) -> list[Layer]:
        joint = [effect for layers, effect in self.together.items() if layers <= int8]
        return [*(self.of[layer] for layer in int8), *joint]


def found(sets: MadeUp, max_loss: float = 0.01) -> SweepResult:
    return search(sets, max_loss, lambda *_: None)


def names(*layers: str) -> LayerSet:
    return frozenset(layers)


def test_what_is_faster_is_chosen_and_what_is_slower_is_not() -> None:
    sets = MadeUp({"fast": Layer(0.1), "slow": Layer(-0.1, saves=50), "same": Layer()})
    result = found(sets)
    assert result.chosen.int8 == names("fast")
    assert result.chosen.against == FP32
    assert result.chosen.ratios[64].value == pytest.approx(math.exp(0.1))
    assert result.settled


def test_what_is_not_slower_must_make_the_file_smaller() -> None:
    layers = {"smaller": Layer(saves=50), "larger": Layer(saves=-50)}
    assert found(MadeUp(layers)).chosen.int8 == names("smaller")
    # Where the interval is wide, nothing says that it is not slower.
    assert found(MadeUp(layers, width=0.03)).chosen.int8 == FP32


def test_a_set_that_loses_too_much_is_reduced_by_loss_for_speed() -> None:
    sets = MadeUp(
        {
            "cheap": Layer(0.10, loss=0.002),
            "fast": Layer(0.20, loss=0.006),  # loses more than `poor`, and gains far more
            "poor": Layer(0.02, loss=0.005),
            "small": Layer(0.0, loss=0.001, saves=50),  # gains no speed at all
        }
    )
    result = found(sets)
    assert result.dropped == ["small", "poor"]
    assert result.chosen.int8 == names("cheap", "fast")
    assert result.chosen.file.ndcg_change.low >= -0.01
    assert found(sets, max_loss=0.02).chosen.int8 == names(*sets.layers)
    assert found(sets, max_loss=0.0).chosen.int8 == FP32


def test_the_lower_end_of_the_loss_decides() -> None:
    sets = MadeUp({"layer": Layer(0.1, loss=0.0095)})  # the interval ends at 0.0105
    assert found(sets).chosen.int8 == FP32
    assert found(sets, max_loss=0.011).chosen.int8 == names("layer")


def test_what_pays_beside_others_only_is_added() -> None:
    table = names("rows", "scores")
    sets = MadeUp(
        {"rows": Layer(saves=-100), "scores": Layer(0.1, saves=-100)},
        {table: Layer(saves=500)},  # one table for both
    )
    result = found(sets)
    assert [one.better for one in result.rounds] == [table, None]
    assert result.chosen.int8 == table


def test_what_does_not_pay_beside_others_is_put_back() -> None:
    sets = MadeUp({"a": Layer(0.1), "b": Layer(0.05)}, {names("a", "b"): Layer(-0.1)})
    result = found(sets)
    assert result.chosen.int8 == names("a")
    assert result.rounds[0].start == names("a", "b")


def test_neighbours_are_timed_against_the_set_unless_they_lose_too_much() -> None:
    sets = MadeUp({"a": Layer(0.1), "b": Layer(-0.1), "lossy": Layer(-0.1, loss=0.5)})
    (only,) = found(sets).rounds
    assert [trial.int8 for trial in only.trials] == [FP32, names("a", "b")]
    assert only.lossy == [names("a", "lossy")]
    assert (names("a", "b"), names("a")) in sets.timed
    assert not any(int8 == names("a", "lossy") for int8, _ in sets.timed)


def test_a_search_that_finds_something_better_each_time_ends() -> None:
    class Restless(MadeUp):
        def ratios(self, int8: LayerSet, against: LayerSet) -> dict[int, Estimate]:
            return {1: Estimate(1.2, 1.1, 1.3)}

    result = found(Restless({name: Layer() for name in "abcde"}))
    starts = [one.start for one in result.rounds]
    assert len(starts) == len(set(starts)) == ROUNDS
    assert not result.settled
    assert "still found something better" in sweep_table(result)


def test_the_geometric_mean_adds_squares_of_the_distances() -> None:
    ratios = [
        Estimate(math.exp(0.3), math.exp(0.0), math.exp(0.4)),
        Estimate(math.exp(0.1), math.exp(-0.3), math.exp(0.1)),
    ]
    mean = geometric_mean(ratios)
    ends = [math.log(end) for end in (mean.value, mean.low, mean.high)]
    assert ends == pytest.approx([0.2, 0.2 - math.hypot(0.3, 0.4) / 2, 0.2 + 0.1 / 2])
    one = geometric_mean(ratios[:1])
    assert (one.value, one.low, one.high) == pytest.approx(
        (ratios[0].value, ratios[0].low, ratios[0].high)
    )


def test_the_table_marks_what_may_be_1() -> None:
    sets = MadeUp({"fast": Layer(0.1, 0.001, saves=600), "same": Layer(loss=0.5)}, width=0.01)
    table = sweep_table(found(sets))
    rows = [line.split() for line in table.splitlines()]
    change = ["+0.00", "%", "[+0.00,", "+0.00]"]
    assert ["all", "in", "FP32", "1.00~", "1.00~", *change, "0.00"] in rows
    assert ["fast", "1.11", "1.11", "-0.10", "%", "[-0.20,", "+0.00]", "0.00", "yes"] in rows
    assert ["same", "1.00~", "1.00~", "-50.00", "%", "[-50.10,", "-49.90]", "0.00", "no"] in rows
    assert "chosen: fast\n" in table
    assert "1.105 [1.094, 1.116] times as fast at batch 1" in table
    assert "40 % of the size" in " ".join(table.split())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog so small that a network without training has hits."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    items = np.concatenate([random.permutation(ITEMS)[: HISTORY + 2] + 1 for _ in range(USERS)])
    place = np.tile(np.arange(HISTORY + 2), USERS)
    values = (np.repeat(np.arange(USERS) + 1, HISTORY + 2), items, 5.0, place)
    frame = pd.DataFrame(dict(zip(COLUMNS, values, strict=True)))
    for split, rows in (
        ("train", place < HISTORY),
        ("val", place == HISTORY),
        ("test", place > HISTORY),
    ):
        frame[rows].to_csv(folder / f"{split}.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def checkpoint(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    sizes = {"item_dim": 8, "user_dim": 8, "max_length": HISTORY, "blocks": 1}
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    return untrained(load_dataset(data), path, **sizes)


@dataclass(frozen=True)
class Run:
    """A finished sweep, which no test changes."""

    arguments: list[str]
    file: Path
    said: str

    def again(self, path: Path, *more: str) -> int:
        return main([*self.arguments, *more, "--out", str(path)])

    @property
    def content(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.file.read_text())
        return content


@pytest.fixture(scope="module")
def run(checkpoint: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    if REASON:
        pytest.skip(REASON)
    file = tmp_path_factory.mktemp("out") / "sweep.json"
    arguments = ["sweep", "--checkpoint", str(checkpoint), "--data-dir", str(data), "--users=20"]
    arguments += ["--batch-sizes=1,3", "--seconds=0.01", "--max-loss=60%"]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert main([*arguments, "--out", str(file)]) == 0
    return Run(arguments, file, said.getvalue())


def layers_of(checkpoint: Path, folder: Path, int8: Collection[str] = ()) -> tuple[list[str], int]:
    """All layers, and the size of the file that is served with some of them in INT8."""
    names = fused.write(checkpoint, folder / "base.onnx", int8)
    topk.append(folder / "base.onnx", folder / "topk.onnx")
    return names, (folder / "topk.onnx").stat().st_size


def test_every_layer_is_tried_and_named(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    names, fp32_bytes = layers_of(checkpoint, tmp_path)
    measured = run.content["measured"]
    assert measured["files"]["fp32"]["size_bytes"] == fp32_bytes
    assert measured["files"]["fp32"]["ndcg_change"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    rows = {line.split()[0]: line for line in run.said.splitlines() if line}
    for name in names:
        assert rows[name].split()[-1] in ("yes", "no")
        assert measured["files"][name]["size_bytes"] == layers_of(checkpoint, tmp_path, [name])[1]
        for batch in ("1", "3"):
            timed = measured["ratios"][f"{name} / fp32"][batch]
            ratio = timed["ratio"]
            assert ratio["low"] <= ratio["value"] <= ratio["high"]
            assert timed["pairs"] >= 120
    assert max(map(len, run.said.splitlines()[:-1])) <= 100


def test_the_file_says_what_was_chosen_and_where(run: Run, checkpoint: Path) -> None:
    content = run.content
    result = content["result"]
    assert set(result["chosen"]) <= set(result["layers"])
    assert result["int8"]["size_bytes"] in {
        each["size_bytes"] for each in content["measured"]["files"].values()
    }
    assert result["int8"]["ndcg_change"]["low"] >= -0.6
    assert content["settings"]["provider"] == "cpu"
    assert content["settings"]["checkpoint"] == checkpoint.stem
    assert content["machine"]["cpu"]
    assert f"written to {run.file}" in run.said


def test_a_finished_sweep_measures_nothing(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("session_times", "user_ndcg"):
        monkeypatch.setattr(f"ssept.decide.sweep.measure.{name}", None)
    path = tmp_path / "sweep.json"
    path.write_bytes(run.file.read_bytes())
    assert run.again(path) == 0
    assert path.read_bytes() == run.file.read_bytes()
    assert capsys.readouterr().out.splitlines()[:-1] == run.said.splitlines()[:-1]


def test_an_interrupted_sweep_goes_on(run: Run, tmp_path: Path) -> None:
    whole = run.content
    begun = {kind: dict(list(whole["measured"][kind].items())[:4]) for kind in ("files", "ratios")}
    path = tmp_path / "sweep.json"
    path.write_text(json.dumps({**whole, "measured": begun, "result": None}))
    assert run.again(path) == 0
    ended = json.loads(path.read_text())
    for kind, kept in begun.items():
        assert kept.items() <= ended["measured"][kind].items()
        assert len(ended["measured"][kind]) > len(kept)
    assert ended["result"]["layers"] == whole["result"]["layers"]
    # What ranks users is not a matter of time: it is the same again.
    files = [content["measured"]["files"] for content in (whole, ended)]
    for name in files[0].keys() & files[1].keys():
        assert files[0][name] == files[1][name]


def test_another_loss_takes_what_was_measured(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "sweep.json"
    path.write_bytes(run.file.read_bytes())
    assert run.again(path, "--max-loss=0") == 0
    ended = json.loads(path.read_text())
    assert ended["result"]["max_loss"] == 0
    assert ended["result"]["int8"]["ndcg_change"]["low"] >= 0
    measured = run.content["measured"]
    assert measured["ratios"].items() <= ended["measured"]["ratios"].items()


def test_other_settings_are_not_mixed(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "sweep.json"
    path.write_bytes(run.file.read_bytes())
    assert run.again(path, "--threads=2") == 1
    said = capsys.readouterr().err
    assert f"{path}: measured with threads 1, and now it is 2" in said
    assert path.read_bytes() == run.file.read_bytes()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a file of `ssept sweep`"),
        ("[]", "not a file of `ssept sweep`"),
        ('{"schema": 1, "settings": {}, "machine": {}}', "not a file of `ssept sweep`"),
        (
            '{"schema": 9, "settings": {}, "machine": {}, "measured": {"files": {}, "ratios": {}}}',
            "schema 9; this version reads 1",
        ),
    ],
)
def test_another_file_is_left_alone(
    text: str, message: str, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "sweep.json"
    path.write_text(text)
    assert run.again(path) == 1
    assert f"{path}: {message}" in capsys.readouterr().err
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--provider=torch", "invalid choice: 'torch'"),  # runs no ONNX files
        ("--provider=cqu", "invalid choice: 'cqu'"),
        ("--batch-sizes=1,0", "0: expected a whole number of at least 1"),
        ("--batch-sizes=", "expected a whole number of at least 1"),
        ("--max-loss=2", "2: expected a share from 0 up and below 100%"),
        ("--max-loss=100%", "100%: expected a share"),
        ("--max-loss=-1%", "-1%: expected a share"),
        ("--users=0", "expected a whole number of at least 1"),
        ("--seconds=0", "expected seconds above 0"),
    ],
)
def test_wrong_arguments(argument: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["sweep", argument])
    assert message in capsys.readouterr().err


def test_the_data_must_be_the_checkpoints(
    run: Run,
    checkpoint: Path,
    small_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "sweep.json"
    assert main(["sweep", "--checkpoint", str(checkpoint), "--out", str(path)]) == 1
    assert (
        "trained on small: give the folder of these data with --data-dir" in capsys.readouterr().err
    )
    assert run.again(path, "--data-dir", str(small_folder)) == 1
    assert "not on the data in" in capsys.readouterr().err
    assert not path.exists()


def test_too_few_hits_are_no_accuracy(
    small_checkpoint: Path, small_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ["--checkpoint", str(small_checkpoint), "--data-dir", str(small_folder)]
    settings = ["--users=1", "--batch-sizes=1", "--seconds=0.01"]
    assert main(["sweep", *model, *settings, "--out", str(tmp_path / "sweep.json")]) == 1
    assert "too few of 1 users have a target among their 10 best" in capsys.readouterr().err
