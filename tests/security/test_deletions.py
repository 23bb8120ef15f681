"""Every place that deletes or cuts a file is in docs/security-deletions.md, with its guard."""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssept.files.owned import MARK, mark
from ssept.serving.launch import watchdog
from tests.helpers.matrix import ROOT

LIST = ROOT / "docs/security-deletions.md"
FOLDERS = ("ssept", "fixtures", "benchmarks")
# Methods and functions, of whatever module.
CALLS = {
    *("rmtree", "unlink", "rmdir", "removedirs", "rename", "renames", "truncate", "ftruncate"),
    *("move", "copyfile", "copy2", "copytree", "copyfileobj"),
    *("write_text", "write_bytes", "touch"),
    *("to_csv", "save", "savez", "savefig", "save_file", "save_model"),
}
OF_OS = {"remove", "replace", "open"}
OPENING = {"open", "fdopen", "ZipFile"}
COMMANDS = {"--clear", "--force", "prune", "remove", "rm"}


def writes(call: ast.Call) -> bool:
    """Whether a call opens a file in a mode in which it may change it."""
    modes = [word for word in ast.walk(call) if isinstance(word, ast.Constant)]
    return any(re.fullmatch("[rwaxbt+]*[wax+][rwaxbt+]*", str(mode.value)) for mode in modes)


def deletes(node: ast.AST) -> bool:
    """Whether something deletes, cuts, replaces or writes a file."""
    if isinstance(node, ast.Constant):
        return node.value in COMMANDS
    if isinstance(node, ast.Attribute):
        return node.attr == "O_TRUNC"
    if not isinstance(node, ast.Call) or ast.unparse(node.func) == "self.save":
        return False
    of = node.func.value if isinstance(node.func, ast.Attribute) else None
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    if name in CALLS or (name in OPENING and writes(node)):
        return True
    if isinstance(of, ast.Name) and of.id == "os":
        return name in OF_OS
    # Of a text it has two arguments.
    return name == "replace" and len(node.args) == 1 and not node.keywords


def places(folder: Path) -> Iterator[str]:
    """`module:function` of all that deletes, below a folder."""

    def within(node: ast.AST, name: str) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            named = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            inner = f"{name}.{child.name}".lstrip(".") if named else name  # type: ignore[attr-defined]
            if deletes(child):
                yield inner
            yield from within(child, inner)

    for file in sorted(folder.rglob("*.py")):
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for name in within(ast.parse(file.read_text("utf-8")), ""):
            yield f"{module}:{name}"


def listed() -> list[str]:
    return re.findall(r"^\| `([\w.]+:[\w.]*)` \|", LIST.read_text("utf-8"), re.MULTILINE)


def test_every_place_is_listed_and_nothing_else_is() -> None:
    found = {place for folder in FOLDERS for place in places(ROOT / folder)}
    assert len(found) > 20
    assert sorted(found - set(listed())) == [], f"not in {LIST.name}"
    assert sorted(set(listed()) - found) == [], f"in {LIST.name}, and gone from the code"
    assert len(listed()) == len(set(listed()))


def test_the_tests_that_the_list_names_exist() -> None:
    named = set(re.findall(r"`(test_\w+\.py)(?:::(\w+))?`", LIST.read_text("utf-8")))
    assert named
    texts = {file.name: file.read_text("utf-8") for file in (ROOT / "tests").rglob("test_*.py")}
    for file, test in named:
        assert f"def {test}" in texts[file], (file, test)


@pytest.mark.parametrize(
    "code",
    [
        "shutil.rmtree(folder)",
        "path.unlink()",
        "os.remove(path)",
        "path.replace(other)",
        "os.replace(a, b)",
        "path.rename(other)",
        "path.open('w')",
        "os.fdopen(handle, 'r+')",
        "opener(path, os.O_WRONLY | os.O_TRUNC)",
        "open(path, 'ab+')",
        "os.open(path, flags)",
        "path.write_text('')",
        "file.truncate(0)",
        "git('worktree', 'remove', '--force')",
        "frame.to_csv(path)",
    ],
)
def test_a_place_is_found(code: str) -> None:
    assert any(deletes(node) for node in ast.walk(ast.parse(code)))


@pytest.mark.parametrize(
    "code", ["text.replace('a', 'b')", "replace(plan, x=1)", "path.open('rb')", "names.remove(x)"]
)
def test_no_other_call_is_taken_for_one(code: str) -> None:
    assert not any(deletes(node) for node in ast.walk(ast.parse(code)))


@pytest.mark.parametrize("made", [True, False])
def test_a_watchdog_deletes_the_folder_of_its_server_only(tmp_path: Path, made: bool) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "notes.txt").write_text("x")
    if made:
        mark(folder)
    request = {
        "command": ["true"],
        "variables": {**os.environ},
        "place": str(tmp_path),
        "umask": 0o077,
        "log": str(tmp_path / "log"),
        "owner": os.getpid(),
        "shared_memory": None,
        "folder": str(folder),
        "afterwards": [],
    }
    assert watchdog.MARK == MARK
    with subprocess.Popen(
        [sys.executable, "-I", watchdog.__file__], stdin=subprocess.PIPE, text=True
    ) as process:
        process.communicate(json.dumps(request) + "\n")
    assert folder.exists() == (not made)
    assert made or (folder / "notes.txt").exists()
