"""Dockerfiles, compose files and workflows against their schemas, by what `tox -e deploy` has."""

import subprocess
from pathlib import Path

import pytest

from tests.helpers.deploy.tools import ROOT, program

# By the name that check-jsonschema has for a schema which it carries.
SCHEMAS = {
    "vendor.github-workflows": (".github/workflows/*.yml", "ci-recipes/github/*.yml"),
    "vendor.github-actions": ("action.yml",),
    "vendor.dependabot": (".github/dependabot.yml",),
    "vendor.gitlab-ci": ("ci-recipes/gitlab/.gitlab-ci.yml",),
    "vendor.compose-spec": ("docker/docker-compose*.yaml",),
}


def found(*patterns: str) -> list[Path]:
    """The files of patterns, each of which must have one."""
    files = [sorted(ROOT.glob(pattern)) for pattern in patterns]
    assert all(files), patterns
    return [file for each in files for file in each]


def check(*command: str | Path) -> None:
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_file_is_of_its_schema(schema: str) -> None:
    check(program("check-jsonschema"), "--builtin-schema", schema, *found(*SCHEMAS[schema]))


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_schema_refuses_what_is_wrong(schema: str, tmp_path: Path) -> None:
    """Else a schema that allows everything would prove nothing."""
    wrong = tmp_path / "wrong.yml"
    wrong.write_text("jobs: 3\nruns: 3\nupdates: 3\nservices: 3\n")
    tool = program("check-jsonschema")
    done = subprocess.run(
        [tool, "--builtin-schema", schema, wrong], capture_output=True, check=False
    )
    assert done.returncode == 1


def test_dockerfiles_keep_the_rules() -> None:
    check(program("hadolint"), *found("docker/Dockerfile*"))
