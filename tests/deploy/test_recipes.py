"""The shell steps of the recipes, run from their files, with stand-ins for the gate, pip and gh."""

import json
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from tests.helpers.ci_runner import RECIPES, GitHubRunner, gitlab_job, named, program, read
from tests.helpers.matrix import ROOT
from tests.helpers.repositories import commit, git, write_tree

MARK = "<!-- ssept gate -->"
REPORT = "### ssept gate: a report\n"
# `python3 -m venv FOLDER` makes an environment of the stand-ins beside it.
PYTHON = 'mkdir -p "$3/bin" && cp "$(dirname "$0")"/tools/* "$3/bin"\n'
PIP = 'printf "%s\\n" "$@" > "$NOTES/pip.txt"\n'
SSEPT = f"""
printf '%s\\n' "$@" > "$NOTES/ssept.txt"
[ -n "$SILENT" ] || for argument; do
  case $argument in
    --json=*) echo '{{}}' > "${{argument#*=}}" ;;
    --markdown=*) printf '{REPORT}' > "${{argument#*=}}" ;;
  esac
done
exit "$STATUS"
"""
# Keeps what it was asked for; an earlier comment is what OLD says.
GH = """
printf '%s\\n' "$@" > "$NOTES/gh.txt"
case "$*" in *--jq*) [ -z "$OLD" ] || echo "$OLD"; exit 0 ;; esac
exit "${GH_STATUS:-0}"
"""


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Where the stand-ins write what they were given."""
    (tmp_path / "notes").mkdir()
    return tmp_path / "notes"


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH with the stand-ins first."""
    folder = tmp_path / "bin"
    program(folder, "python3", PYTHON)
    program(folder, "gh", GH)
    for name, text in (("pip", PIP), ("ssept", SSEPT), ("tox", SSEPT)):
        program(folder / "tools", name, text)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A repository with a branch, and a change of it."""
    folder = tmp_path / "origin"
    folder.mkdir()
    git("init", "--quiet", "--initial-branch=main", folder=folder)
    for label in ("first", "base"):
        commit(write_tree(folder, label), label)
    git("switch", "--quiet", "--create", "change", folder=folder)
    commit(write_tree(folder, "head"), "head")
    return folder


@pytest.fixture
def runner(tmp_path: Path, origin: Path, notes: Path, path: str) -> GitHubRunner:
    """A runner with the change checked out as shallow as can be."""
    folder, temp = tmp_path / "checkout", tmp_path / "temp"
    temp.mkdir()
    git("clone", "--quiet", "--depth=1", "--branch=change", f"file://{origin}", str(folder))
    variables = {"PATH": path, "NOTES": str(notes), "STATUS": "0", "SILENT": ""}
    return GitHubRunner(folder, temp, variables)


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


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


def gitlab_gate(checkout: Path, variables: dict[str, str]) -> int:
    ended = gitlab_job("gate", checkout, variables)
    assert "unbound" not in ended.said
    return ended.code


@pytest.mark.parametrize("status", [0, 1, 2, 3])
def test_gitlabs_job_ends_as_the_gate_does(
    runner: GitHubRunner, notes: Path, tmp_path: Path, status: int
) -> None:
    merge_request = {
        "STATUS": str(status),
        "TMPDIR": str(tmp_path),
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": "branched",
        "CI_MERGE_REQUEST_TARGET_BRANCH_SHA": "",
    }
    assert gitlab_gate(runner.folder, runner.variables | merge_request) == status
    assert lines(notes / "ssept.txt")[-2:] == ["branched", "."]
    assert (runner.folder / "gate.md").read_text() == REPORT
    merge_request["CI_MERGE_REQUEST_TARGET_BRANCH_SHA"] = "target"
    gitlab_gate(runner.folder, runner.variables | merge_request)
    assert lines(notes / "ssept.txt")[-2:] == ["target", "."]


class Notes(BaseHTTPRequestHandler):
    """GitLab's notes of a merge request, in memory."""

    def _do(self) -> None:
        server = self.server
        assert isinstance(server, NotesServer)
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        server.asked.append((self.command, self.path, self.headers["PRIVATE-TOKEN"], body))
        answer = json.dumps(server.notes).encode()
        self.send_response(server.status if self.command != "GET" else 200)
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PUT = _do  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Print nothing."""


class NotesServer(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Notes)
        self.notes: list[dict[str, object]] = [{"id": 4, "body": "a person's"}]
        self.asked: list[tuple[str, str, str, str]] = []
        self.status = 200


@contextmanager
def notes_server() -> Iterator[NotesServer]:
    with NotesServer() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def gitlab_comment(folder: Path, server: NotesServer, token: str = "secret") -> int:
    folder.mkdir(exist_ok=True)
    (folder / "gate.md").write_text(REPORT)
    variables = {
        "SSEPT_COMMENT_TOKEN": token,
        "CI_API_V4_URL": f"http://127.0.0.1:{server.server_port}/api/v4",
        "CI_PROJECT_ID": "3",
        "CI_MERGE_REQUEST_IID": "7",
        "CI_PIPELINE_URL": "https://git.example/p/1",
    }
    return gitlab_job("comment", folder, variables).code


def test_gitlabs_comment_is_written_and_then_replaced(tmp_path: Path) -> None:
    place = "/api/v4/projects/3/merge_requests/7/notes"
    with notes_server() as server:
        assert gitlab_comment(tmp_path / "a", server) == 0
        method, path, token, body = server.asked[-1]
        assert (method, path, token) == ("POST", place, "secret")
        (text,) = parse_qs(body)["body"]
        assert text.startswith(f"{MARK}\n{REPORT}")
        server.notes.append({"id": 5, "body": text})
        assert gitlab_comment(tmp_path / "b", server) == 0
        assert server.asked[-1][:2] == ("PUT", f"{place}/5")


def test_without_a_token_gitlabs_comment_is_left_out(tmp_path: Path) -> None:
    with notes_server() as server:
        assert gitlab_comment(tmp_path / "a", server, token="") == 0
        assert server.asked == []


def test_a_refused_comment_of_gitlab_fails_its_own_job(tmp_path: Path) -> None:
    with notes_server() as server:
        server.status = 403
        assert gitlab_comment(tmp_path / "a", server) != 0
