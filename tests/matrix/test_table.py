"""The summary table: what it marks, and what it leaves out."""

from typing import Any

import pytest

from ssept.report.table import matrix_report
from tests.helpers.matrix import saved_run

CELL = {
    "variant": "onnx",
    "provider": "openvino",
    "size_bytes": 4_500_000,
    "placement": {"OpenVINO": 3, "CPU": 1},
}


def table_with(speedup: dict[str, float] | None, *others: dict[str, Any]) -> str:
    latency = {
        "measure": "latency",
        "batch": 1,
        "p50_ms": {"value": 0.2, "low": 0.1, "high": 0.3},
        "p95_ms": None,
        "p99_ms": None,
        "speedup": speedup,
    }
    return matrix_report(saved_run(*(CELL | facts for facts in (latency, *others))))


@pytest.mark.parametrize(
    ("value", "low", "high", "shown"),
    [(1.05, 0.9, 1.1, "1.05~"), (1.05, 1.01, 1.1, "1.05"), (0.95, 0.9, 0.99, "0.95")],
)
def test_a_ratio_that_may_be_1_is_marked(value: float, low: float, high: float, shown: str) -> None:
    table = table_with({"value": value, "low": low, "high": high})
    row = next(line for line in table.splitlines() if line.startswith("onnx-openvino"))
    assert row.split()[-1] == shown


def test_a_loss_stands_beside_the_speed() -> None:
    loss = {"value": -0.0123, "low": -0.02, "high": 0.0}
    budget = {"measure": "budget", "ndcg_change": loss, "max_ndcg_loss": 0.02}
    table = table_with({"value": 1.05, "low": 1.01, "high": 1.1}, budget)
    row = next(line for line in table.splitlines() if line.startswith("onnx-"))
    assert row.split()[1:] == ["4.50", "-1.23", "1.05"]


def test_what_was_not_measured_has_no_column() -> None:
    table = table_with(None)
    assert "×b1" not in table.split("* baseline")[0]
    assert "p95 " not in table.split("* baseline")[0]
    assert "0.200" in table


def test_a_shared_graph_shows_both_providers() -> None:
    assert "OpenVINO 3/4, CPU 1/4" in table_with(None)
