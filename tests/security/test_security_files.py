"""ONNX files that name other files: only those beside them are read, hashed and taken along."""

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest

import ssept
from ssept.artifacts import Artifact, Model, Signature, artifact_of
from ssept.artifacts.manifests import MANIFEST, copy_artifacts, read_artifacts
from ssept.cli import main
from ssept.errors import ServerError, SseptError
from ssept.files import sha256
from ssept.files.onnx_external import FIELDS, MOST_FIELDS, check_whole, external_files
from ssept.providers import PROVIDERS
from ssept.providers.onnx.file import describe
from ssept.providers.onnx.session_options import TensorRtOptions
from ssept.serving.triton.repository import check, write_repository
from tests.helpers.hostile_onnx import (
    DATA,
    HIDDEN,
    HOSTILE,
    ITEMS,
    evil,
    model_with,
    moved_out,
    saved,
    table,
)
from tests.helpers.matrix import ROOT, run_matrix
from tests.helpers.servers.triton_files import needs_server, start
from tests.helpers.servers.triton_files import repository as by_hand

NOBODY = Model(
    checkpoint="model",
    checkpoint_sha256="",
    data_name="",
    data_hash="",
    users=9,
    items=ITEMS,
    max_length=5,
)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """What lies elsewhere: as long as the table, so that a runtime would take it."""
    path = tmp_path / "secret"
    path.write_bytes(table(7).raw_data)
    return path


def refused(run: Callable[[], object], *names: str) -> str:
    with pytest.raises(SseptError) as caught:
        run()
    said = str(caught.value)
    assert "\n" not in said
    assert len(said) < 1000
    assert all(name in said for name in names), said
    return said


@pytest.mark.parametrize("kind", HOSTILE)
def test_data_elsewhere_are_refused(tmp_path: Path, secret: Path, kind: str) -> None:
    path = HOSTILE[kind](secret, tmp_path / "model")
    refused(lambda: ssept.load(path), "model.onnx")


def test_data_beside_the_file_are_read(tmp_path: Path) -> None:
    path = saved(tmp_path)
    whole = tmp_path / "whole" / "model.onnx"
    whole.parent.mkdir()
    onnx.save(onnx.load(path), whole)
    for provider in ("cpu", "openvino_native"):
        scores = ssept.load(path, provider=provider).scores([1, 2], [[1, 2, 3], [4, 5, 6]])
        expected = ssept.load(whole, provider=provider).scores([1, 2], [[1, 2, 3], [4, 5, 6]])
        np.testing.assert_array_equal(scores, expected)


# ---------------------------------------------------------------- each door


def artifact_at(path: Path) -> Artifact:
    """As a caller of the library may make one, without reading the file."""
    return Artifact(
        path=path,
        variant="custom",
        format="onnx",
        model=NOBODY,
        sha256="0" * 64,
        size_bytes=9,
        tools={},
    )


def folder_of(path: Path) -> Path:
    """An artifacts folder that describes the file as it stands."""
    entry = vars(artifact_at(path)) | {
        "path": path.name,
        "variant": "onnx",
        "sha256": sha256(path),
        "model": vars(NOBODY),
        "signature": vars(Signature()),
    }
    (path.parent / MANIFEST).write_text(json.dumps({"schema": 1, "artifacts": [entry]}))
    return path.parent


DOORS: dict[str, Callable[[Path, Path], object]] = {
    "describe": lambda path, out: describe(path),
    "cpu": lambda path, out: PROVIDERS["cpu"].load(artifact_at(path), 1),
    "openvino": lambda path, out: PROVIDERS["openvino_native"].load(artifact_at(path), 1),
    "folder": lambda path, out: ssept.load(folder_of(path), "onnx"),
    "artifact": lambda path, out: artifact_of(path, "custom", "onnx", NOBODY, {}),
    "copy": lambda path, out: copy_artifacts([artifact_at(path)], out),
    "triton": lambda path, out: write_repository(artifact_at(path), out),
}


@pytest.mark.parametrize("kind", ["parent", "absolute", "link", "cut off"])
@pytest.mark.parametrize("door", DOORS)
def test_no_door_reads_data_elsewhere(tmp_path: Path, secret: Path, door: str, kind: str) -> None:
    path = HOSTILE[kind](secret, tmp_path / "model")
    refused(lambda: DOORS[door](path, tmp_path / "out"), "model.onnx")
    assert not [file for file in tmp_path.glob("out/**/*") if file.is_file()]


