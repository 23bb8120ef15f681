"""The gate's recipe in a user's repository, with a real gate: what it does to a pull request."""

import json
from pathlib import Path

import pytest

from tests.guard import Guard
from tests.helpers.deploy.ci_runner import RECIPES, GitHubRunner, named, read
from tests.helpers.repositories import commit, git, write_engine

pytestmark = pytest.mark.slow

ITEMS, WORK = 100, 30_000  # a call takes about half a millisecond


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A repository with two changes of its main branch: one slows the model by 10 %."""
    folder = tmp_path / "origin"
    folder.mkdir()
    git("init", "--quiet", "--initial-branch=main", folder=folder)
    commit(write_engine(folder, "base", ITEMS, WORK), "base")
    for name, work in (("harmless", WORK), ("slower", WORK * 11 // 10)):
        git("switch", "--quiet", "--create", name, "main", folder=folder)
        commit(write_engine(folder, name, ITEMS, work), name)
        # As GitHub merges a pull request: its first parent is the target.
        git("switch", "--quiet", "--create", f"merged-{name}", "main", folder=folder)
        git("merge", "--quiet", "--no-ff", "--message", "merge", name, folder=folder)
    return folder


def test_a_change_that_costs_10_percent_fails_and_another_passes(
    tmp_path: Path, origin: Path, small_checkpoint: Path, guard: Guard
) -> None:
    steps = read(RECIPES / "github/gate.yml")["jobs"]["gate"]["steps"]
    depth = str(next(s["with"]["fetch-depth"] for s in steps if "checkout" in s.get("uses", "")))
    given = named(steps, "Gate")["with"] | {
        "extras": "cpu",  # the small engine is not exported
        "providers": "cpu",
        "variants": "onnx",
        "arguments": f"--batch-sizes=1\n--no-accuracy\n--checkpoint={small_checkpoint}",
    }
    codes = {}
    for name in ("slower", "harmless"):
        temp = tmp_path / name
        temp.mkdir()
        checkout, branch = temp / "checkout", f"--branch=merged-{name}"
        git("clone", "--quiet", "--depth", depth, branch, f"file://{origin}", str(checkout))
        runner = GitHubRunner(checkout, temp, {"SSEPT_CACHE_DIR": str(temp / "cache")})
        with guard.users_environment():  # pip may need the user's settings
            ended = runner.action(given)
        print(runner.summary)
        codes[name] = ended.code
        finding = json.loads((temp / "ssept-gate/gate.json").read_text())["findings"][-1]
        assert finding["cell"] == "onnx-cpu-b001", ended.said
        assert ended.outputs["verdict"] in runner.summary
    assert codes == {"slower": 1, "harmless": 0}
