"""`ssept verify`: what was changed in a saved run is named."""

import copy
import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from ssept.cli import main
from ssept.files import json_text, write_json
from ssept.results.files import read_matrix_run
from ssept.results.hashes import add_hashes, changed_parts

SHIPPED = sorted(Path(__file__).parents[1].glob("data/runs/*.json"))
TEST = "benchmarks: benchmarks/test_latency.py::test_latency[onnx-cpu-b001]"


def hashed() -> dict[str, Any]:
    """The smallest of the runs at hand, as this version would save it."""
    path = min(SHIPPED, key=lambda path: path.stat().st_size)
    content = json.loads(path.read_bytes())
    content["ssept"] |= {"settings": {"rounds": 700}, "code_sha256": "ab" * 32}
    content["ssept"]["installed"] = {"numpy": "2.4.6"}
    add_hashes(content)
    return content


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "0001_run.json"
    write_json(path, hashed())
    return path


def test_a_run_as_it_was_saved_is_unchanged(
    saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    read_matrix_run(saved)
    assert main(["verify", str(saved)]) == 0
    assert capsys.readouterr().out == f"{saved}: unchanged\n"


def parts() -> list[str]:
    return [*hashed()["ssept"]["hashes"]["parts"]]


@pytest.mark.parametrize("part", parts())
def test_one_byte_of_a_part_is_found_and_its_part_named(
    saved: Path, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    content = hashed()
    where: Any = content
    if part.startswith("benchmarks: "):
        names = [each["fullname"] for each in content["benchmarks"]]
        where, name = content["benchmarks"], names.index(part.removeprefix("benchmarks: "))
    else:
        *outer, name = part.split(".")
        for each in outer:
            where = where[each]
    where[name] = one_byte_other(where[name])
    saved.write_text(json_text(content))
    assert main(["verify", str(saved)]) == 1
    assert capsys.readouterr().out == f"{saved}: changed: {part}\n"


def one_byte_other(value: Any) -> Any:
    """A JSON value with another letter or digit in its text, but not in a test's name."""
    text = json.dumps(value)
    for found in re.finditer(r"[a-y0-8]", re.sub(r'"fullname": "[^"]*"', fullname_hidden, text)):
        at = found.start()
        try:
            return json.loads(text[:at] + chr(ord(text[at]) + 1) + text[at + 1 :])
        except ValueError:
            continue
    return 0 if value is None else [value]


def fullname_hidden(found: re.Match[str]) -> str:
    return " " * len(found.group())


def test_any_byte_is_found(saved: Path) -> None:
    text = saved.read_bytes()
    chosen = random.Random(0)
    for at in chosen.sample(range(len(text)), 400):
        other = chosen.choice([byte for byte in b'a0 "{' if byte != text[at]])
        saved.write_bytes(text[:at] + bytes([other]) + text[at + 1 :])
        assert main(["verify", str(saved)]) in (1, 3), (at, text[at - 20 : at + 20], chr(other))


def test_what_was_taken_out_or_put_in_is_named(saved: Path) -> None:
    content = hashed()
    removed = content["benchmarks"].pop(0)["fullname"]
    content["comment"] = "looks better"
    saved.write_text(json_text(content))
    assert changed_parts(saved) == [
        f"benchmarks: {removed}, which is missing",
        "comment, which was not there",
    ]


def test_hashes_that_were_changed_are_told_from_parts(saved: Path) -> None:
    content = hashed()
    content["ssept"]["hashes"]["parts"]["datetime"] = "0" * 64
    saved.write_text(json_text(content))
    assert changed_parts(saved) == ["ssept.hashes.parts, the hash of datetime"]
    content = hashed()
    content["ssept"]["hashes"]["whole"] = "0" * 64
    saved.write_text(json_text(content))
    assert changed_parts(saved) == ["ssept.hashes.whole"]
    # Who edits a part and its own hash is found by the hash of all.
    content = hashed()
    content["datetime"] = "2000-01-01T00:00:00"
    other = copy.deepcopy(content)
    add_hashes(other)
    parts = content["ssept"]["hashes"]["parts"]
    parts["datetime"] = other["ssept"]["hashes"]["parts"]["datetime"]
    saved.write_text(json_text(content))
    assert changed_parts(saved) == ["ssept.hashes.whole"]


def test_spaces_and_line_ends_count_too(saved: Path) -> None:
    text = saved.read_text()
    for other in (text.replace("\n", "\r\n"), text.rstrip(), json.dumps(json.loads(text))):
        saved.write_text(other, newline="")
        (found,) = changed_parts(saved)
        assert found.startswith("the layout")


def test_a_run_without_hashes_is_not_called_unchanged(
    saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(SHIPPED[0]), str(saved)]) == 3
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"not checked: {SHIPPED[0]}: ssept.hashes is missing")
    assert said[1] == f"{saved}: unchanged"
    assert main(["verify", str(saved.parent / "none.json")]) == 3
