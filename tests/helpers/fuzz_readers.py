"""Fuzz a reader of files, guided by coverage: bytes in, a value or one bounded line out.

python -m tests.helpers.fuzz_readers READER FOLDER [OPTION OF LIBFUZZER …]

Works in FOLDER. The first byte of an input chooses the frame that the rest is put into, so that
mutations also reach what lies behind checksums, lengths and long valid parts.
"""

import contextlib
import io
import json
import os
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
LONGEST = 500  # characters of an error
SEPARATOR = b"\xff\xfe\xfd"  # between the files of an input
MARKER = "a value from the input"


class Reader:
    """A reader of files under test."""

    def guiding(self) -> list[Callable[..., object]]:
        """Functions of others whose coverage guides, too."""
        return []

    def seeds(self) -> list[bytes]:
        """Small inputs that reach far into it."""
        raise NotImplementedError

    def doors(self, data: bytes) -> list[Callable[[], object]]:
        """Write the files of an input into the current folder, and return all ways to read them."""
        raise NotImplementedError


def check(reader: Reader, data: bytes) -> int:
    """Read an input in an empty current folder, and empty it; how many doors gave a value.

    Raises:
        BaseException: what a reader must not raise; AssertionError for a wrong message or a file
            that it left.
    """
    from ssept.errors import SseptError

    read = 0
    doors = reader.doors(data)
    files = left()
    for door in doors:
        written = io.StringIO()
        try:
            with contextlib.redirect_stdout(written), contextlib.redirect_stderr(written):
                door()
            read += 1
        except SseptError as error:
            text = str(error)
            assert text.isprintable(), f"not one printable line: {text[:1000]!r}"
            assert 0 < len(text) <= LONGEST, f"{len(text)} characters: {text[:1000]!r}"
        assert not written.getvalue(), f"written: {written.getvalue()[:1000]!r}"
        assert left() == files, f"files: {left() ^ files}"
    for file in files:
        file.unlink()
    return read


def left() -> set[Path]:
    return {path for path in Path().rglob("*") if not path.is_dir()}


class Ratings(Reader):
    """Ratings, titles and the map of item ids; the first byte is the name of the ratings."""

    def seeds(self) -> list[bytes]:
        users = [(1, 5, 4, 881), (1, 6, 3.5, 882), (2, 5, 1, 883)]
        flags = "|".join("01"[at == 3] for at in range(19))
        title = f"5|Café (1995)|01-Jan-1995||http://x/|{flags}\n".encode("latin-1")
        dat = b"5::A: b::Drama\n6::C::(no genres listed)\n"
        sets = [
            (b"".join(b"%d\t%d\t%g\t%d\n" % row for row in users), title),
            (b"".join(b"%d::%d::%g::%d\r\n" % row for row in users), dat),
            (
                b"userId,movieId,rating,timestamp\n"
                + b"".join(b"%d,%d,%g,%d\n" % u for u in users),
                b'movieId,title,genres\n5,"A, ""b""",Drama|War\n6,C,\n',
            ),
            (b"1 2\n1 3\n2 2\n", dat, b"itemIdx,movieId\n2,5\n3,6\n"),
            (b'\xef\xbb\xbf"movieId", userId,timestamp,rating\r5,1,9,"2"\r', b""),
            (b"1\t5\t1e38\t0\n\n 2\t+6\t-.5\t7\n", b""),
        ]
        return [bytes([min(at, 3)]) + SEPARATOR.join(parts) for at, parts in enumerate(sets)] + [
            b"\x04" + sets[-1][0]
        ]

    def doors(self, data: bytes) -> list[Callable[[], object]]:
        from ssept.data.formats import FORMATS, read_items, read_ratings, read_ratings_csv

        formats = [format_ for format_ in FORMATS.values() if len(format_.ratings) == 1]
        chosen = data[:1] and data[0] % (len(formats) + 1)
        ratings, items, mapped, *_ = *data[1:].split(SEPARATOR), b"", b"", b""
        source = Path("own.txt")
        if chosen and chosen <= len(formats):
            format_ = formats[chosen - 1]
            source = Path(format_.ratings[0])
            Path(format_.items).write_bytes(items)
            if format_.item_map and mapped:
                Path(format_.item_map).write_bytes(mapped)
        source.write_bytes(ratings)
        return [
            *(lambda of=of: read_ratings(of) for of in (source, Path())),
            *(lambda of=of: read_items(of) for of in (source, Path())),
            lambda: read_ratings_csv(source),
        ]


