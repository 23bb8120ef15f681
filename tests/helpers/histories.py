"""Histories of a branch in which the changes are known, with the noise of measured ratios.

`python -m tests.helpers.histories` tells how many of planted changes `ssept history` finds, and how
many it finds where there are none.
"""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np

from ssept.decide.history.run import history
from ssept.results.cells import MatrixRun
from ssept.results.files import run_of
from tests.helpers.matrix import run_content

# Logarithms of ratios of a file to itself, by `ssept self-test --studies=ratio_quiet,ratio_noisy`.
NOISE: dict[str, list[float]] = json.loads(
    (Path(__file__).parents[1] / "data/ratio_noise.json").read_text()
)
CELLS = {f"{variant}-{provider}-b{batch}": speed for variant, provider, batch, speed in (
    ("fused", "cpu", 1, 2.5), ("fused", "cpu", 64, 3.6), ("fused_int8", "cpu", 1, 3.3),
    ("fused_int8", "cpu", 64, 5.2), ("onnx", "openvino", 1, 0.8), ("onnx", "openvino", 64, 1.0),
)}  # fmt: skip
START = datetime(2026, 1, 1, tzinfo=timezone.utc)
RUNS, PLANTED, CHANGE = 60, 10, 0.10
HISTORIES = 20


def commit(number: int) -> str:
    """The hash of a made-up commit."""
    return f"{number:04x}" * 10


def content(number: int, speeds: Mapping[str, float], ndcg: float = 0.26) -> dict[str, Any]:
    """The saved run of a commit: these cells, and the accuracy of one."""
    facts: list[dict[str, Any]] = []
    for cell, speed in speeds.items():
        variant, provider, batch = cell.split("-")
        facts.append(
            {"measure": "latency", "variant": variant, "provider": provider}
            | {"batch": int(batch[1:]), "call": "recommend", "length": 50}
            | {"speedup": {"value": speed, "low": 0.99 * speed, "high": 1.01 * speed}}
        )
    exact = {"value": ndcg, "low": ndcg - 0.01, "high": ndcg + 0.01}
    facts.append({"measure": "accuracy", "split": "test", "full": {"ndcg": exact}})
    time = (START + timedelta(days=number)).isoformat()
    return run_content(*facts) | {
        "datetime": time,
        "commit_info": {"id": commit(number), "dirty": False, "time": time},
        "machine_info": {"ssept": {"cpu": "CPU A", "cpus_allowed": 2, "packages": {"numpy": "2"}}},
    }


def noisy_runs(
    random: np.random.Generator, noise: Sequence[float], factors: Mapping[int, float], runs: int
) -> list[MatrixRun]:
    """Runs of one branch; from a number on, all cells are `factors` times as fast as before."""
    found, level = [], 1.0
    for number in range(runs):
        level *= factors.get(number, 1.0)
        speeds = {
            cell: speed * level * math.exp(random.choice(noise)) for cell, speed in CELLS.items()
        }
        run = run_of(Path(f"{number:04}_run.json"), content(number, speeds))
        assert isinstance(run, MatrixRun)
        found.append(run)
    return found


def planted(random: np.random.Generator) -> dict[int, float]:
    """Places of changes, at least three runs apart, and their factors: up or down."""
    while True:
        places = sorted(random.choice(range(3, RUNS - 2), PLANTED, replace=False).tolist())
        if all(b - a >= 3 for a, b in itertools.pairwise(places)):
            return {at: (1 + CHANGE) ** random.choice([-1, 1]) for at in places}


def found_and_false(runs: Sequence[MatrixRun], places: Sequence[int]) -> tuple[int, int]:
    """How many places are found within one commit, and how many places found are none."""
    numbers = {commit(number): number for number in range(len(runs))}
    at = {numbers[change.first_after] for change in history(runs).changes}
    hit = {place for place in places if any(abs(place - each) <= 1 for each in at)}
    return len(hit), sum(all(abs(place - each) > 1 for place in places) for each in at)


def main() -> None:
    """Print the rates."""
    for name, noise in NOISE.items():
        hits, false, alarms = 0, 0, 0
        for seed in range(HISTORIES):
            random = np.random.default_rng(seed)
            factors = planted(random)
            hit, wrong = found_and_false(noisy_runs(random, noise, factors, RUNS), [*factors])
            hits, false = hits + hit, false + wrong
            alarms += found_and_false(noisy_runs(random, noise, {}, RUNS), [])[1]
        print(
            f"{name}: of {HISTORIES * PLANTED} changes of {CHANGE:.0%} in {HISTORIES} histories of "
            f"{RUNS} runs and {len(CELLS)} cells, {hits} found within one commit, {false} found "
            f"where none was; in {HISTORIES} histories without a change, {alarms} found"
        )


if __name__ == "__main__":
    main()
