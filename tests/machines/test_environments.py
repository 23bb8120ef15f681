"""Tools' own environments: made once, whole or made again, and called file to file."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ssept.environments import environment, pinned, run
from ssept.errors import SseptError
from ssept.files import cache_folder
from tests.helpers.wheels import install_only_from, write_wheel

SHOW_TINY = """
import json, sys, tiny
json.load(sys.stdin)
print(json.dumps({"answer": tiny.ANSWER, "prefix": sys.prefix}))
"""


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a folder that pip takes packages from, and from nowhere else."""
    folder = tmp_path / "shelf"
    monkeypatch.setenv("SSEPT_CACHE_DIR", str(tmp_path / "cache"))
    install_only_from(folder, monkeypatch)
    return folder


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "tiny.txt"
    path.write_text(f"# what the tool needs\n{write_wheel(tmp_path / 'elsewhere')}\n")
    return path


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(SHOW_TINY)
    return path


@pytest.mark.slow
def test_an_environment_is_made_once_and_its_tool_answers(
    shelf: Path, requirements: Path, script: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_wheel(shelf)
    python = environment("tiny", requirements, 20)
    assert capfd.readouterr().err == "ssept: installing the environment tiny once, about 20 MB\n"
    result = run(python, script, {})
    assert result["answer"] == 42
    assert Path(result["prefix"]) == python.parents[1]
    assert cache_folder() / "environments" in python.parents
    assert environment("tiny", requirements, 20) == python
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_constraints_of_the_user_do_not_bind_a_tool(
    shelf: Path, requirements: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "constraints.txt").write_text("tiny==2.0\n")
    monkeypatch.setenv("PIP_CONSTRAINT", str(tmp_path / "constraints.txt"))
    write_wheel(shelf)
    assert environment("tiny", requirements, 20).exists()


@pytest.mark.slow
def test_parallel_callers_make_it_once(
    shelf: Path, requirements: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_wheel(shelf)
    with ThreadPoolExecutor(4) as pool:
        made = set(pool.map(lambda _: environment("tiny", requirements, 20), range(4)))
    assert len(made) == 1
    assert capfd.readouterr().err.count("installing the environment") == 1


@pytest.mark.slow
def test_other_requirements_are_another_environment_and_a_lost_python_is_replaced(
    shelf: Path, requirements: Path, script: Path
) -> None:
    write_wheel(shelf)
    python = environment("tiny", requirements, 20)
    requirements.write_text("# it needs nothing any more\n")
    bare = environment("tiny", requirements, 20)
    assert bare != python
    with pytest.raises(SseptError, match="No module named 'tiny'"):
        run(bare, script, {})
    bare.unlink()
    bare.symlink_to(shelf / "uninstalled")
    assert environment("tiny", requirements, 20) == bare
    assert bare.exists()


@pytest.mark.slow
def test_a_package_that_cannot_be_had_is_told_and_can_be_had_later(
    shelf: Path, requirements: Path
) -> None:
    with pytest.raises(SseptError, match=r"tiny\.txt(.|\n)*No matching distribution.*tiny==1\.0"):
        environment("tiny", requirements, 20)
    assert not list((cache_folder() / "environments").glob("tiny-*/"))
    write_wheel(shelf)
    assert environment("tiny", requirements, 20).exists()


@pytest.mark.slow
def test_a_build_that_was_killed_is_made_again(
    shelf: Path, requirements: Path, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = "import sys; from pathlib import Path; from ssept.environments import environment\n"
    program += "environment('tiny', Path(sys.argv[1]), 20)"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(120)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
        process = subprocess.Popen(
            [sys.executable, "-c", program, requirements],
            env=inherited | {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": url, "NO_PROXY": "*"},
            start_new_session=True,
        )
        connection, _ = silent.accept()  # pip asks for the package, and gets no answer
        os.killpg(process.pid, signal.SIGKILL)
        connection.close()
    assert process.wait() == -signal.SIGKILL
    (left,) = (cache_folder() / "environments").glob("tiny-*/")
    assert (left / "bin" / "python").exists()
    write_wheel(shelf)
    python = environment("tiny", requirements, 20)
    assert python.parents[1] == left
    assert run(python, script, {})["answer"] == 42


@pytest.mark.slow
def test_a_folder_that_was_not_made_here_stays(
    shelf: Path, requirements: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_wheel(shelf)
    folder = environment("tiny", requirements, 20).parents[1]
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(SseptError, match=f"{folder}: was not made by ssept: move it away"):
        environment("tiny", requirements, 20)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def program(folder: Path, text: str) -> Path:
    path = folder / "tool.py"
    path.write_text(text)
    return path


HERE = Path(sys.executable)


def test_the_result_is_the_last_line_of_output(tmp_path: Path) -> None:
    text = 'import json, sys\nprint("chatter")\nprint(json.dumps({"got": json.load(sys.stdin)}))'
    assert run(HERE, program(tmp_path, text), {"a": [1, None]}) == {"got": {"a": [1, None]}}


def test_a_tool_works_in_a_folder_of_its_own(tmp_path: Path) -> None:
    text = 'import json, os\nopen("mess", "w").close()\nprint(json.dumps({"cwd": os.getcwd()}))'
    before = set(Path.cwd().iterdir())
    result = run(HERE, program(tmp_path, text), {})
    assert not Path(result["cwd"]).exists()
    assert set(Path.cwd().iterdir()) == before


def test_a_tool_imports_nothing_from_beside_its_script(tmp_path: Path) -> None:
    (tmp_path / "decimal.py").write_text("raise AssertionError")
    text = 'import decimal, json\nprint(json.dumps({"three": int(decimal.Decimal(3))}))'
    assert run(HERE, program(tmp_path, text), {}) == {"three": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('import sys\nsys.exit("the reason")', "tool.py: ended with 1: the reason"),
        ("1 / 0", "ZeroDivisionError"),
        ('print("no result")', "not JSON: no result"),
        ("", "not JSON: .it wrote nothing"),
        ("print([1])", r"gave \[1\]; expected a JSON object"),
        ("import signal\nsignal.pause()", "no result after 0.2 s"),
    ],
)
def test_a_tool_that_fails_is_told_with_its_last_words(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(SseptError, match=message):
        run(HERE, program(tmp_path, text), {}, timeout_seconds=0.2 if "pause" in text else 60)


def test_pins_are_read_by_name(tmp_path: Path) -> None:
    path = tmp_path / "pins.txt"
    path.write_text(
        "# a\nonnx==1.18.0 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\nonnx-x==2\n"
        'numpy==1.26.4 ; python_version >= "3.10" \\\n    --hash=sha256:22\n'
        'numpy==1.0 ; python_version < "3.10" \\\n    --hash=sha256:33\n'
    )
    assert pinned(path, "onnx", "numpy") == {"onnx": "onnx 1.18.0", "numpy": "numpy 1.26.4"}
