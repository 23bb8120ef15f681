"""Training that is killed ends as if it had not been; several processes train as one does."""

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from ssept.data.synthetic import prepare_synthetic

# Nothing is drawn that differs between one process and two: no dropout.
SETTINGS = (
    "--item-dim=16", "--user-dim=8", "--max-length=20", "--epochs=8", "--patience=9",
    "--learning-rate=0.003", "--random-start=0.5", "--threads=1",
)  # fmt: skip
UNEQUAL = re.compile(rb'(\\?"seconds\\?": )[0-9.]+')


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic") / "data"
    prepare_synthetic(folder, users=300, items=300, seed=1)
    return folder


def started(out: Path, data: Path, *options: str, processes: int = 1) -> subprocess.Popen[str]:
    return ssept("train", str(data), f"--out={out}", *SETTINGS, *options, processes=processes)


def numbers(facts: Any) -> Iterator[float]:
    """Yield the figures below a part of the JSON."""
    if isinstance(facts, float):
        yield facts
    elif isinstance(facts, dict | list):
        for part in facts.values() if isinstance(facts, dict) else facts:
            yield from numbers(part)


def ssept(*arguments: str, processes: int = 1) -> subprocess.Popen[str]:
    command = ["-m", "ssept.cli", *arguments]
    if processes > 1:
        runner = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command = [*runner, *command]
    return subprocess.Popen(
        [sys.executable, *command],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_run_that_is_killed_three_times_ends_as_if_it_had_not_been(
    data: Path, tmp_path: Path
) -> None:
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    options = ("--average=0.9", "--dropout=0.2")
    started(whole, data, *options).communicate()
    for lines in (1, 2, 3):
        run = started(parts, data, *options)
        assert run.stderr is not None
        seen = [line for line in itertools.islice(run.stderr, lines) if line.startswith("epoch")]
        run.kill()
        run.communicate()
        assert len(seen) == lines
        assert not parts.exists()
    last = started(parts, data, *options)
    output, errors = last.communicate()
    assert last.returncode == 0, errors
    assert "best epoch" in output
    assert "epoch 1:" not in errors
    one, other = (UNEQUAL.sub(rb"\1", path.read_bytes()[8:]) for path in (whole, parts))
    # The length of the seconds changes the padding of the header.
    assert one.replace(b" ", b"") == other.replace(b" ", b"")
    assert sorted(path.name for path in tmp_path.iterdir()) == [parts.name, whole.name]


@pytest.mark.parametrize("loss", ["ce", "bce"])
def test_two_processes_train_as_one_does(loss: str, data: Path, tmp_path: Path) -> None:
    same = ("--dropout=0", "--attention-dropout=0", "--epochs=3", f"--loss={loss}")
    networks, outputs = [], []
    for count in (1, 2):
        out = tmp_path / f"{count}.safetensors"
        run = started(out, data, *same, processes=count)
        output, errors = run.communicate()
        assert run.returncode == 0, errors
        networks.append(load_file(out))
        outputs.append(output.replace(str(out), ""))
    for output in outputs:
        assert len(output.splitlines()) == 1
    if loss == "bce":  # its negatives are drawn by each process
        scores = [float(re.findall(r"NDCG@10 ([0-9.]+)", output)[0]) for output in outputs]
        assert scores[0] == pytest.approx(scores[1], abs=0.05)
        return
    one, other = networks
    for name, values in one.items():
        np.testing.assert_allclose(values, other[name], atol=2e-3, err_msg=name)


def test_two_processes_evaluate_as_one_does(data: Path, tmp_path: Path) -> None:
    model, found = tmp_path / "m.safetensors", []
    started(model, data, "--epochs=1").communicate()
    for count in (1, 2):
        out = tmp_path / f"{count}.json"
        options = (f"--data-dir={data}", f"--out={out}")
        run = ssept("evaluate", str(model), *options, processes=count)
        output, errors = run.communicate()
        assert run.returncode == 0, errors
        assert output.count("300 targets") == 1
        facts = json.loads(out.read_text())
        found.append([*numbers([facts["popularity"], facts["models"]])])
    assert len(found[0]) > 30
    # Other batches round the scores otherwise.
    assert found[0] == pytest.approx(found[1], abs=1e-3, nan_ok=True)


def test_processes_go_on_where_others_were_killed(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    run = started(out, data, processes=2)
    assert run.stderr is not None
    assert any(line.startswith("epoch 1") for line in run.stderr)
    run.terminate()
    run.communicate()
    assert not out.exists()
    last = started(out, data, processes=2)
    _, errors = last.communicate()
    assert last.returncode == 0, errors
    epochs = [int(number) for number in re.findall(r"^epoch (\d+):", errors, re.MULTILINE)]
    assert epochs == list(range(epochs[0], 9))
    assert epochs[0] > 1
