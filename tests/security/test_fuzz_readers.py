"""Each reader of files gives a value or one bounded line, whatever the bytes; atheris makes them.

SSEPT_TEST_FUZZ is how many inputs are tried for each reader; without it, for some tens of seconds.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from ssept.errors import SseptError
from tests.helpers.fuzz_readers import READERS, ROOT, Reader, check

COUNT = os.environ.get("SSEPT_TEST_FUZZ")
SECONDS = 30  # without COUNT
# Of one input, on a busy machine.
BOUNDS = ("-timeout=60", "-rss_limit_mb=4096", "-max_len=8192", "-len_control=20")


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("atheris"), reason="atheris has no wheel for this machine")
@pytest.mark.parametrize("name", READERS)
def test_any_bytes_give_a_value_or_one_line(name: str, tmp_path: Path) -> None:
    length = [f"-runs={COUNT}"] if COUNT else [f"-max_total_time={SECONDS}", "-seed=1"]
    command = [sys.executable, "-m", "tests.helpers.fuzz_readers", name, str(tmp_path)]
    done = subprocess.run(
        [*command, *BOUNDS, *length, "-print_final_stats=1"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert not done.returncode, done.stdout[-5000:]  # names the input
    executed = re.search(r"number_of_executed_units: (\d+)", done.stdout)
    reached = re.search(r"DONE +cov: (\d+)", done.stdout)
    assert executed, done.stdout[-5000:]
    assert reached, done.stdout[-5000:]
    print(f"{name}: {int(executed[1]):,} inputs, {reached[1]} branches reached")


@pytest.mark.parametrize("name", READERS)
def test_the_inputs_that_it_begins_with_are_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    reader = READERS[name]()
    assert sum(check(reader, seed) for seed in reader.seeds()) > 2
    assert not list(tmp_path.iterdir())


def raised(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("door", "said"),
    [
        (lambda: raised(ValueError("any other")), "any other"),
        (lambda: raised(SseptError("x" * 501)), "501 characters"),
        (lambda: raised(SseptError("two\nlines")), "not one printable line"),
        (lambda: raised(SseptError("")), "0 characters"),
        (lambda: Path("left").touch(), "left"),
        (lambda: print("a banner"), "a banner"),
    ],
    ids=["exception", "long", "lines", "silent", "file", "output"],
)
def test_what_breaks_the_promise_is_seen(
    door: Callable[[], object], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Reader):
        def doors(self, data: bytes) -> list[Callable[[], object]]:
            return [door]

    monkeypatch.chdir(tmp_path)
    with pytest.raises((AssertionError, ValueError), match=said):
        check(Broken(), b"")
