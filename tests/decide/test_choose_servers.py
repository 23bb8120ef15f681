"""`ssept choose --goal=requests`: which variant behind which server, out of saved runs."""

import json
from pathlib import Path
from typing import Any

import pytest

from fixtures.results import page_of
from ssept.cli import main
from ssept.decide.choose import Goal, Promises, recommend
from ssept.errors import SseptError
from ssept.report.choose import answers, choice_json, choice_text
from ssept.report.table import matrix_report
from tests.helpers.matrix import run_content, saved_run

LIMIT_MS = 10.0
NONE = [
    "rate",
    "rate_interval",
    "ratio",
    "ratio_interval",
    "interval",
    "cold_s",
    "cpu_ms",
    "rss_bytes",
    "overload",
]


def estimate(value: float, share: float) -> dict[str, float]:
    return {"value": value, "low": value * (1 - share), "high": value * (1 + share)}


def server(
    name: str,
    rate: float | None = None,
    ratio: float | None = None,
    share: float = 0.02,
    **own: Any,
) -> dict[str, Any]:
    """A row of a comparison; intervals of the ratio are `share` wide, those of the rate 20 %."""
    row: dict[str, Any] = dict.fromkeys(NONE)
    row |= {"measure": "served rate", "variant": "fused", "server": name, "against": "ours"}
    row |= {"limit_ms": LIMIT_MS, "requests": 9, "failed": {}, "client_bound": False, "fault": ""}
    if rate:
        row |= {"rate": rate, "rate_interval": estimate(rate, 0.2), "rss_bytes": 3e8}
    if ratio:
        row |= {"ratio": ratio, "ratio_interval": estimate(ratio, share)}
    return row | own


def cell(variant: str, change: float, **own: Any) -> dict[str, Any]:
    change_interval = {"value": change, "low": change - 0.001, "high": change + 0.001}
    return {"measure": "budget", "variant": variant, "ndcg_change": change_interval} | own


OURS = server("ours", 1000.0, 1.0, 0.0)
OTHER = server("other", 900.0, 0.9)


def chosen(*rows: dict[str, Any], promises: Promises | None = None) -> tuple[str, list[str]]:
    """The name of the chosen one, and those that tie with it."""
    found = recommend(saved_run(*rows), Goal.REQUESTS, promises or Promises())
    assert found.chosen
    return found.chosen.server, [each.server for each in found.ranked[1 : found.tied]]


def test_a_run_of_servers_alone_gets_its_page(tmp_path: Path) -> None:
    said = page_of(saved_run(OURS, OTHER), tmp_path / "0001_run.json")
    assert said.startswith("page: ")
    assert "Deploy fused on cpu behind ours" in (tmp_path / "0001_run.html").read_text()


def test_the_fastest_is_chosen_where_no_ratio_to_it_reaches_one() -> None:
    assert chosen(server("other", 900.0, 0.9), OURS) == ("ours", [])
    assert chosen(server("wide", 900.0, 0.9, share=0.12), OURS) == ("ours", ["wide"])


def test_a_server_without_a_model_is_no_candidate() -> None:
    assert chosen(OURS, server("empty", 9000.0, 9.0)) == ("ours", [])


def test_without_intervals_nothing_is_chosen() -> None:
    few = [row | {"rate_interval": None, "ratio_interval": None} for row in (OURS, OTHER)]
    with pytest.raises(SseptError, match="too few rounds to tell servers apart"):
        chosen(*few)
    assert chosen(OURS, few[1]) == ("ours", [])
    assert answers(saved_run(*few)) == ""


def test_a_server_that_failed_in_one_round_is_not_chosen_and_its_row_says_why() -> None:
    failed = server("failed", 3000.0, 1.0, 0.0, fault="it ended")
    run = saved_run(failed, OTHER)
    assert chosen(failed, OTHER) == ("other", [])
    assert "it ended" in choice_text(recommend(run, Goal.REQUESTS, Promises()))
    assert "it ended" in matrix_report(run)


def test_of_servers_that_tie_the_smaller_is_chosen() -> None:
    rows = [server("b", 1000.0, 1.0), server("a", 1000.0, 1.0, rss_bytes=1e8)]
    assert chosen(*rows) == ("a", ["b"])
    assert chosen(server("b", 1000.0, 1.0), server("a", 1000.0, 1.0)) == ("a", ["b"])


