"""`ssept findings`: claims that made-up runs confirm, refute or do not answer."""

import json
from pathlib import Path
from typing import Any

import pytest

from ssept.cli import main
from ssept.report.findings import findings_markdown
from tests.helpers.matrix import saved_run

QUESTIONS = 5


def timed(variant: str, speedup: float, **facts: Any) -> dict[str, Any]:
    ends = {"value": speedup, "low": speedup * 0.99, "high": speedup * 1.01}
    p50 = {"value": 1 / speedup, "low": 0.99 / speedup, "high": 1.01 / speedup}
    size = {"onnx": 400, "quant_dynamic": 150, "quant_static_aggressive": 100}[variant]
    facts = {"provider": "cpu", "batch": 1, "size_bytes": size * 10_000} | facts
    return {"measure": "latency", "variant": variant, "speedup": ends, "p50_ms": p50} | facts


def budget(low: float) -> dict[str, Any]:
    change = {"value": low + 0.002, "low": low, "high": low + 0.004}
    return {"measure": "budget", "ndcg_change": change, "max_ndcg_loss": 0.01}


def verdicts(*facts: dict[str, Any]) -> list[str]:
    page = findings_markdown([saved_run(*facts)], "ssept findings")
    assert page.count("### ") == QUESTIONS
    return [line.strip("*") for line in page.splitlines() if line.startswith("**")]


@pytest.mark.parametrize(
    ("speedup", "said"),
    [
        (1.2, "Confirmed."),
        (2.0, "It is faster in 1 of 1 cells, in some by a factor of 1.5 or more."),
        (0.9, "Refuted here: it is faster in no cell."),
        (1.005, "Refuted here: it is faster in no cell."),  # within its interval
    ],
)
def test_dynamic_quantization(speedup: float, said: str) -> None:
    assert verdicts(timed("onnx", 1.0), timed("quant_dynamic", speedup))[0] == said


@pytest.mark.parametrize(
    ("speedup", "slower"),
    [(0.8, 1), (1.2, 0), (1.0, 0)],
)
def test_static_quantization(speedup: float, slower: int) -> None:
    found = verdicts(timed("onnx", 1.0), timed("quant_static_aggressive", speedup))[1]
    size = "The file has 25 % of the size of the FP32 export."
    assert found == f"It is slower in {slower} of 1 cells. {size}"


def test_a_variant_is_compared_on_its_own_provider() -> None:
    slow = [timed("onnx", 0.5, provider="openvino")]
    quick = [timed("quant_dynamic", 0.6, provider="openvino")]
    assert verdicts(timed("onnx", 1.0), *slow, *quick)[0] == "Confirmed."


@pytest.mark.parametrize(
    ("low", "said"),
    [(-0.009, "Confirmed: each one stays within its budget."), (-0.011, "1 do not.")],
)
def test_accuracy(low: float, said: str) -> None:
    assert verdicts(timed("onnx", 1.0), budget(low))[2] == said


@pytest.mark.parametrize(("other", "far"), [(1.3, 1), (1.05, 0)])
def test_providers(other: float, far: int) -> None:
    found = verdicts(timed("onnx", 1.0), timed("onnx", other, provider="openvino"))[3]
    assert found == (
        f"The fastest provider is more than 10% faster than the slowest in {far} of 1 comparisons."
    )


def test_what_a_run_lacks_is_not_answered() -> None:
    assert verdicts(budget(0.0)).count("Not answered.") == QUESTIONS - 1


SAVED = sorted(Path(__file__).parents[1].glob("data/runs/*.json"))


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.stem)
def test_any_saved_run_gives_a_page_or_one_line(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "findings.md"
    status = main(["findings", str(path), "--out", str(out)])
    of_matrix = "ssept" in json.loads(path.read_bytes())
    assert status == (0 if of_matrix else 1)
    assert out.exists() == of_matrix
    assert len(capsys.readouterr().err.splitlines()) == (0 if of_matrix else 1)
