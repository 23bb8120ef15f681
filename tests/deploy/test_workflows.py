"""What workflows and the action may do: pins, rights, no text of others in a shell's program."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.deploy.ci_runner import ACTION, RECIPES, read
from tests.helpers.matrix import ROOT

RECIPES_OF_GITHUB = sorted((RECIPES / "github").glob("*.yml"))
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml")) + RECIPES_OF_GITHUB
USES = re.compile(r"^\s*(?:- )?uses: (\S+)(?: # (v\d+\.\d+\.\d+))?$", re.MULTILINE)
PIN = re.compile(r"([\w-]+/[\w-]+)@([0-9a-f]{40})")
# What a job may write, and that it runs nothing of the repository's.
WRITERS = {
    ("gate.yml", "comment"): {"pull-requests"},
    ("nightly.yml", "publish"): {"pages", "id-token"},
}


def jobs(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from read(path)["jobs"].items()


def steps() -> Iterator[tuple[str, dict[str, Any]]]:
    """All steps with the place where they are."""
    for path in WORKFLOWS:
        for name, job in jobs(path):
            for number, step in enumerate(job["steps"]):
                yield f"{path.name}:{name}:{number}", step
    for number, step in enumerate(read(ACTION)["runs"]["steps"]):
        yield f"{ACTION.name}:{number}", step


def test_there_is_something_to_check() -> None:
    assert {path.name for path in WORKFLOWS} == {"tests.yml", "gate.yml", "nightly.yml"}


def test_actions_are_pinned_by_commit_and_the_same_everywhere() -> None:
    pins = defaultdict(set)
    for path in (*WORKFLOWS, ACTION):
        text = path.read_text(encoding="utf-8")
        found = USES.findall(text)
        assert len(found) == text.count("uses:"), path
        for name, version in found:
            if name != "./":
                pin = PIN.fullmatch(name)
                assert pin, f"{path}: {name}"
                assert version, f"{path}: {name} without its version"
                pins[pin[1]].add((pin[2], version))
    assert {name: len(versions) for name, versions in pins.items() if len(versions) > 1} == {}


@pytest.mark.parametrize(("place", "step"), [pytest.param(*each, id=each[0]) for each in steps()])
def test_a_shell_gets_values_as_variables_only(place: str, step: dict[str, Any]) -> None:
    """`${{ }}` in a program is filled in before the shell reads it: a title may hold `; rm -rf`."""
    if "run" in step:
        assert "${{" not in step["run"]
        assert step["shell"] == "bash"  # with -e and pipefail
    else:
        assert "${{ github.event" not in str(step.get("with", ""))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_rights_are_the_least(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] in ({}, {"contents": "read"})
    for name, job in jobs(path):
        written = {what for what, right in job.get("permissions", {}).items() if right == "write"}
        assert written == WRITERS.get((path.name, name), set())
        if written:
            used = [step.get("uses", "") for step in job["steps"]]
            assert not [each for each in used if each == "./" or "checkout" in each]
        else:
            assert job.get("permissions", workflow["permissions"]) == {"contents": "read"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_jobs_end_and_keep_no_credentials(path: Path) -> None:
    workflow = read(path)
    # YAML 1.1 reads the key `on` as true.
    assert not {"pull_request_target", "workflow_run"} & set(workflow[True])
    assert workflow["concurrency"]["group"]
    for name, job in jobs(path):
        assert 0 < job["timeout-minutes"] <= 120, name
        for step in job["steps"]:
            if "checkout" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False, name


def test_code_of_forks_stays_off_a_dedicated_runner() -> None:
    where = read(RECIPES / "github/gate.yml")["jobs"]["gate"]["runs-on"]
    assert where == (
        "${{ github.event.pull_request.head.repo.full_name == github.repository "
        "&& vars.SSEPT_RUNNER || 'ubuntu-24.04' }}"
    )


def test_a_comment_decides_nothing() -> None:
    job = read(RECIPES / "github/gate.yml")["jobs"]["comment"]
    assert job["continue-on-error"] is True
    gitlab = read(RECIPES / "gitlab/.gitlab-ci.yml")
    assert gitlab["comment"]["allow_failure"] is True


def test_the_matrix_names_environments_of_tox() -> None:
    declared = set(re.findall(r"\[testenv:(\w+)\]", (ROOT / "tox.ini").read_text(encoding="utf-8")))
    nightly = read(RECIPES / "github/nightly.yml")["jobs"]["measure"]["strategy"]["matrix"]
    (gitlab,) = read(RECIPES / "gitlab/.gitlab-ci.yml")["measure"]["parallel"]["matrix"]
    own = read(ROOT / ".github/workflows/tests.yml")["jobs"]["tox"]["strategy"]["matrix"]["include"]
    assert nightly["environment"] == gitlab["ENVIRONMENT"]
    assert {*nightly["environment"], *(each["environment"] for each in own)} <= declared


def test_gitlab_ends_its_jobs_and_warns_where_nothing_was_shown() -> None:
    recipe = read(RECIPES / "gitlab/.gitlab-ci.yml")
    for name in ("gate", "comment", "measure", "pages"):
        assert recipe[name]["timeout"], name
    assert recipe["gate"]["allow_failure"] == {"exit_codes": 2}
    assert recipe["gate"]["variables"]["GIT_DEPTH"] == "0"
