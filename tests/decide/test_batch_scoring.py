"""`python -m benchmarks.batch_scoring`: what it measures is saved, and a wrong row is found."""

import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import batch_scoring

ROWS, GROUP = 20_000, 1_000
STEPS = ["pair0_workers2", "pair0_workers1", "killed", "resumed", "checked"]


@pytest.mark.slow
def test_each_step_is_measured_once_and_a_wrong_row_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"GROUP": GROUP, "CHECK_EVERY": 2, "POLL_SECONDS": 0.02}.items():
        monkeypatch.setattr(batch_scoring, name, value)
    options = [f"--out={tmp_path}", f"--rows={ROWS}", "--pairs=1"]
    model = ["--variant=fused_topk", "--provider=cpu"]
    monkeypatch.setattr(sys, "argv", ["batch_scoring", *options, *model])
    saved = tmp_path / "batch_scoring.jsonl"

    def measured() -> dict[str, dict[str, float]]:
        lines = [json.loads(line) for line in saved.read_text().splitlines()]
        assert [line["step"] for line in lines] == STEPS
        return {line["step"]: line for line in lines}

    batch_scoring.main()
    steps = measured()
    for pair in STEPS[:2]:
        assert steps[pair]["rows"] == ROWS
        assert steps[pair]["peak_mb"] > 0
    assert 0 < steps["resumed"]["rows_before"] < ROWS
    assert steps["resumed"]["rows_before"] + steps["resumed"]["rows"] == ROWS
    right = steps["checked"]
    assert (right["compared"], right["different"], right["missing"]) == (ROWS // 2, 0, 0)

    # Of the files that are compared, one gets a wrong score, and one is not there.
    (tmp_path / "all/00000-00003.parquet").unlink()
    path = tmp_path / "all/00000-00001.parquet"
    table = pq.read_table(path)
    scores = table["scores"].to_pylist()
    scores[7][0] += 1
    place = table.schema.get_field_index("scores")
    field = table.schema.field("scores")
    pq.write_table(table.set_column(place, field, pa.array(scores, field.type)), path)
    saved.write_text("".join(saved.read_text().splitlines(keepends=True)[:-1]))
    batch_scoring.main()  # nothing but the check is done again
    wrong = measured()["checked"]
    found = (wrong["compared"], wrong["different"], wrong["missing"])
    assert found == (ROWS // 2 - GROUP, 1, 1)