class Checkpoints(Reader):
    """Files of ours and state dicts, whole or with a part of the input in a valid one."""

    def __init__(self) -> None:
        import torch

        from ssept.model.checkpoint import Checkpoint, save_checkpoint
        from ssept.model.network import SSEPT, SSEPTConfig

        torch.manual_seed(0)
        network = SSEPT(SSEPTConfig(2, 3, item_dim=2, user_dim=2, max_length=2, blocks=1, heads=2))
        ids = np.arange(1, 3), np.arange(1, 4)
        about = {"name": "small", "data_hash": "0" * 64}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "own"
            save_checkpoint(Checkpoint(network.eval(), about, *ids, {"seed": 1}), path)
            self._own = path.read_bytes()
        state = {"state_dict": network.state_dict(), "heads": 2}
        self._dict, self._old = io.BytesIO(), io.BytesIO()
        torch.save(state, self._dict)
        torch.save(state, self._old, _use_new_zipfile_serialization=False)
        self._length = int.from_bytes(self._own[:8], "little")
        self._header = json.loads(self._own[8 : 8 + self._length])
        self._about = json.loads(self._header["__metadata__"]["ssept"])
        with zipfile.ZipFile(self._dict) as archive:
            self._members = {name: archive.read(name) for name in archive.namelist()}

    def guiding(self) -> list[Callable[..., object]]:
        from torch._weights_only_unpickler import Unpickler

        return [Unpickler.load]

    def seeds(self) -> list[bytes]:
        pickle = next(data for name, data in self._members.items() if name.endswith("data.pkl"))
        places = [b"\x04" + bytes([at]) + b"2" for at in range(len(leaves(self._about)))]
        return [
            b"\0" + self._own, b"\0" + self._dict.getvalue(), b"\0" + self._old.getvalue(),
            b"\1" + pickle, b"\2" + self._own[8 : 8 + self._length],
            b"\3" + json.dumps(self._about).encode(), *places,
            *(b"\5" + bytes([at]) + b"[3]" for at in range(0, len(leaves(self._header)), 7)),
        ]  # fmt: skip

    def doors(self, data: bytes) -> list[Callable[[], object]]:
        from ssept.model.checkpoint import load_checkpoint
        from ssept.model.store import read_about, read_ids

        path = Path("model")
        path.write_bytes(self._framed(data[:1], data[1:]))
        readers = (load_checkpoint, read_ids, read_about, ranked)
        return [lambda read=read: read(path) for read in readers]

    def _framed(self, kind: bytes, rest: bytes) -> bytes:
        if kind == b"\1":
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w") as archive:
                for name, content in self._members.items():
                    archive.writestr(name, rest if name.endswith("data.pkl") else content)
            return packed.getvalue()
        if kind == b"\2":
            return self._with_header(rest)
        if kind in (b"\3", b"\4"):
            text = rest if kind == b"\3" else with_value(self._about, rest)
            header = {"__metadata__": {"ssept": text.decode("utf-8", "replace")}}
            return self._with_header(json.dumps(self._header | header).encode())
        return self._with_header(with_value(self._header, rest)) if kind == b"\5" else rest

    def _with_header(self, header: bytes) -> bytes:
        return len(header).to_bytes(8, "little") + header + self._own[8 + self._length :]


def ranked(path: Path) -> object:
    """Let the network of a checkpoint answer."""
    import torch

    from ssept.model.checkpoint import load_checkpoint

    with torch.inference_mode():
        return load_checkpoint(path).model(torch.tensor([1]), torch.tensor([[1]]))


class OnnxFiles(Reader):
    """ONNX files with a file beside them, what a user says of their names, and signatures."""

    def seeds(self) -> list[bytes]:
        from ssept.providers.onnx.names import FORM
        from tests.helpers.foreign_onnx import write
        from tests.helpers.hostile_onnx import saved

        models = []
        with tempfile.TemporaryDirectory() as folder:
            models.append(saved(Path(folder), length=4).read_bytes())
            for more in ({}, {"places": None}, {"batch": 2}, {"more_inputs": ["mask"]}):
                models.append(write(Path(folder) / "other.onnx", **more).read_bytes())
        values = {
            "inputs": [["user", "tensor(int64)", ["b"]], ["items", "tensor(int64)", ["b", 50]]],
            "outputs": [["scores", "tensor(float)", ["b", 31]], ["x", "tensor(float)", [2]]],
        }
        said = b"user=user,sequence=sequence,scores=scores,length=12,padding=0"
        return [
            *(b"\0" + model for model in models), b"\1" + FORM.encode(), b"\1" + said,
            b"\2" + json.dumps(values | {"names": {"user": "user"}}).encode(),
            b"\2" + json.dumps(values | {"names": {}}).encode(),
        ]  # fmt: skip

    def doors(self, data: bytes) -> list[Callable[[], object]]:
        from ssept.artifacts import model_files
        from ssept.providers.onnx.file import describe
        from ssept.providers.onnx.names import read_names

        kind, rest = data[:1], data[1:]
        if kind == b"\1":
            return [lambda: read_names(rest.decode("utf-8", "surrogateescape"))]
        if kind == b"\2":
            return [lambda: signature(rest)]
        path = Path("model.onnx")
        path.write_bytes(rest)
        Path("model.onnx.data").write_bytes(bytes(64))
        said = {"length": "3", "padding": "0"}
        return [lambda: model_files(path), lambda: describe(path, {}), lambda: describe(path, said)]


