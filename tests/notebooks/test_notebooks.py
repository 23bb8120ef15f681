"""The notebooks: what is kept of them, and that they run from their first cell to their last."""

import re
from pathlib import Path

import pytest
from nbformat import NotebookNode

from tests.helpers.reports import RUNS
from tests.notebooks.execute import KERNEL, NOTEBOOKS, executed, outputs, own_of_the_machine, read

LINES, LINES_OF_A_CELL = 40, 15
SHORT = {
    "SSEPT_NOTEBOOK_SECONDS": "0.3",
    "SSEPT_NOTEBOOK_RUN": str(next(run for run in RUNS if run.name.startswith("0007"))),
}
FEW = "--rounds=20"
OPTIONS = {
    "benchmark_model": f"{FEW} --variants=torch,onnx --providers=torch,cpu --accuracy-users=50",
    "benchmark_system": FEW,
}
by_name = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_is_one_for_each_level() -> None:
    levels = ("findings", "model", "serving", "system")
    assert [path.stem for path in NOTEBOOKS] == [f"benchmark_{level}" for level in levels]


@by_name
def test_it_is_short_and_every_jupyter_can_open_it(path: Path) -> None:
    notebook = read(path)
    assert notebook.metadata == {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    lines = [[line for line in cell.source.splitlines() if line.strip()] for cell in code(notebook)]
    assert max(map(len, lines)) <= LINES_OF_A_CELL
    assert sum(map(len, lines)) <= LINES
    assert notebook.cells[0].source.startswith("# ")
    assert notebook.cells[0].cell_type == "markdown"


@by_name
def test_its_outputs_are_kept_and_are_of_one_whole_run(path: Path) -> None:
    notebook = read(path)
    cells = code(notebook)
    assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]
    assert not any(output.output_type == "error" for cell in cells for output in cell.outputs)
    assert any(
        "image/svg+xml" in output.get("data", {}) for cell in cells for output in cell.outputs
    )
    assert re.search(r"\bCPUs?\b", next(filter(None, outputs(notebook)))), "names no machine"


@by_name
def test_its_outputs_say_nothing_of_a_place_or_a_network(path: Path) -> None:
    assert not {one for text in outputs(read(path)) for one in own_of_the_machine(text)}


@pytest.mark.parametrize(
    "text",
    ["saved: /tmp/runs/0001.json", "rootdir: /home/me", "<a href='https://example.org/simple'>"],
)
def test_a_place_or_an_address_would_be_found(text: str) -> None:
    assert own_of_the_machine(text)


@pytest.mark.parametrize(
    "text", ["1/2 of /s", 'xmlns="http://www.w3.org/2000/svg"', "and/or a/b/c"]
)
def test_other_text_is_not_taken_for_one(text: str) -> None:
    assert not own_of_the_machine(text)


@pytest.mark.slow
@by_name
def test_it_runs_whole(path: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if path.stem == "benchmark_serving":
        request.getfixturevalue("triton_tools")
    own = {
        "SSEPT_NOTEBOOK_RUNS": str(tmp_path / "runs"),
        "SSEPT_NOTEBOOK_OPTIONS": OPTIONS.get(path.stem, ""),
    }
    notebook = executed(path, SHORT | own)
    text = "\n".join(outputs(notebook))
    assert "is not measured" not in text
    assert "FAILED" not in text
    assert "image/svg+xml" in str(notebook)
