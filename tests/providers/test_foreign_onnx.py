"""ONNX files of other exporters: what they are is found, or asked for, or refused in one line."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ssept
from ssept.artifacts.manifests import read_artifacts
from ssept.cli import main
from ssept.errors import ArtifactError, ProviderError, SseptError
from ssept.providers.onnx.file import describe
from ssept.providers.onnx.length import longest
from ssept.providers.onnx.names import FORM, VARIABLE, read_names
from ssept.variants import build
from tests.conftest import untrained
from tests.helpers.foreign_onnx import EMBEDDING, ITEMS, write
from tests.helpers.matrix import run_matrix

MASK = ("attention_mask",)
ASKED = "user=who,sequence=what"
# Names that show nothing, and of which none but the shapes could; here these do not either.
UNCLEAR = {"user": "who", "sequence": "what", "outputs": ("first", EMBEDDING), "scores": "first"}


def refused(path: Path, names: dict[str, str] | None = None) -> str:
    with pytest.raises(ArtifactError) as caught:
        describe(path, names or {})
    said = str(caught.value)
    assert said.startswith(f"{path}: ")
    assert "\n" not in said
    assert len(said) < 900
    return said


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("user", "sequence", "outputs", "scores"),
    [
        ("user", "sequence", ("scores",), "scores"),
        ("user_ids", "input_ids", (EMBEDDING, "scores"), "scores"),
        ("uid", "log_seqs", (EMBEDDING, "logits"), "logits"),
        ("U", "S", ("out",), "out"),
        ("serving_default_user:0", "items:0", (EMBEDDING, "pred_scores"), "pred_scores"),
    ],
)
def test_names_are_found(
    tmp_path: Path, user: str, sequence: str, outputs: tuple[str, ...], scores: str
) -> None:
    path = write(tmp_path / "x.onnx", user=user, sequence=sequence, outputs=outputs, scores=scores)
    found = describe(path, {})
    assert (found.signature.user, found.signature.sequence, found.signature.scores) == (
        user, sequence, scores,
    )  # fmt: skip
    assert found.model.items == ITEMS


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"user": "item_seq_len", "sequence": "item_seq"}, "cannot decide which input is the user"),
        ({"user": "item", "sequence": "users"}, "cannot decide which input"),
        ({"outputs": (EMBEDDING, "first"), "scores": "first"}, "name it with scores=NAME"),
        (
            {"user": "user", "sequence": "input_ids", "more_inputs": MASK},
            "needs the inputs attention_mask.* export it with these two only",
        ),
    ],
)
def test_what_names_do_not_show_is_asked_for(
    tmp_path: Path, parts: dict[str, Any], message: str
) -> None:
    said = refused(write(tmp_path / "x.onnx", **parts))
    assert re.search(message, said), said


@pytest.mark.parametrize(
    "text",
    ["user", "user=", "=x", "user=a,user=b", "who=x", "length=0", "length=x", "length=²",
     "padding=1", "user=a,,"],
)  # fmt: skip
def test_names_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(ArtifactError):
        read_names(text)


@pytest.mark.parametrize(
    "text", ["\0" * 60, "two\nlines", "\U000e0001" * 60, "x" * 9000], ids="0nex"
)
def test_names_of_any_text_are_shown_in_one_line(tmp_path: Path, text: str) -> None:
    """Those of a file, and those that a user gives."""
    made: list[dict[str, Any]] = [
        {"user": f"a{text}", "sequence": f"b{text}", "more_inputs": [f"c{text}"]},
        {"more_inputs": [f"c{text}", f"d{text}"]},
        {"outputs": [f"c{text}", EMBEDDING], "scores": f"c{text}"},
    ]
    files = [write(tmp_path / f"{at}.onnx", **more) for at, more in enumerate(made)]
    said = [refused(path) for path in files]
    said += [refused(files[0], {role: text}) for role in ("user", "sequence", "scores")]
    for given in (f"a{text}", f"{text}=1", f"length={text}", f"padding={text}"):
        with pytest.raises(ArtifactError) as caught:
            read_names(given)
        said.append(str(caught.value))
    for line in said:
        assert line.isprintable(), line
        assert len(line) < 500 + len(str(tmp_path)), line


def test_a_name_that_is_no_text_prints_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """ONNX Runtime's Python would try again, and print a banner to standard output."""
    path = write(tmp_path / "x.onnx", outputs=["abcdefgh"], scores="abcdefgh")
    path.write_bytes(path.read_bytes().replace(b"abcdefgh", b"abcd\xd2fgh"))
    assert "not UTF-8 text" in refused(path)
    path = write(tmp_path / "x.onnx")
    path.write_bytes(path.read_bytes().replace(b"MatMul", b"Mat\xd2ul"))
    refused(path)
    assert not capfd.readouterr().out


