"""Stand-ins for the programs that the recipes of CI start, and for GitLab's API."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.helpers.deploy.ci_runner import program

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


def write_programs(folder: Path) -> None:
    """Write all of them, each to be found before the real one."""
    program(folder, "python3", PYTHON)
    program(folder, "gh", GH)
    for name, text in (("pip", PIP), ("ssept", SSEPT), ("tox", SSEPT)):
        program(folder / "tools", name, text)


def lines(path: Path) -> list[str]:
    """What a stand-in was given, an argument a line."""
    return path.read_text(encoding="utf-8").splitlines()


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
