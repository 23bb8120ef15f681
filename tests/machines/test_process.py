"""Commands as processes: terminals of any encoding, closed pipes, full disks, other homes."""

import contextlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ssept.children import command
from ssept.cli import main
from ssept.cli.process import REPLACEMENTS
from tests.helpers.matrix import environment
from tests.helpers.repositories import commit, git, write_tree

RUNS = sorted((Path(__file__).parents[1] / "data/runs").glob("*.json"))
COMMANDS = {
    "report": ["report", str(RUNS[0])],
    "compare": ["compare", *map(str, RUNS[:2])],
    "doctor": ["doctor", "--seconds=0.01"],
    "gate self-test": ["gate", "--self-test", "--report", "--results=/nowhere"],
    "help": ["--help"],
    "help of a command": ["gate", "--help"],
    "error": ["report", "é×–\udcff"],
}
ENCODINGS = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "cp437": {"PYTHONIOENCODING": "cp437"},
    "strict ascii": {"PYTHONIOENCODING": "ascii:strict"},
    "C": {"LC_ALL": "C"},
    "C without UTF-8": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "POSIX": {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "UTF-8": {"PYTHONIOENCODING": "utf-8"},
}


def ran(
    *arguments: str, variables: dict[str, str] | None = None, **options: object
) -> subprocess.CompletedProcess[bytes]:
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-m", "ssept.cli", *arguments],
        env=environment() | (variables or {}),
        check=False,
        timeout=60,
        **given,
    )


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", ["report", "compare", "error"])
def test_any_terminal_shows_the_table(name: str, encoding: str) -> None:
    done, whole = (ran(*COMMANDS[name], variables=ENCODINGS[e]) for e in (encoding, "UTF-8"))
    said = done.stderr.decode("ascii", "replace")
    assert done.returncode == (1 if name == "error" else 0), said
    assert "Traceback" not in said
    assert len(said.splitlines()) == (1 if name == "error" else 0)
    if encoding.endswith("ascii"):
        plain = whole.stdout.decode().translate(str.maketrans(REPLACEMENTS))
        assert done.stdout.decode() == plain


@pytest.mark.parametrize("name", COMMANDS)
def test_any_command_prints_in_ascii(name: str) -> None:
    done = ran(*COMMANDS[name], variables=ENCODINGS["ascii"])
    assert done.returncode == (1 if name == "error" else 0), done.stderr
    assert done.stdout.isascii()
    assert done.stderr.isascii()
    assert b"Traceback" not in done.stderr
    assert b"\\x" not in done.stdout  # no character that has no replacement to read


def test_a_replacement_is_plain() -> None:
    assert all(map(str.isascii, REPLACEMENTS.values()))


@pytest.mark.parametrize("name", ["report", "compare", "help", "help of a command"])
def test_a_closed_pipe_is_silent(name: str) -> None:
    read, write = os.pipe()
    os.close(read)
    done = ran(*COMMANDS[name], stdout=write)
    os.close(write)
    expected = 0 if name.startswith("help") else 128 + signal.SIGPIPE
    assert (done.returncode, done.stderr) == (expected, b"")


@pytest.mark.parametrize("name", ["report", "compare"])
def test_a_full_disk_behind_the_output_is_one_line(name: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = ran(*COMMANDS[name], stdout=full)
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert b"No space left on device" in done.stderr


@pytest.mark.parametrize("closed", ["stdout", "stderr", "both"])
def test_streams_that_were_closed_before_the_start(closed: str) -> None:
    shell = {"stdout": ">&-", "stderr": "2>&-", "both": ">&- 2>&-"}[closed]
    line = f'"$0" -m ssept.cli report "$1" {shell}'
    command = ["sh", "-c", line, sys.executable, COMMANDS["report"][1]]
    assert subprocess.run(command, env=environment(), capture_output=True).returncode == 0


def test_an_error_behind_a_closed_standard_error_keeps_its_code() -> None:
    read, write = os.pipe()
    os.close(read)
    assert ran("report", "/nowhere", stderr=write).returncode == 1
    assert ran("gate", "/nowhere", "/nowhere", stderr=write).returncode == 3
    os.close(write)


def fail(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def raising(*_: object) -> None:
        raise error

    for name in ("ssept.cli.report.read_matrix_runs", "ssept.measure.doctor.examine"):
        monkeypatch.setattr(name, raising)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RuntimeError("one\ntwo\x1b[0m" + 9_999 * "x"), 1),
        (MemoryError(), 1),
        (RecursionError(), 1),
        (BrokenPipeError(), 1),  # of another pipe
        (SystemExit(0), 1),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
@pytest.mark.parametrize("name", ["report", "doctor"])
def test_what_nobody_expected_is_one_line(
    name: str, error: BaseException, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(monkeypatch, error)
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        code = main(COMMANDS[name])
    assert code == (3 if name == "doctor" else status)  # 1 of doctor: nothing can be measured
    (line,) = errors.getvalue().splitlines()
    assert line.isprintable()
    assert len(line) < 1000
    assert line.startswith("ssept: ")


@pytest.mark.parametrize("way", ["before", "after", "variable"])
def test_a_traceback_for_those_who_want_it(way: str) -> None:
    arguments = ["report", "/nowhere"]
    arguments[{"before": 0, "after": 2}.get(way, 9) :] = (
        [] if way == "variable" else ["--traceback", *arguments[{"before": 0}.get(way, 2) :]]
    )
    done = ran(*arguments, variables={"SSEPT_TRACEBACK": "1"} if way == "variable" else {})
    assert done.returncode == 1
    assert b"Traceback" in done.stderr
    assert done.stderr.splitlines()[-1] == b"ssept: error: /nowhere: no such results file"


HOMES = {
    "no home": {"HOME": None, "SSEPT_CACHE_DIR": None},
    "a tilde": {"SSEPT_CACHE_DIR": "~/cache"},
    "a file": {"SSEPT_CACHE_DIR": "/etc/passwd"},
    "below a file": {"SSEPT_CACHE_DIR": "/etc/passwd/cache"},
    "where nobody may write": {"SSEPT_CACHE_DIR": "/proc/cache"},
    "a name that is too long": {"SSEPT_CACHE_DIR": "/tmp/" + 300 * "x"},
    "a home where nobody may write": {"HOME": "/proc", "SSEPT_CACHE_DIR": None},
}
# As a user who has no entry in the list of users.
NOBODY = """
import pwd, sys
def nobody(*_):
    raise KeyError
pwd.getpwuid = nobody
from ssept.cli import main
sys.exit(main())
"""


@pytest.mark.parametrize("home", HOMES)
@pytest.mark.parametrize("name", ["build", "gate"])
def test_a_cache_that_cannot_be_is_one_line(
    home: str, name: str, tmp_path: Path, small_checkpoint: Path
) -> None:
    git("init", "--quiet", folder=tmp_path)
    commit(write_tree(tmp_path, "a"), "a")
    arguments = {
        "build": ["build", f"--checkpoint={small_checkpoint}", "--variants=onnx", "--jobs=1"],
        "gate": ["gate", "HEAD", "HEAD", f"--checkpoint={small_checkpoint}"],
    }[name]
    variables = {**environment(), **HOMES[home]}
    script = tmp_path / "nobody.py"
    script.write_text(NOBODY)
    before = set(tmp_path.iterdir())
    done = subprocess.run(
        command(script, *arguments),
        env={name: value for name, value in variables.items() if value is not None},
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=120,
    )
    assert done.returncode == (3 if name == "gate" else 1), done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("ssept: error: ")
    assert "SSEPT_CACHE_DIR" in line
    assert set(tmp_path.iterdir()) == before