def signature(data: bytes) -> object:
    """Find the roles of inputs and outputs that a session might have; None where it cannot."""
    from ssept.providers.onnx.names import check_names, signature_of

    try:
        given = json.loads(data)
        names = {str(role): str(name) for role, name in given["names"].items()}
        values = {
            key: [
                SimpleNamespace(name=str(name), type=str(kind), shape=[size_of(s) for s in shape])
                for name, kind, shape in given[key]
            ]
            for key in ("inputs", "outputs")
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    check_names(names)
    get = {f"get_{key}": (lambda found=found: found) for key, found in values.items()}
    return signature_of(SimpleNamespace(**get), names)


def size_of(axis: object) -> object:
    return axis if isinstance(axis, int) else str(axis)


class Runs(Reader):
    """Saved runs: the bytes of one, or one with a value of the input at some place."""

    def __init__(self) -> None:
        runs = sorted((ROOT / "tests/data/runs").glob("*.json"), key=lambda p: p.stat().st_size)
        self._run = json.loads(runs[-1].read_bytes())
        seen: set[str] = set()
        kinds = []
        for benchmark in self._run["benchmarks"]:
            measure = benchmark["extra_info"]["measure"]
            if measure not in seen:
                kinds.append(benchmark)
            seen.add(measure)
        self._run["benchmarks"] = kinds
        self._run["ssept"]["outcomes"] = self._run["ssept"]["outcomes"][:2]
        self._run["machine_info"]["cpu"].pop("flags", None)

    def seeds(self) -> list[bytes]:
        small = self._run | {"benchmarks": self._run["benchmarks"][:1]}
        values = (
            b"0",
            b'"x"',
            b"null",
            b"[1, 2]",
            b'{"value": 1, "low": 0.5, "high": 2}',
            b"1e400",
        )
        count = len(leaves(self._run))
        return [
            b"\0" + json.dumps(small).encode(),
            *(
                b"\1" + at.to_bytes(2, "little") + values[at % len(values)]
                for at in range(0, count, 5)
            ),
        ]

    def doors(self, data: bytes) -> list[Callable[[], object]]:
        from ssept.results.files import read_matrix_run, read_run

        path = Path("0001_run.json")
        rest = data[1:]
        path.write_bytes(with_value(self._run, rest, 2) if data[:1] == b"\1" else rest)
        return [lambda: read_run(path), lambda: read_matrix_run(path)]


def leaves(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places of all values in a JSON value, as the keys that lead there."""
    inner = value.items() if isinstance(value, dict) else ()
    inner = enumerate(value) if isinstance(value, list) else inner
    return [above, *(place for key, each in inner for place in leaves(each, (*above, key)))]


def with_value(content: Any, data: bytes, width: int = 1) -> bytes:
    """JSON with a text of the input, whatever it is, in place of the value that it chooses."""
    places = leaves(content)[1:]
    place = places[int.from_bytes(data[:width], "little") % len(places)]
    changed = json.loads(json.dumps(content))
    inside = changed
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = MARKER
    return json.dumps(changed).encode().replace(json.dumps(MARKER).encode(), data[width:])


READERS: dict[str, type[Reader]] = {
    "ratings": Ratings,
    "checkpoints": Checkpoints,
    "onnx": OnnxFiles,
    "runs": Runs,
}


def main(name: str, folder: Path, *options: str) -> None:
    import atheris

    corpus, inputs, temporary = folder / "corpus", folder / "in", folder / "in" / "tmp"
    for made in (corpus, inputs, temporary):
        made.mkdir(exist_ok=True)
    os.chdir(inputs)
    tempfile.tempdir = str(temporary)
    with atheris.instrument_imports(include=["ssept"]):
        reader = READERS[name]()
        for at, seed in enumerate(reader.seeds()):
            (corpus / f"seed{at}").write_bytes(seed)
            check(reader, seed)
    for function in reader.guiding():
        atheris.instrument_func(function)
    warnings.simplefilter("error")  # a user would see them
    arguments = [sys.argv[0], str(corpus), f"-artifact_prefix={folder}/", *options]
    atheris.Setup(arguments, lambda data: check(reader, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).resolve(), *sys.argv[3:])