def test_the_accuracy_of_what_is_served_is_that_of_another_run() -> None:
    servers = saved_run(OURS, server("plain", 100.0, 0.1, variant="onnx"))
    matrix = saved_run(cell("fused", -0.05), cell("onnx", 0.0))
    promises = Promises(max_accuracy_loss=0.01)
    found = recommend(servers, Goal.REQUESTS, promises, others=[matrix])
    assert found.chosen
    assert (found.chosen.server, found.unshown) == ("plain", [])
    unknown = recommend(servers, Goal.REQUESTS, promises)
    assert unknown.chosen
    assert unknown.chosen.server == "ours"
    assert "not measured" in unknown.unshown[0]


@pytest.mark.parametrize("own", [{"threads": 2}, {"options": {"precision": "bf16"}}])
def test_the_accuracy_of_a_cell_with_other_settings_is_not_its(own: dict[str, Any]) -> None:
    run = saved_run(cell("fused", -0.2, **own), cell("fused", 0.0), OURS)
    found = recommend(run, Goal.REQUESTS, Promises(max_accuracy_loss=0.01))
    assert found.chosen
    assert not found.unshown


@pytest.mark.parametrize("own", [{"checkpoint_sha256": "b" * 64}, {"data_hash": "b" * 64}])
def test_a_run_of_another_model_is_refused(own: dict[str, str]) -> None:
    with pytest.raises(SseptError, match=r"contains no cells of the checkpoint and data of"):
        recommend(
            saved_run(OURS),
            Goal.REQUESTS,
            Promises(),
            others=[saved_run(cell("fused", 0.0, **own))],
        )


def test_a_run_of_a_longer_promise_is_refused() -> None:
    for limit in (LIMIT_MS, 20.0):
        assert chosen(OURS, promises=Promises(p99_ms=limit)) == ("ours", [])
    with pytest.raises(SseptError, match=r"measured for p99 within 10 ms; for 5 ms expected a run"):
        chosen(OURS, promises=Promises(p99_ms=5.0))


def test_a_server_that_carries_nothing_is_not_chosen_and_says_why() -> None:
    run = saved_run(server("bad", fault="did not start"), server("slow"), OURS)
    found = recommend(run, Goal.REQUESTS, Promises())
    text = choice_text(found)
    assert found.chosen
    assert found.chosen.server == "ours"
    assert "did not start" in text
    assert "never within" in text
    assert max(map(len, text.splitlines())) <= 100
    kept = json.loads(json.dumps(choice_json(found), allow_nan=False))
    assert kept["chosen"] == "fused-cpu behind ours"


def test_the_sentence_names_variant_provider_and_server() -> None:
    text = " ".join(answers(saved_run(OURS, OTHER)).split())
    assert "Deploy fused on cpu behind ours: 1,000 [800, 1,200] requests/s, 99 % answered" in text
    assert "Not shown to be kept: NDCG@10 loss not measured" in text
    assert answers(saved_run(OURS, server("empty", 9000.0, 9.0))) == ""


def written(folder: Path, name: str, *rows: dict[str, Any]) -> str:
    path = folder / name
    path.write_text(json.dumps(run_content(*rows)))
    return str(path)


def test_the_command_says_what_is_missing_and_its_exit_code_what_is_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    servers = written(tmp_path, "servers.json", OURS)
    matrix = written(tmp_path, "matrix.json", cell("fused", 0.0))
    assert main(["choose", servers, "--goal=requests"]) == 2
    assert "NDCG@10 loss not measured" in " ".join(capsys.readouterr().out.split())
    assert main(["choose", servers, matrix, "--goal=requests"]) == 0
    assert "behind ours" in capsys.readouterr().out
    for arguments, expected in (
        ([servers], "use --goal=requests to choose among its servers"),
        ([servers, matrix], "use --goal=requests to choose among its servers"),
        ([matrix, "--goal=requests"], "contains no servers; expected a run of `tox -e servers`"),
        (["--goal=requests"], "expected a saved run of servers"),
    ):
        assert main(["choose", *arguments]) == 3
        error = capsys.readouterr().err
        assert expected in error
        assert len(error.splitlines()) == 1
