"""What is installed fits together, and the tested set covers what is asked for."""

import csv
import re
from collections import defaultdict
from importlib.metadata import distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import ssept
from tests.helpers.matrix import ROOT
from tests.helpers.wheels import pyproject

PROJECT = pyproject()["project"]
LINES = [
    line
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]


def test_no_file_is_of_two_distributions() -> None:
    """As of two kinds of onnxruntime, or of py-cpuinfo and py-cpuinfo2: the last one wins."""
    owners: dict[tuple[str, str], set[str]] = defaultdict(set)
    for distribution in distributions():
        folder, name = str(distribution.locate_file("")), canonicalize_name(distribution.name)
        for path, _, _ in csv.reader((distribution.read_text("RECORD") or "").splitlines()):
            owners[folder, path].add(name)
    shared = {file: sorted(names) for file, names in owners.items() if len(names) > 1}
    assert not shared


def asked_for() -> list[Requirement]:
    """What the base and all extras ask for on the Python of the tested set."""
    groups = (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    found = [Requirement(text) for group in groups for text in group]
    here = {"python_version": "3.11", "extra": ""}
    return [each for each in found if each.marker is None or each.marker.evaluate(here)]


def test_the_tested_set_is_exact_and_sorted() -> None:
    names = []
    for line in LINES:
        name, version = line.split("==")
        names.append(canonicalize_name(name))
        assert Version(version).local is None, line
    assert names == sorted(set(names))


@pytest.mark.parametrize(
    "requirement",
    # What needs an NVIDIA GPU was never installed; an extra may name another.
    [each for each in asked_for() if each.name not in ("onnxruntime-gpu", PROJECT["name"])],
    ids=str,
)
def test_the_tested_set_has_what_is_asked_for(requirement: Requirement) -> None:
    tested = {canonicalize_name(name): v for name, v in (line.split("==") for line in LINES)}
    assert requirement.specifier.contains(tested[canonicalize_name(requirement.name)])


def test_the_public_surface_is_what_all_names() -> None:
    assert set(ssept.__all__) == {"SavedRuns", "SseptError", "load", "shipped_checkpoint"}
    assert all(hasattr(ssept, name) for name in ssept.__all__)
    assert ssept.shipped_checkpoint() == ROOT / "models" / "SSE_PT10kemb.safetensors"


def test_changelog_fragments_have_a_known_type() -> None:
    kinds = {kind["directory"] for kind in pyproject()["tool"]["towncrier"]["type"]}
    for fragment in (ROOT / "changelog.d").iterdir():
        if fragment.name != "README.md":
            named = re.fullmatch(r"\+[\w-]+\.(\w+)\.md", fragment.name)
            assert named, fragment.name
            assert named[1] in kinds, fragment.name
