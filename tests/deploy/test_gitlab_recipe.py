"""The jobs of GitLab's recipe, run from its file, with stand-ins for the gate and GitLab's API."""

from pathlib import Path
from urllib.parse import parse_qs

import pytest

from tests.helpers.deploy.ci_runner import GitHubRunner, gitlab_job
from tests.helpers.deploy.ci_stand_ins import MARK, REPORT, NotesServer, lines, notes_server


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
