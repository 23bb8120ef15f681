"""Runs the shell steps of GitHub's workflows and actions, and of GitLab's jobs, as runners do."""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.helpers.matrix import ROOT, environment

BASH = ("bash", "--noprofile", "--norc", "-eo", "pipefail")  # GitHub's for `shell: bash`
EXPRESSION = re.compile(r"\$\{\{\s*([\w.-]+)\s*\}\}")
ACTION = ROOT / "action.yml"
RECIPES = ROOT / "ci-recipes"


def read(path: Path) -> dict[str, Any]:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(content, dict), path
    return content


def named(steps: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """The step of this name."""
    (found,) = (step for step in steps if step.get("name") == name)
    return found


@dataclass
class Outcome:
    """How steps ended, what they printed, and an action's outputs."""

    code: int
    said: str
    outputs: dict[str, str] = field(default_factory=dict)


@dataclass
class GitHubRunner:
    """A job on a runner.

    Attributes:
        folder: the checkout.
        temp: RUNNER_TEMP, which outlives no job.
        variables: environment variables of the job.
        contexts: what expressions give, by name; an unknown one is an error, but for outputs of
            steps that have not run.
    """

    folder: Path
    temp: Path
    variables: dict[str, str] = field(default_factory=dict)
    contexts: dict[str, str] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """What the steps have added to the summary of the job."""
        return (self.temp / "summary.md").read_text(encoding="utf-8")

    def step(self, step: Mapping[str, Any]) -> Outcome:
        """Run a step with `run`."""
        assert step["shell"] == "bash", step
        script, output = self.temp / "step.sh", self.temp / "output.txt"
        script.write_text(step["run"], encoding="utf-8")
        output.write_text("", encoding="utf-8")
        own = {name: self.evaluated(str(value)) for name, value in step.get("env", {}).items()}
        files = {
            "RUNNER_TEMP": str(self.temp),
            "GITHUB_OUTPUT": str(output),
            "GITHUB_STEP_SUMMARY": str(self.temp / "summary.md"),
        }
        code, said = run([*BASH, str(script)], self.folder, self.variables | own | files)
        lines = output.read_text(encoding="utf-8").splitlines()
        outputs = dict(line.split("=", 1) for line in lines)
        for name, value in outputs.items():
            self.contexts[f"steps.{step['id']}.outputs.{name}"] = value
        return Outcome(code, said, outputs)

    def action(self, given: Mapping[str, str]) -> Outcome:
        """Run this project's action, to its first step that fails."""
        content = read(ACTION)
        assert set(given) <= set(content["inputs"])
        self.contexts["github.action_path"] = str(ROOT)
        for name, declared in content["inputs"].items():
            self.contexts[f"inputs.{name}"] = str(given.get(name, declared["default"]))
        code, said = 0, ""
        for step in content["runs"]["steps"]:
            ended = self.step(step)
            code, said = ended.code, said + ended.said
            if code:
                break
        outputs = {name: self.evaluated(o["value"]) for name, o in content["outputs"].items()}
        return Outcome(code, said, outputs)

    def evaluated(self, text: str) -> str:
        """Replace the expressions in a text."""

        def value(found: re.Match[str]) -> str:
            name = found[1]
            return self.contexts.get(name, "") if name[:6] == "steps." else self.contexts[name]

        result = EXPRESSION.sub(value, text)
        assert "${{" not in result, text
        return result


def gitlab_job(name: str, folder: Path, variables: Mapping[str, str]) -> Outcome:
    """Run a job of GitLab's recipe; its lines are those of one shell."""
    job = read(RECIPES / "gitlab/.gitlab-ci.yml")[name]
    own = {key: str(value) for key, value in job.get("variables", {}).items()}
    return Outcome(*run([*BASH, "-c", "\n".join(job["script"])], folder, own | dict(variables)))


def run(command: list[str], folder: Path, variables: Mapping[str, str]) -> tuple[int, str]:
    """Run a command; returns its exit code and all that it printed."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment() | dict(variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    return done.returncode, done.stdout


def program(folder: Path, name: str, text: str) -> Path:
    """Write a shell script under the name of a program."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}", encoding="utf-8")
    path.chmod(0o755)
    return path