COMMANDS: dict[str, Callable[[Path, Path], list[object]]] = {
    "serve": lambda path, out: ["serve", "--model", path, "--port", "0"],
    "tune": lambda path, out: ["tune", "--model", path],
    "triton repository": lambda path, out: ["triton", "repository", out, "--onnx", path],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_say_so_in_a_line(
    tmp_path: Path, secret: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = HOSTILE["parent"](secret, tmp_path / "model")
    assert main(list(map(str, COMMANDS[command](path, tmp_path / "out")))) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"{path}: has tensors in '../secret'" in said


@pytest.mark.slow
def test_the_matrix_refuses_it(tmp_path: Path, secret: Path, small_folder: Path) -> None:
    path = HOSTILE["parent"](secret, tmp_path / "model")
    run = run_matrix(tmp_path, "--data-dir", small_folder, "--onnx", path, "-k", "latency and cpu")
    assert run.code != 0
    assert "has tensors in '../secret'" in run.output


# ---------------------------------------------------------------- Triton


def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    write_repository(describe(saved(tmp_path / "own")), folder)
    return folder


def test_a_repository_holds_the_data_in_its_file(tmp_path: Path) -> None:
    folder = repository(tmp_path)
    shutil.rmtree(tmp_path / "own")
    check(folder)
    (file,) = folder.rglob("*.onnx")
    assert external_files(file) == []


def outside(folder: Path, location: str) -> Path:
    """The repository's file, its table moved to a file of that name."""
    (file,) = folder.rglob("*.onnx")
    model = onnx.load(file)
    tensor = next(one for one in model.graph.initializer if one.name.endswith("table"))
    (file.parent / DATA).write_bytes(moved_out(tensor, location))
    file.write_bytes(model.SerializeToString())
    return file


def test_a_repository_that_names_other_files_is_refused(tmp_path: Path, secret: Path) -> None:
    folder = repository(tmp_path)
    file = outside(folder, "../../../secret")
    refused(lambda: check(folder), str(file), "'../../../secret'")


def test_another_version_with_a_link_is_not_copied(tmp_path: Path, secret: Path) -> None:
    folder = repository(tmp_path)
    file = outside(folder, DATA)
    check(folder)
    (file.parent / DATA).unlink()
    (file.parent / DATA).symlink_to(secret)
    artifact = describe(saved(tmp_path / "own"))
    refused(lambda: write_repository(artifact, folder, version=2), str(file.parent / DATA))
    assert (file.parent / DATA).is_symlink()


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Our backend as Triton's Python imports it: its folder alone is on the path, not ssept."""
    folder = ROOT / "ssept/serving/triton/backend"
    utils = ModuleType("triton_python_backend_utils")
    utils.TritonModelException = type("TritonModelException", (Exception,), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, utils.__name__, utils)
    spec = importlib.util.spec_from_file_location(
        "onnx_external", ROOT / "ssept/files/onnx_external.py"
    )
    alone = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(alone)  # type: ignore[union-attr]
    monkeypatch.setitem(sys.modules, "onnx_external", alone)
    spec = importlib.util.spec_from_file_location("backend_model", folder / "model.py")
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module


def initialized(backend: ModuleType, folder: Path) -> Any:
    backend.triton.get_model_dir = lambda: str(folder)
    config = {
        "input": [{"name": "user"}, {"name": "sequence"}],
        "output": [{"name": "scores"}],
    }
    model = backend.TritonPythonModel()
    model.initialize({"model_config": json.dumps(config), "model_instance_kind": "CPU"})
    return model


@pytest.mark.parametrize("kind", HOSTILE)
def test_tritons_python_refuses_it_too(
    tmp_path: Path, secret: Path, kind: str, backend: ModuleType
) -> None:
    folder = HOSTILE[kind](secret, tmp_path / "model").parent
    with pytest.raises(backend.triton.TritonModelException, match=r"model\.onnx"):
        initialized(backend, folder)


def test_tritons_python_reads_data_beside_the_file(tmp_path: Path, backend: ModuleType) -> None:
    assert initialized(backend, saved(tmp_path).parent).session.get_inputs()


@pytest.mark.slow
@pytest.mark.usefixtures("triton_tools")
@needs_server
def test_the_server_itself_refuses_it(tmp_path: Path) -> None:
    models = by_hand(tmp_path / "models")
    outside(models, "../../../secret")
    with pytest.raises(ServerError, match=r"has tensors in '\.\./\.\./\.\./secret'"):
        start(models, tmp_path / "server.log")


def test_the_reader_needs_only_the_standard_library(tmp_path: Path) -> None:
    path = saved(tmp_path)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import pathlib, onnx_external as external;"
        "print([file.name for file in external.external_files(pathlib.Path(sys.argv[2]))]);"
        "print(sorted({'onnx', 'numpy', 'ssept', 'google'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, str(ROOT / "ssept/files"), str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [f"['{DATA}']", "[]"]


# ---------------------------------------------------------------- where tensors hide


@pytest.mark.parametrize("where", HIDDEN)
def test_a_tensor_is_found_wherever_it_hides(tmp_path: Path, secret: Path, where: str) -> None:
    path = tmp_path / "model" / "model.onnx"
    path.parent.mkdir()
    path.write_bytes(HIDDEN[where]().SerializeToString())
    refused(lambda: describe(path), "'../secret'")


def test_the_walk_knows_every_way_to_a_tensor() -> None:
    """Of the messages of onnx.proto: all fields that may lead to external data are in the table."""
    found: dict[str, dict[int, str]] = {}
    pending = [onnx.ModelProto.DESCRIPTOR]
    leads_to_it = {"TensorProto"}
    messages: dict[str, Any] = {}
    while pending:
        message = pending.pop()
        if message.name not in messages:
            messages[message.name] = message
            pending += [field.message_type for field in message.fields if field.message_type]
    while True:  # until nothing is added
        before = len(leads_to_it)
        for name, message in messages.items():
            inner = {field.message_type.name for field in message.fields if field.message_type}
            if inner & leads_to_it:
                leads_to_it.add(name)
        if len(leads_to_it) == before:
            break
    for name in leads_to_it - {"TensorProto"}:
        found[name] = {
            field.number: field.message_type.name
            for field in messages[name].fields
            if field.message_type and field.message_type.name in leads_to_it
        }
    ours = {
        "ModelProto": "model",
        "TrainingInfoProto": "training",
        "FunctionProto": "function",
        "GraphProto": "graph",
        "NodeProto": "node",
        "AttributeProto": "attribute",
        "SparseTensorProto": "sparse",
        "TensorProto": "tensor",
    }
    for name, fields in found.items():
        assert FIELDS[ours[name]] == {number: ours[kind] for number, kind in fields.items()}
    assert list(FIELDS["tensor"]) == [onnx.TensorProto.EXTERNAL_DATA_FIELD_NUMBER]


def test_a_tensor_in_two_parts_is_found(tmp_path: Path) -> None:
    """Protobuf merges a message from its parts: the mark and the name may stand apart."""
    mark, name = onnx.TensorProto(data_location=1), evil()
    name.ClearField("data_location")
    attribute = b"".join(
        b"\x2a" + bytes([len(part)]) + part
        for part in (mark.SerializeToString(), name.SerializeToString())
    )
    merged = onnx.AttributeProto.FromString(attribute)
    assert merged.t.data_location == 1
    assert merged.t.external_data
    node = b"\x2a" + bytes([len(attribute)]) + attribute
    graph = b"\x0a" + varint(len(node)) + node
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x3a" + varint(len(graph)) + graph)
    refused(lambda: describe(path), "'../secret'")


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


@pytest.mark.parametrize(
    "entries",
    [
        [("location", DATA), ("location", "../secret")],
        [("location", DATA), ("basepath", "..")],
        [("location", DATA), ("offset", "0"), ("offset", "9")],
        [("location", DATA), ("length", "1e3")],
        [("location", DATA), ("offset", "9" * 30)],
        [("location", DATA), ("offset", "\u0661")],
        [("offset", "0")],
    ],
)
def test_keys_that_readers_may_take_otherwise_are_refused(
    tmp_path: Path, entries: list[tuple[str, str]]
) -> None:
    tensor = table()
    (tmp_path / DATA).write_bytes(moved_out(tensor))
    del tensor.external_data[:]
    for key, value in entries:
        tensor.external_data.add(key=key, value=value)
    path = tmp_path / "model.onnx"
    path.write_bytes(model_with(tensor).SerializeToString())
    refused(lambda: describe(path), "external data")


def nested(levels: int) -> bytes:
    """Graphs within attributes within nodes, each of the parts' lengths right."""
    content = b""
    for _ in range(levels):
        for tag in (b"\x32", b"\x2a", b"\x0a"):  # a graph, in an attribute, in a node
            content = tag + varint(len(content)) + content
    return b"\x3a" + varint(len(content)) + content


BROKEN = {
    "empty": b"",
    "text": b"not a model at all",
    "cut in a tag": b"\xff",
    "cut in a length": b"\x3a\xff",
    "longer than the file": b"\x3a\x7f\x00",
    "no end of a number": b"\x08" + b"\xff" * 11,
    "field 0": b"\x02\x00",
    "a tag of 36 bits": b"\xba\x80\x80\x80\xf0\x01\x00",
    "a group": b"\x3b\x3c",
    "wire type 7": b"\x3f",
    "too deep": nested(1000),
    "too many fields": b"\x08\x01" * (MOST_FIELDS + 1),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_onnx_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(BROKEN[kind])
    refused(lambda: describe(path), str(path))


def test_a_file_cut_anywhere_is_refused_or_has_its_data_beside_it(tmp_path: Path) -> None:
    content = saved(tmp_path).read_bytes()
    path = tmp_path / "cut.onnx"
    outcomes = set()
    for end in range(1, len(content)):
        path.write_bytes(content[:end])
        try:
            outcomes.add(len(external_files(path)))
        except ValueError as error:
            outcomes.add(str(error).startswith(f"{path}: "))
    assert outcomes <= {0, 1}
    assert True in outcomes


def test_bytes_without_a_folder_must_be_whole(tmp_path: Path) -> None:
    whole = model_with(table()).SerializeToString()
    check_whole(whole, "whole")
    with pytest.raises(ValueError, match=r"^in: has tensors in 'weights\.data'"):
        check_whole(saved(tmp_path).read_bytes(), "in")


# ---------------------------------------------------------------- one identity for all the files


@pytest.fixture
def two(tmp_path: Path) -> tuple[Artifact, Artifact]:
    """The same model file twice, with other weights beside it."""
    paths = [saved(tmp_path / str(seed), seed) for seed in (0, 1)]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    return describe(paths[0]), describe(paths[1])


def test_other_weights_are_another_model(two: tuple[Artifact, Artifact]) -> None:
    first, second = two
    assert first.sha256 != second.sha256
    assert first.model.checkpoint_sha256 != second.model.checkpoint_sha256
    engines = {TensorRtOptions().of_provider(one, 1)["trt_engine_cache_path"] for one in two}
    assert len(engines) == 2


def test_the_size_is_that_of_all_files(two: tuple[Artifact, Artifact]) -> None:
    folder = two[0].path.parent
    assert two[0].size_bytes == sum(file.stat().st_size for file in folder.iterdir())
    content = (folder / DATA).read_bytes()
    (folder / DATA).write_bytes(content + b"more")
    longer = describe(two[0].path)
    assert longer.size_bytes == two[0].size_bytes + len(b"more")
    assert longer.sha256 != two[0].sha256


def test_the_name_of_the_file_beside_it_counts(tmp_path: Path) -> None:
    one, other = saved(tmp_path / "1"), saved(tmp_path / "2", location="other.data")
    (other.parent / DATA).rename(other.parent / "other.data")
    assert describe(one).sha256 != describe(other).sha256


def test_a_file_that_is_whole_has_its_own_hash(tmp_path: Path) -> None:
    path = tmp_path / "whole.onnx"
    path.write_bytes(model_with(table()).SerializeToString())
    artifact = describe(path)
    assert (artifact.sha256, artifact.size_bytes) == (sha256(path), path.stat().st_size)


def test_copies_take_the_data_along(two: tuple[Artifact, Artifact], tmp_path: Path) -> None:
    out = tmp_path / "out"
    copies = copy_artifacts([replace(two[0], variant="onnx")], out)
    expected = ssept.load(two[0].path).scores([1], [[1, 2]])
    shutil.rmtree(two[0].path.parent)
    assert read_artifacts(out) == {"onnx": copies[0]}
    np.testing.assert_array_equal(ssept.load(out, "onnx").scores([1], [[1, 2]]), expected)
    (out / DATA).write_bytes(table(5).raw_data)
    refused(lambda: read_artifacts(out), "model.onnx", "not the file")


def test_two_files_of_one_name_are_not_mixed(
    two: tuple[Artifact, Artifact], tmp_path: Path
) -> None:
    refused(lambda: copy_artifacts(two, tmp_path / "out"), "same name")


@pytest.mark.slow
def test_the_gate_counts_all_files(
    two: tuple[Artifact, Artifact], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, head = (one.path for one in two)
    data = head.parent / DATA
    data.write_bytes(data.read_bytes() + bytes(base.stat().st_size))
    out = tmp_path / "gate.json"
    code = main(
        ["gate", str(base), str(head), "--no-accuracy", "--seconds=0.1", "--batch-sizes=1",
         "--providers=cpu", "--tolerance=900%", f"--json={out}"]
    )  # fmt: skip
    assert code == 1
    assert "regressed" in capsys.readouterr().out
    (size,) = (one for one in json.loads(out.read_text())["findings"] if one["measure"] == "size")
    before, after = (describe(path).size_bytes for path in (base, head))
    assert size["change"]["value"] == pytest.approx(after / before - 1)
