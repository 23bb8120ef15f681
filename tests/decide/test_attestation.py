"""The verdict of a gate as an in-toto statement."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ssept.cli import main
from ssept.decide.gate.findings import EXIT_CODES, Finding, GateResult, Measure, Verdict
from ssept.decide.gate.plan import GatePlan
from ssept.decide.gate.sides.side import Side
from ssept.files import sha256
from ssept.report.attestation import digest_of, statement

DIGESTS = {"base": {"sha256": "a" * 64}, "head": {"gitCommit": "b" * 40}}


def side(*, model: Path | None = None, tree: Path | None = None) -> Side:
    return Side("a side", Path(sys.executable), tree, model, {})


def result_of(*verdicts: Verdict, interrupted: bool = False) -> GateResult:
    findings = [Finding(f"cell {v.value}", Measure.LATENCY, v, 0.03) for v in verdicts]
    sides = {"base": side(), "head": side()}
    return GateResult(sides, GatePlan(), {"cpu": "A"}, findings, interrupted=interrupted)


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (result_of(Verdict.FINE), "PASSED"),
        (result_of(Verdict.FINE, Verdict.INCONCLUSIVE), "WARNED"),
        (result_of(*EXIT_CODES), "FAILED"),
        (result_of(Verdict.UNMEASURED), "FAILED"),
        (result_of(), "FAILED"),
        (result_of(Verdict.FINE, interrupted=True), "FAILED"),
    ],
)
def test_only_what_was_measured_and_is_fine_has_passed(result: GateResult, said: str) -> None:
    found = statement(result, DIGESTS)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["_type"] == "https://in-toto.io/Statement/v1"
    assert found["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    assert found["subject"] == [{"name": "a side", "digest": DIGESTS["head"]}]
    predicate = found["predicate"]
    assert predicate["result"] == said
    assert all(each["digest"] for each in predicate["configuration"])
    tests = [predicate[name] for name in ("passedTests", "warnedTests", "failedTests")]
    assert sum(map(len, tests)) == len(result.findings)
    assert all("fine" in name for name in predicate["passedTests"])


def test_a_side_is_known_by_file_or_commit_and_code(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"a model")
    assert digest_of(side(model=model)) == {"sha256": sha256(model)}
    (tmp_path / "manifest.json").write_text("{}")
    assert digest_of(side(model=tmp_path)) == {"sha256": sha256(tmp_path / "manifest.json")}
    tree = tmp_path / "tree"
    (tree / "ssept").mkdir(parents=True)
    (tree / "pyproject.toml").touch()
    code = tree / "ssept/__init__.py"
    code.write_text("x = 1\n")
    in_git(tree, "init", "-q")
    in_git(tree, "add", ".")
    in_git(tree, "commit", "-qm", "x")
    clean = digest_of(side(tree=tree))
    assert clean["gitCommit"] == in_git(tree, "rev-parse", "HEAD")
    code.write_text("x = 2\n")
    changed = digest_of(side(tree=tree))
    assert "gitCommit" not in changed
    assert changed["sha256"] != clean["sha256"]


def in_git(folder: Path, *words: str) -> str:
    settings = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", "-C", str(folder), *settings, *words], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--sign"], "--sign: expected --attestation=FILE"),
        (["--sign", "--attestation=FILE"], "--sign: "),
    ],
)
def test_what_cannot_be_signed_is_not_measured(
    tmp_path: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out.json"
    words = [word.replace("FILE", str(path)) for word in options]
    assert main(["gate", "base.onnx", "head.onnx", *words]) == 3
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert not path.exists()
