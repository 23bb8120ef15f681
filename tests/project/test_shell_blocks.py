"""The commands of the pages: each is one that the program takes, and each that can runs.

A shell block runs here, with the others of its page, unless its first line says why it does not:
three backticks and `sh no-run: REASON`.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from fixtures import options
from ssept.cli.commands import COMMANDS, parser_of
from ssept.cli.process import ArgumentsExit
from ssept.providers import PROVIDERS
from ssept.variants import VARIANTS
from tests.helpers.matrix import ROOT, environment
from tests.project.test_docs import PAGES, declared

REASONS = {
    "minutes": "it takes minutes, or installs",
    "network": "it needs the internet",
    "files": "it names files that only a reader has",
    "board": "it needs another machine",
    "docker": "it needs Docker",
    "k8s": "it needs a Kubernetes cluster",
    "gpu": "it needs a GPU",
}
BLOCK = re.compile(r"^```(?:sh|bash|shell|console)(?: +no-run: ([^\n]*))?\n(.*?)^```$", re.M | re.S)
ENVIRONMENTS = set(re.findall(r"\[testenv:(\w+)\]", (ROOT / "tox.ini").read_text("utf-8")))
NOT_COPIED = (".git", ".tox", ".venv", "venv", "build", "dist", ".mypy_cache", ".hypothesis")
SECONDS = 240


@dataclass(frozen=True)
class Block:
    """A shell block of a page."""

    page: Path
    line: int
    reason: str | None
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks() -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in BLOCK.finditer(text):
            line = text[: found.start()].count("\n") + 1
            yield Block(page, line, found[1], found[2])


BLOCKS = list(blocks())


def commands(text: str) -> Iterator[list[str]]:
    """Split a block into its commands, each without what comes before the program's name."""
    text = re.sub(r"(^|\s)# .*$", "", text.replace("\\\n", " "), flags=re.M)
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";&|>\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t", True, ""
    words: list[str] = []
    ended = False  # after a `>`, names of files
    for word in [*lexer, "\n"]:
        if set(word) - set(";&|>\n"):
            words += [] if ended else [word]
        elif ended := word == ">":
            pass
        elif words:
            yield without_prefix(words)
            words = []


def without_prefix(words: list[str]) -> list[str]:
    """Leave out variables, and programs that run another."""
    while words and re.match(r"\w+=", words[0]):
        words = words[1:]
    for prefix in (["sudo"], ["taskset", "-c", "0"], ["tox", "exec", "-e"]):
        if words[: len(prefix)] == prefix:
            rest = words[len(prefix) :]
            if prefix[0] == "tox":
                assert rest[0] in ENVIRONMENTS, rest[0]
                assert rest[1] == "--"
                rest = rest[2:]
            return without_prefix(rest)
    return words


def check_all(text: str) -> None:
    for words in commands(text):
        check(words)


def check(words: list[str]) -> None:
    """Fail if a command does not exist, or does not take its options."""
    program = Path(words[0]).name if words else ""
    if program == "ssept":
        name, *rest = words[1:]
        assert name in COMMANDS, name
        try:
            _, unknown = parser_of(name).parse_known_args(rest)
        except ArgumentsExit:
            pytest.fail(f"not taken: {shlex.join(words)}")
        assert not unknown, shlex.join(words)
    elif program == "tox":
        split = words.index("--") if "--" in words else len(words)
        for name in words[words.index("-e") + 1].split(","):
            assert name in ENVIRONMENTS, name
        check_matrix(words[split + 1 :])
    elif program == "pytest":
        check_matrix(words[1:])


def check_matrix(words: list[str]) -> None:
    """Fail if an option, a variant or a provider does not exist."""
    for word in words:
        option, _, value = word.partition("=")
        if option.startswith("--"):
            assert option in {*declared(), "--benchmark-storage", "--resume"}, word
        known = {"--variants": {*VARIANTS, options.ALL}, "--providers": {*PROVIDERS, "xnnpack"}}
        if option in known:
            assert set(value.split(",")) <= known[option], word


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.place)
def test_commands_are_taken(block: Block) -> None:
    check_all(block.text)


def test_only_known_reasons_keep_a_block_from_running() -> None:
    assert {block.reason for block in BLOCKS} - {None} <= set(REASONS)


def test_all_blocks_are_seen() -> None:
    for page in PAGES:
        opened = re.findall(r"^ *```(?:sh|bash|shell|console)\b", page.read_text("utf-8"), re.M)
        assert len(opened) == sum(block.page == page for block in BLOCKS), page


@pytest.mark.parametrize(
    "text",
    [
        "ssept reprot x",
        "ssept report --no-such-option",
        "tox -e benhc",
        "tox -e bench -- --quik",
        "X=1 tox exec -e nowhere -- ssept doctor",
        "true && pytest --variants=nothing # said",
        "ssept \\\n    gate --no-such",
    ],
)
def test_wrong_commands_are_found(text: str) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check_all(text)


RUN = {block.page for block in BLOCKS if block.reason is None}


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted(RUN), ids=lambda page: page.name)
def test_blocks_run(page: Path, tmp_path: Path) -> None:
    clone, said = tmp_path / "clone", tmp_path / "said"
    clone.mkdir()
    (tmp_path / "home").mkdir()
    own = [path for path in ROOT.iterdir() if path.name not in NOT_COPIED]
    subprocess.run(["cp", "-a", *own, clone], check=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for block in BLOCKS:
        if block.page != page or block.reason is not None:
            continue
        with said.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", block.text],
                cwd=clone,
                env=environment() | {"PATH": path, "HOME": str(tmp_path / "home")},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # to end what it leaves in the background
            )
        try:
            code = process.wait(SECONDS)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()
        assert code == 0, f"{block.place}: {said.read_text()}"