def test_scores_that_almost_overflow_warn_of_nothing() -> None:
    def run(sequence: np.ndarray) -> np.ndarray:
        if sequence.shape[1] > 12:
            raise ArtifactError("too long")
        return np.full((1, 3), 3e38 if sequence[0, 0] else -3e38, np.float32)

    assert longest(run, None, None) == 12  # a warning would be an error


def test_the_form_that_is_shown_can_be_read() -> None:
    assert set(read_names(FORM.replace("=N,", "=9,"))) == {
        "user", "sequence", "scores", "length", "padding",
    }  # fmt: skip


# ---------------------------------------------------------------- lengths


@pytest.mark.parametrize("places", [2, 5, 12, 16, 20, 50, 77, 120])
def test_the_longest_sequence_is_found(tmp_path: Path, places: int) -> None:
    path = write(tmp_path / "x.onnx", places=places)
    assert describe(path, {}).model.max_length == places
    session = ssept.load(path)
    assert session.scores([0], np.ones((1, 200), np.int64)).shape == (1, ITEMS + 1)


@pytest.mark.slow
@pytest.mark.parametrize("length", [24, 65])
@pytest.mark.parametrize("variant", ["onnx", "fused"])
def test_an_own_export_of_another_length_gives_the_same_scores(
    small: Any, tmp_path: Path, length: int, variant: str, empty_cache: Path
) -> None:
    """Its positions are counted from the right: one too many and it runs, with wrong ones."""
    checkpoint = untrained(
        small, tmp_path / "x.safetensors", max_length=length, item_dim=8, user_dim=8
    )
    file = shutil.copy(build(checkpoint, variant).path, tmp_path / "given.onnx")
    given = ssept.load(file)
    assert given.artifact.model.max_length == length
    sequence = np.random.default_rng(0).integers(1, small.items + 1, (3, 80))
    expected = ssept.load(checkpoint, "torch", "torch").scores([1, 2, 3], sequence)
    np.testing.assert_allclose(given.scores([1, 2, 3], sequence), expected, atol=1e-4)


def test_a_file_of_any_length_asks_for_it(tmp_path: Path) -> None:
    path = write(tmp_path / "x.onnx", places=None)
    assert "length=N" in refused(path)
    assert describe(path, {"length": "24"}).model.max_length == 24


def test_a_length_that_does_not_run_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.onnx", places=12)
    assert describe(path, {"length": "7"}).model.max_length == 7
    assert "does not run 1 sequences of 13" in refused(path, {"length": "13"})


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("batch", [1, 2])
def test_a_batch_inside_the_graph_is_refused(tmp_path: Path, batch: int) -> None:
    assert "dynamic batch axis" in refused(write(tmp_path / "x.onnx", batch=batch))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    assert "NaN or infinite" in refused(write(tmp_path / "x.onnx", value=value))


def test_a_built_file_is_looked_at_when_it_first_answers(tmp_path: Path) -> None:
    artifact = describe(write(tmp_path / "x.onnx"), {})
    write(tmp_path / "x.onnx", value=np.nan)
    session = ssept.load(artifact)
    with pytest.raises(ProviderError, match=r"x\.onnx: .*NaN or infinite"):
        session.recommend([0], [[1, 2]], 3)


def test_scores_without_a_column_for_padding_do_not_shift_the_ids(tmp_path: Path) -> None:
    path = write(tmp_path / "x.onnx", padding=False)
    said = refused(path)
    assert "lack column 0" in said
    assert "padding=0" in said
    assert describe(path, {"padding": "0"}).model.items == ITEMS - 1


# ---------------------------------------------------------------- every door


