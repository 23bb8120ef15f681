"""`ssept evaluate`: its figures against a count by hand, its comparisons, and what it refuses."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ssept.cli import main
from ssept.data.dataset import Dataset, load_dataset
from ssept.data.prepare import prepare
from ssept.data.synthetic import prepare_synthetic
from ssept.evaluation import draw_negatives
from ssept.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ssept.model.network import SSEPT, SSEPTConfig


def checkpoint(dataset: Dataset, path: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    sizes = {"item_dim": 8, "user_dim": 8, "max_length": 20}
    model = SSEPT(SSEPTConfig(dataset.users, dataset.items, **sizes)).eval()
    model.set_unknown_user()
    data = {"name": "small", "data_hash": dataset.data_hash}
    training = {"seed": seed}
    save_checkpoint(Checkpoint(model, data, dataset.user_ids, dataset.item_ids, training), path)
    return path


@pytest.fixture(scope="module")
def models(small: Dataset, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    return [checkpoint(small, folder / f"m{seed}.safetensors", seed) for seed in range(4)]


@pytest.fixture
def data(small_folder: Path) -> str:
    return f"--data-dir={small_folder}"


def facts_of(out: Path, *arguments: object) -> dict[str, Any]:
    assert main(["evaluate", *map(str, arguments), f"--out={out}"]) == 0
    facts: dict[str, Any] = json.loads(out.read_text())
    return facts


def by_hand(
    path: Path, dataset: Dataset, split: str, known: bool = True, sampled: bool = False
) -> np.ndarray:
    """The rank of each target, with the padded network and a count."""
    model = load_checkpoint(path).model
    negatives = draw_negatives(dataset.cases(split), dataset.items)
    assert negatives is not None
    ranks = []
    for user, target in enumerate(dataset.val if split == "val" else dataset.test):
        history = [*dataset.train[user], *([dataset.val[user]] if split == "test" else [])]
        sequence = ([0] * 20 + [int(item) for item in history])[-20:]
        with torch.inference_mode():
            scores = model(torch.tensor([user + 1 if known else 0]), torch.tensor([sequence]))[0]
        free = [i for i in range(1, dataset.items + 1) if i not in history and i != target]
        others = negatives[user] if sampled else free
        assert {*others} <= {*free}
        ranks.append(1 + int((scores[others] > scores[int(target)]).sum()))
    return np.array(ranks)


def popularity_only(dataset: Dataset, path: Path) -> Path:
    """A model whose scores are how often items occur in training, whatever it is asked."""
    checkpoint(dataset, path, 0)
    found = load_checkpoint(path)
    with torch.no_grad():
        found.model.norm.weight.zero_()
        found.model.norm.bias.zero_()[0] = 1
        found.model.item.weight[:, 0] = torch.from_numpy(dataset.popularity)
    save_checkpoint(found, path)
    return path


@pytest.mark.parametrize("split", ["val", "test"])
def test_the_figures_are_those_counted_by_hand(
    split: str, small: Dataset, models: list[Path], data: str, tmp_path: Path
) -> None:
    facts = facts_of(tmp_path / "out.json", models[0], data, f"--split={split}")
    model = facts["models"][0]
    for name, known in (("full", True), ("sampled", True), ("unknown", False)):
        ranks = by_hand(models[0], small, split, known, name == "sampled")
        hits = ranks <= 10
        gains = np.where(hits, 1 / np.log2(ranks + 1), 0)
        assert model[name]["hr@10"]["value"] == pytest.approx(hits.mean())
        assert model[name]["ndcg@10"]["value"] == pytest.approx(gains.mean())
        interval = model[name]["hr@10"]
        assert interval["low"] <= interval["value"] <= interval["high"]
    assert facts["cases"] == facts["targets"] == small.users
    assert model["full"] != model["unknown"]
    assert facts["method"] == "leave-one-out"
    assert model["training"] == {"seed": 0}


def test_a_model_that_knows_popularity_alone_is_as_good_as_popularity(
    small: Dataset, data: str, tmp_path: Path
) -> None:
    facts = facts_of(
        tmp_path / "out.json", popularity_only(small, tmp_path / "m.safetensors"), data
    )
    of, popularity = facts["models"][0], facts["popularity"]
    assert of["full"]["hr@10"]["value"] > 0
    assert of["full"] == of["unknown"] == popularity["full"]
    assert of["sampled"] == popularity["sampled"]
    assert of["groups"] == popularity["groups"]
    assert popularity["unknown"] == {}


def test_groups_are_by_length_and_by_the_targets_share_of_training(
    small: Dataset, models: list[Path], data: str, tmp_path: Path
) -> None:
    facts = facts_of(tmp_path / "out.json", models[0], data)
    ranks = by_hand(models[0], small, "test")
    bought = [int(item) for history in small.train for item in history]
    by_count = sorted(range(1, small.items + 1), key=lambda item: -bought.count(item))
    thirds: dict[int, str] = {}
    before = 0
    for item in by_count:  # the first of a third may begin in it only
        part = min(3 * before // len(bought), 2)
        thirds[item] = f"target among the {['popular', 'middle', 'rare'][part]} items"
        before += bought.count(item)
    lengths = [len(history) + 1 for history in small.train]
    ends = [(0, 20), (21, 50), (51, 100), (101, 200)]
    spans = [f"history of {a} to {b} items" for n in lengths for a, b in ends if a <= n <= b]
    for own in ([thirds[int(target)] for target in small.test], spans):
        for name in {*own}:
            rows = np.array([each == name for each in own])
            figure = facts["models"][0]["groups"][name]["hr@10"]
            assert facts["groups"][name] == rows.sum()
            assert figure["value"] == pytest.approx((ranks[rows] <= 10).mean())
            assert (figure["low"] is None) == (rows.sum() < 30)
    hit = {thirds[int(target)] for target in small.test}
    assert {*facts["groups"]} == {*spans, *hit}


def test_groups_take_each_case_once_and_average_to_the_whole(
    models: list[Path], data: str, tmp_path: Path
) -> None:
    facts = facts_of(tmp_path / "out.json", models[0], data)
    for kind in ("history", "target"):
        counts = {name: n for name, n in facts["groups"].items() if name.startswith(kind)}
        assert sum(counts.values()) == facts["cases"]
        whole = sum(
            n * facts["models"][0]["groups"][name]["hr@10"]["value"] for name, n in counts.items()
        )
        assert whole / facts["cases"] == pytest.approx(facts["models"][0]["full"]["hr@10"]["value"])


def test_seeds_are_averaged_and_compared_user_by_user(
    models: list[Path], data: str, tmp_path: Path
) -> None:
    facts = facts_of(tmp_path / "out.json", *models[:2], data, "--against", *models[2:])
    values = [each["full"]["hr@10"]["value"] for each in (*facts["models"], *facts["against"])]
    assert facts["mean"]["full"]["hr@10"]["value"] == pytest.approx(np.mean(values[:2]))
    difference = facts["difference"]["full"]["hr@10"]
    assert difference["value"] == pytest.approx(np.mean(values[:2]) - np.mean(values[2:]))
    same = facts_of(tmp_path / "same.json", *models[:2], data, "--against", models[1], models[0])
    assert same["difference"]["full"]["ndcg@10"] == {"value": 0, "low": 0, "high": 0}


def test_the_paired_interval_is_narrower_than_that_of_unrelated_models(
    small: Dataset, models: list[Path], data: str, tmp_path: Path
) -> None:
    near = load_checkpoint(models[0])
    with torch.no_grad():
        near.model.item.weight[1:] += 0.01 * torch.randn(small.items, 8)
    save_checkpoint(near, tmp_path / "near.safetensors")
    widths = []
    for other in (tmp_path / "near.safetensors", models[1]):
        facts = facts_of(tmp_path / "out.json", models[0], data, "--against", other)
        interval = facts["difference"]["sampled"]["ndcg@10"]
        widths.append(interval["high"] - interval["low"])
    assert widths[0] < 0.7 * widths[1]


def test_a_sample_of_users_is_the_same_each_time(
    models: list[Path], data: str, tmp_path: Path
) -> None:
    outs = [facts_of(tmp_path / f"{n}.json", models[0], data, "--users=9") for n in range(2)]
    assert outs[0] == outs[1]
    assert outs[0]["cases"] == 9


def test_one_user_has_figures_but_no_interval(
    models: list[Path], data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = facts_of(tmp_path / "out.json", models[0], data, "--users=1", "--against", models[1])
    assert (facts["cases"], facts["targets"]) == (1, 40)
    for of in (facts["models"][0], facts["difference"]):
        interval = of["sampled"]["ndcg@10"]
        assert (interval["low"], interval["high"]) == (None, None)
        assert interval["value"] is not None
    text = capsys.readouterr().out
    assert "1 of 40 targets" in text
    assert "[–, –]" in text
    assert "fewer than 30 targets" in text


def test_files_of_the_same_name_keep_their_rows_and_columns(
    small: Dataset, data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = []
    for seed in range(3):
        (tmp_path / str(seed)).mkdir()
        files.append(checkpoint(small, tmp_path / str(seed) / "popularity", seed))
    out = tmp_path / "out.json"
    facts = facts_of(out, files[0], data, "--against", *files[1:])
    text = capsys.readouterr().out
    assert text.count("\npopularity ") == 4
    for each in (*facts["models"], *facts["against"]):
        value = f"{each['full']['ndcg@10']['value']:.4f}"
        (line,) = [row for row in text.splitlines() if row.startswith(_label(each))]
        assert value in line
    head = next(row for row in text.splitlines() if "targets" in row and "mean of" in row)
    assert _label(facts["models"][0]) in head
    assert str(tmp_path) not in out.read_text()


def _label(model: dict[str, Any]) -> str:
    return f"popularity ({model['sha256'][:8]})"


def test_what_others_wrote_into_a_file_is_shown_safely(
    small: Dataset, data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = checkpoint(small, tmp_path / "m.safetensors", 0)
    found = load_checkpoint(path)
    odd = {"data_hash": small.data_hash, "name": "red \x1b[31m"}
    training = {"loss": [float("nan"), 1.5]}
    save_checkpoint(Checkpoint(found.model, odd, small.user_ids, small.item_ids, training), path)
    facts = facts_of(tmp_path / "out.json", path, data)
    assert facts["models"][0]["training"] == {"loss": [None, 1.5]}
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize("form", ["table", "markdown", "json"])
def test_each_format_has_the_figures(
    form: str, models: list[Path], data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = facts_of(tmp_path / "out.json", *models[:2], data)
    capsys.readouterr()
    assert main(["evaluate", *map(str, models[:2]), data, f"--format={form}"]) == 0
    text = capsys.readouterr().out
    if form == "json":
        assert json.loads(text) == facts
        return
    for name in ("popularity", "m0.safetensors", "mean (2)", "100 negatives", "user unknown"):
        assert name in text
    assert f"{facts['mean']['full']['ndcg@10']['value']:.4f}" in text
    assert ("|---" in text) == (form == "markdown")
    assert max(map(len, text.splitlines())) <= 130


def test_a_split_by_time_is_named(tmp_path: Path) -> None:
    header = "userId,movieId,rating,timestamp\n"
    random = np.random.default_rng(0)
    rows = [
        (user, item, 5, 1000 * user + 50 * place if place < 9 else 90_000 + user)
        for user in range(1, 31)
        for place, item in enumerate(random.permutation(150)[:10] + 1)
    ]
    (tmp_path / "ratings.csv").write_text(
        header + "".join(f"{','.join(map(str, row))}\n" for row in rows)
    )
    prepare(tmp_path / "ratings.csv", tmp_path / "out", split="global-time", progress=False)
    dataset = load_dataset(tmp_path / "out")
    model = checkpoint(dataset, tmp_path / "m.safetensors", 1)
    facts = facts_of(tmp_path / "out.json", model, f"--data-dir={tmp_path / 'out'}")
    assert facts["method"] == "global-time"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.safetensors"], "missing.safetensors: no such checkpoint file"),
        (["broken.safetensors"], "broken.safetensors: not a whole"),
        (
            ["m.safetensors", "--against", "other.safetensors"],
            "other.safetensors: trained on small",
        ),
        (["m.safetensors", "--against", "missing.safetensors"], "no such checkpoint file"),
        (["m.safetensors", "--out=file/out.json"], "file"),
        (["m.safetensors", "--out=folder"], "folder: is not a regular file"),
        (["m.safetensors", "fewer.safetensors"], "fewer.safetensors: has 7 users and 20 items"),
        (["m.safetensors", "overflow.safetensors"], "overflow.safetensors: row 0 holds NaN"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_in_one_line(
    arguments: list[str], said: str, small: Dataset, data: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    checkpoint(small, tmp_path / "m.safetensors", 0)
    other = replace(small, data_hash="0" * 64)
    checkpoint(other, tmp_path / "other.safetensors", 0)
    (tmp_path / "broken.safetensors").write_bytes((tmp_path / "m.safetensors").read_bytes()[:-100])
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "out.json").write_text("old")
    fewer = replace(small, user_ids=small.user_ids[:7], item_ids=small.item_ids[:20])
    checkpoint(fewer, tmp_path / "fewer.safetensors", 0)
    overflow = load_checkpoint(tmp_path / "m.safetensors")
    with torch.no_grad():
        overflow.model.item.weight[1:] *= 1e38
    save_checkpoint(overflow, tmp_path / "overflow.safetensors")
    before = sorted(tmp_path.iterdir())
    arguments = arguments if "--out" in "".join(arguments) else [*arguments, "--out=out.json"]
    assert main(["evaluate", *arguments, data]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert len(line) < 400
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "out.json").read_text() == "old"


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_split_without_targets_is_refused(
    split: str, small: Dataset, small_folder: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("train", "val", "test"):
        text = (small_folder / f"{name}.csv").read_text()
        kept = text.splitlines(keepends=True)[0] if name == split else text
        (folder / f"{name}.csv").write_text(kept)
    model = checkpoint(load_dataset(folder), tmp_path / "m.safetensors", 0)
    assert main(["evaluate", str(model), f"--data-dir={folder}", f"--split={split}"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{split}.csv: has no targets" in line


def test_data_that_the_model_was_not_trained_on_are_refused(
    models: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare_synthetic(tmp_path / "other", users=30, items=300, seed=4)
    for folder in ("other", "nowhere"):
        assert main(["evaluate", str(models[0]), f"--data-dir={tmp_path / folder}"]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert ("trained on small" if folder == "other" else "does not exist") in line


def test_data_have_to_be_named_for_a_model_of_others(
    models: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MOVIELENS_DATA_DIR", raising=False)
    assert main(["evaluate", str(models[0])]) == 1
    assert (
        "trained on small: give the folder of these data with --data-dir" in capsys.readouterr().err
    )
