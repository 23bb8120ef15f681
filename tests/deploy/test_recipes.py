"""The shell steps of GitHub's recipes, run from their files, with stand-ins for what they start."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.helpers.deploy.ci_runner import RECIPES, GitHubRunner, named, program, read
from tests.helpers.deploy.ci_stand_ins import MARK, REPORT, lines
from tests.helpers.matrix import ROOT
from tests.helpers.repositories import git


@pytest.mark.parametrize(
    ("status", "code", "verdict"),
    [(0, 0, "fine"), (1, 1, "regressed"), (2, 0, "inconclusive"), (3, 3, "not measured"),
     (137, 137, "not measured")],
)  # fmt: skip
def test_the_action_ends_as_the_gate_does(
    runner: GitHubRunner, status: int, code: int, verdict: str
) -> None:
    runner.variables["STATUS"] = str(status)
    ended = runner.action({})
    assert ended.code == code, ended.said
    report = str(runner.temp / "ssept-gate")
    assert ended.outputs == {"verdict": verdict, "exit-code": str(status), "report": report}
    assert runner.summary == REPORT
    assert ("::warning" in ended.said) == (status == 2)


def test_inconclusive_may_fail_too(runner: GitHubRunner) -> None:
    runner.variables["STATUS"] = "2"
    assert runner.action({"fail-when-inconclusive": "true"}).code == 2


def test_a_gate_without_a_report_is_told_of(runner: GitHubRunner) -> None:
    """The files of an earlier gate in the same job do not stand for this one."""
    old = runner.temp / "ssept-gate"
    old.mkdir()
    for name in ("gate.json", "gate.md"):
        (old / name).write_text("old")
    runner.variables |= {"STATUS": "3", "SILENT": "1"}
    assert runner.action({}).code == 3
    assert [file.name for file in old.iterdir()] == ["gate.md"]
    assert "not measured" in runner.summary
    assert "old" not in runner.summary


def test_the_action_installs_its_own_ssept_with_the_tested_set(
    runner: GitHubRunner, notes: Path
) -> None:
    runner.action({"extras": "openvino"})
    given = lines(notes / "pip.txt")
    assert given[-1] == f"{ROOT}[openvino]"
    assert given[given.index("--constraint") + 1] == f"{ROOT}/constraints.txt"


def test_inputs_reach_the_gate_as_they_are(runner: GitHubRunner, notes: Path) -> None:
    ended = runner.action(
        {
            "head": "a b.onnx",
            "tolerance": "5%",
            "variants": "$(touch hacked)",
            "providers": "`touch hacked`; touch hacked",
            "arguments": "--no-accuracy\n-k\nb001 or b064\n",
        }
    )
    assert ended.code == 0, ended.said
    report = runner.temp / "ssept-gate"
    assert lines(notes / "ssept.txt") == [
        "gate", f"--json={report}/gate.json", f"--markdown={report}/gate.md", "--tolerance=5%",
        "--variants=$(touch hacked)", "--providers=`touch hacked`; touch hacked",
        "--no-accuracy", "-k", "b001 or b064", "HEAD^", "a b.onnx",
    ]  # fmt: skip
    assert not list(runner.folder.rglob("hacked"))


def test_empty_inputs_are_left_to_the_gate(runner: GitHubRunner, notes: Path) -> None:
    runner.action({})
    assert [each.split("=")[0] for each in lines(notes / "ssept.txt")] == [
        "gate", "--json", "--markdown", "--tolerance", "HEAD^", ".",
    ]  # fmt: skip


@pytest.mark.parametrize("base", ["HEAD^", "main", "v1", "commit", "file.onnx"])
def test_a_base_that_a_shallow_checkout_lacks_is_fetched(
    runner: GitHubRunner, origin: Path, notes: Path, base: str
) -> None:
    expected = git("rev-parse", "main", folder=origin)
    git("tag", "v1", "main", folder=origin)
    (runner.folder / "file.onnx").write_text("a model")
    given = expected if base == "commit" else base
    ended = runner.action({"base": given})
    assert ended.code == 0, ended.said
    found = lines(notes / "ssept.txt")[-2]
    if base == "file.onnx":
        assert found == base
    else:
        assert git("rev-parse", f"{found}^{{commit}}", folder=runner.folder) == expected


@pytest.mark.parametrize(
    "base", ["no-such-branch", "$(touch hacked)", "--upload-pack=touch hacked"]
)
def test_a_base_that_is_nowhere_is_not_measured(
    runner: GitHubRunner, notes: Path, base: str
) -> None:
    ended = runner.action({"base": base})
    assert ended.code == 3
    assert f"no path and no commit: {base}" in ended.said
    assert not (notes / "ssept.txt").exists()
    assert not list(runner.folder.rglob("hacked"))


def comment_step(runner: GitHubRunner, report: str) -> tuple[int, str]:
    """Run the step that comments on a pull request; its exit code and the text."""
    (runner.folder / "report").mkdir()
    (runner.folder / "report/gate.md").write_text(report, encoding="utf-8")
    runner.contexts |= {
        "github.token": "secret",
        "github.repository": "o/r",
        "github.event.pull_request.number": "7",
        "github.server_url": "https://git.example",
        "github.run_id": "99",
    }
    steps = read(RECIPES / "github/gate.yml")["jobs"]["comment"]["steps"]
    code = runner.step(named(steps, "Comment")).code
    return code, (runner.folder / "comment.md").read_text(encoding="utf-8", errors="replace")


def test_a_first_comment_is_written(runner: GitHubRunner, notes: Path) -> None:
    runner.variables["OLD"] = ""
    code, text = comment_step(runner, REPORT)
    assert code == 0
    assert text.startswith(f"{MARK}\n{REPORT}")
    assert "https://git.example/o/r/actions/runs/99" in text
    asked = lines(notes / "gh.txt")
    assert asked[asked.index("--method") :] == [
        "--method", "POST", "repos/o/r/issues/7/comments", "--field", "body=@comment.md",
    ]  # fmt: skip


def test_a_later_comment_replaces_it(runner: GitHubRunner, notes: Path) -> None:
    runner.variables["OLD"] = "https://api.git.example/repos/o/r/issues/comments/5"
    assert comment_step(runner, REPORT)[0] == 0
    asked = lines(notes / "gh.txt")
    assert asked[asked.index("--method") :][:3] == ["--method", "PATCH", runner.variables["OLD"]]


def test_a_long_report_is_cut(runner: GitHubRunner) -> None:
    runner.variables["OLD"] = ""
    code, text = comment_step(runner, "×" * 50_000)
    assert code == 0
    assert len(text.encode()) < 65_536


def test_a_comment_that_is_refused_fails_its_own_job(runner: GitHubRunner) -> None:
    runner.variables |= {"OLD": "", "GH_STATUS": "1"}
    assert comment_step(runner, REPORT)[0] == 1


def test_the_night_measures_an_environment(runner: GitHubRunner, notes: Path) -> None:
    steps = read(RECIPES / "github/nightly.yml")["jobs"]["measure"]["steps"]
    runner.contexts["matrix.environment"] = "cpu"
    assert runner.step(named(steps, "Measure")).code == 0
    storage = f"--benchmark-storage=file://{runner.temp}/results"
    assert lines(notes / "ssept.txt") == ["run", "-e", "cpu", "--", storage]


def test_the_night_publishes_a_page(runner: GitHubRunner, path: str) -> None:
    # Isolated: the checkout has a ssept of its own.
    real = f'exec "{sys.executable}" -I -m ssept.cli "$@"\n'
    program(Path(path.split(os.pathsep)[0]) / "tools", "ssept", real)
    runs = sorted((ROOT / "tests/data/runs").glob("*.json"))[:2]
    for number, run in enumerate(runs):  # each environment has a folder of its own
        folder = runner.temp / f"results/results-{number}/machine"
        folder.mkdir(parents=True)
        shutil.copy(run, folder / f"0001_{run.name.partition('_')[2]}")
    steps = read(RECIPES / "github/nightly.yml")["jobs"]["report"]["steps"]
    ended = runner.step(named(steps, "Report"))
    assert ended.code == 0, ended.said
    assert "<html" in (runner.temp / "page/index.html").read_text(encoding="utf-8")[:200]
    assert "onnx" in runner.summary