@pytest.fixture
def unclear(tmp_path: Path) -> Path:
    return write(tmp_path / "unclear.onnx", **UNCLEAR)


def test_names_by_variable_or_argument(unclear: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArtifactError, match="scores=NAME, with --onnx-names or SSEPT_ONNX_NAMES"):
        ssept.load(unclear)
    assert ssept.load(unclear, names={"scores": "first"}).artifact.model.items == ITEMS
    monkeypatch.setenv(VARIABLE, "scores=first")
    assert ssept.load(unclear).artifact.signature.scores == "first"
    monkeypatch.setenv(VARIABLE, "scores")
    with pytest.raises(ArtifactError, match="expected user=NAME"):
        ssept.load(unclear)


def test_names_for_the_repository_of_triton(
    unclear: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tritonclient", reason="install the triton extra")
    command = ["triton", "repository", str(tmp_path / "out"), "--onnx", str(unclear)]
    assert main(command) == 1
    assert "scores=NAME, with --onnx-names" in capsys.readouterr().err
    assert main([*command, "--onnx-names", "scores=first"]) == 0
    assert "user=who, sequence=what, scores=first; 30 items" in capsys.readouterr().err


@pytest.mark.slow
def test_names_for_the_gate(
    unclear: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write(tmp_path / "other.onnx", outputs=(EMBEDDING, "second"), scores="second")
    command = ["gate", str(unclear), str(other), "--no-accuracy", "--providers", "cpu"]
    command += ["--batch-sizes", "1", "--seconds", "2", "--json", str(tmp_path / "gate.json")]
    assert main(command) == 3
    assert f"{unclear}: cannot decide which output" in capsys.readouterr().err
    names = ["--onnx-names", "scores=first", "--head-onnx-names", "scores=second"]
    main([*command, *names])
    said = capsys.readouterr()
    assert "scores=first; 30 items" in said.err
    assert "scores=second; 30 items" in said.err
    found = json.loads((tmp_path / "gate.json").read_text())
    assert "could not be measured" not in said.out, said
    assert found


def test_the_gate_of_a_file_with_nan_is_not_a_regression(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write(tmp_path / "nan.onnx", value=np.nan))
    assert main(["gate", path, path]) == 3
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
def test_names_for_the_matrix(unclear: Path, tmp_path: Path) -> None:
    run = run_matrix(
        tmp_path, "--onnx", unclear, "--onnx-names", "scores=first", "--rounds", "45",
        "--batch-sizes", "1", "--providers", "cpu", "-k", "latency",
    )  # fmt: skip
    assert "unclear.onnx: user=who, sequence=what, scores=first" in run.output
    assert run.code != 0  # the data have another number of items
    assert "scores 30 items of unknown data" in run.output


# ---------------------------------------------------------------- what a file is


FOREIGN = {
    "a web page": (b"\n<!DOCTYPE html><html>" + b"x" * 5000, "web page"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
    "nothing": (b"", "is empty"),
    "text": (b'{"a": 1}', "text file"),
    "packed": (b"\x1f\x8b" + bytes(500), "packed"),
    "half a zip": (b"PK\x03\x04" + bytes(100), "cut off"),
    "noise": (bytes(range(255, 0, -1)), "cut off, or of no known kind"),
}


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("name", ["x.onnx", "x.ONNX", "x.pth", "x.safetensors", "x.pth.tar", "x"])
def test_what_is_no_model_is_called_what_it_is(tmp_path: Path, kind: str, name: str) -> None:
    content, words = FOREIGN[kind]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SseptError) as caught:
        ssept.load(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: not a")
    assert words in said
    assert len(said) < 400
    assert "\n" not in said


@pytest.mark.parametrize("name", ["x.ONNX", "x.bin", "x", "x.pth"])
def test_an_onnx_file_of_any_name(tmp_path: Path, name: str) -> None:
    assert ssept.load(write(tmp_path / name)).artifact.model.items == ITEMS


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_half_an_onnx_file(tmp_path: Path, part: float) -> None:
    path = write(tmp_path / "x.onnx")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    refused(path)


def test_a_file_in_place_of_a_folder_of_artifacts(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is a file; expected a folder that `ssept build"):
        read_artifacts(write(tmp_path / "x.onnx"))
