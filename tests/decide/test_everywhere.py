"""`ssept choose` with runs of several machines: the best on each, and one that is good on all."""

import json
from pathlib import Path
from typing import Any

import pytest

from ssept.cli import main
from ssept.decide.choose import Goal, Promises
from ssept.decide.choose.everywhere import everywhere
from ssept.errors import SseptError
from ssept.files import write_json
from ssept.report.everywhere import everywhere_text
from ssept.results.cells import MatrixRun
from ssept.results.files import run_of
from tests.helpers.matrix import run_content

SPEEDS = {
    "AMD": {"onnx-cpu": 1.0, "fused-cpu": 3.0, "fused-openvino": 2.0, "fused_int8-cpu": 2.7},
    "Intel": {"onnx-cpu": 1.0, "fused-cpu": 2.0, "fused-openvino": 4.0, "fused_int8-cpu": 3.6},
}


def content(cpu: str, *, cells: dict[str, float] | None = None, **changed: Any) -> dict[str, Any]:
    facts: list[dict[str, Any]] = []
    for cell, speed in (cells or SPEEDS[cpu]).items():
        variant, provider = cell.split("-")
        own = {"variant": variant, "provider": provider}
        lost = {"value": -0.001, "low": -0.002, "high": 0.0}
        ratio = {"value": speed, "low": 0.99 * speed, "high": 1.01 * speed}
        timed = {"measure": "latency", "batch": 1, "speedup": ratio, "fps": 100 * speed}
        timed["p50_ms"] = {"value": 10 / speed, "low": 9.9 / speed, "high": 10.1 / speed}
        facts.append(own | timed)
        facts.append(own | {"measure": "budget", "ndcg_change": lost})
    made = run_content(*(each | changed for each in facts))
    made["machine_info"] = {"node": f"host-{cpu}", "ssept": {"cpu": cpu, "cpus_allowed": 4}}
    return made


def run(cpu: str, **changed: Any) -> MatrixRun:
    found = run_of(Path(f"{cpu}.json"), content(cpu, **changed))
    assert isinstance(found, MatrixRun)
    return found


def test_the_cell_with_the_smallest_largest_regret_is_best_on_no_machine() -> None:
    found = everywhere([run("AMD"), run("Intel")], Goal.LATENCY, Promises())
    assert [str(each.found.chosen.cell) for each in found.machines if each.found.chosen] == [
        "fused-cpu",
        "fused-openvino",
    ]
    assert found.chosen == "fused_int8-cpu-b001"
    assert found.regrets[found.chosen] == pytest.approx([3.0 / 2.7 - 1, 4.0 / 3.6 - 1])
    assert found.regrets["fused-cpu-b001"] == pytest.approx([0, 1])
    text = everywhere_text(found)
    assert "One for all machines: fused_int8-cpu-b001. The best of a machine is at most 11.1 %" in (
        " ".join(text.split())
    )
    assert max(map(len, text.splitlines())) <= 100


def test_a_cell_that_one_machine_lacks_is_not_for_all() -> None:
    less = {name: speed for name, speed in SPEEDS["Intel"].items() if "int8" not in name}
    found = everywhere([run("AMD"), run("Intel", cells=less)], Goal.LATENCY, Promises())
    assert found.lacking == {"fused_int8-cpu-b001": [2]}
    assert found.chosen == "fused-openvino-b001"
    broken = Promises(max_mb=1e-9)
    assert everywhere([run("AMD"), run("Intel")], Goal.LATENCY, broken).chosen is None


def test_prices_give_the_cost_of_a_million_by_cpu_or_host() -> None:
    runs = [run("AMD"), run("Intel")]
    prices = {"AM*": 0.36, "host-Intel": 0.72}
    found = everywhere(runs, Goal.COST, Promises(), prices=prices)
    amd, intel = found.machines
    cell = amd.able["fused-cpu-b001"]
    assert amd.cost_per_million(cell) == pytest.approx(0.36 / 3600 * 1e6 / (300 * 4))
    assert intel.price == 0.72
    assert "Cheapest: fused-cpu-b001 on machine 1, 0.0833" in " ".join(
        everywhere_text(found).split()
    )
    with pytest.raises(SseptError, match=r"Intel\.json: no price for Intel or host-Intel"):
        everywhere(runs, Goal.COST, Promises(), prices={"AMD": 1.0})


def test_other_models_and_a_machine_twice_are_refused() -> None:
    with pytest.raises(SseptError, match="another model"):
        everywhere([run("AMD"), run("Intel", checkpoint_sha256="b" * 64)], Goal.LATENCY, Promises())
    with pytest.raises(SseptError, match="one of each machine"):
        everywhere([run("AMD"), run("AMD")], Goal.LATENCY, Promises())


def test_the_command_its_files_and_the_page_say_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = []
    for cpu in SPEEDS:
        files.append(str(tmp_path / f"{cpu}.json"))
        write_json(Path(files[-1]), content(cpu))
    prices, saved, page = (tmp_path / name for name in ("p.toml", "out.json", "page.md"))
    prices.write_text('"AMD" = 1\n"Intel" = 2.5\n')
    assert main(["choose", *files, f"--prices={prices}", f"--json={saved}"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    found = json.loads(saved.read_text())
    assert found["chosen"] == "fused_int8-cpu-b001"
    assert " ".join(found["sentence"].split()) in said
    assert main(["report", *files, "-o", str(page)]) == 0
    assert "One for all machines: fused_int8-cpu-b001." in page.read_text().replace("\\", "")
    capsys.readouterr()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('"AMD" = 0\n', 'p.toml: "AMD": expected a price above 0'),
        ('"AMD" = "1"\n', "expected a price above 0"),
        ('"AMD" = true\n', "expected a price above 0"),
        ('"AMD" = inf\n', "expected a price above 0"),
        ('["AMD"]\na = 1\n', "expected a price above 0"),
        ("AMD", "p.toml: not TOML"),
        ('"nothing" = 1\n', "no price for AMD or host-AMD"),
    ],
)
def test_prices_that_are_none_are_refused_in_one_line(
    tmp_path: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for cpu in SPEEDS:
        write_json(tmp_path / f"{cpu}.json", content(cpu))
    files = [str(tmp_path / f"{cpu}.json") for cpu in SPEEDS]
    prices = tmp_path / "p.toml"
    prices.write_text(text)
    assert main(["choose", *files, f"--prices={prices}"]) == 3
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert main(["choose", files[0], f"--prices={prices}"]) == 3
