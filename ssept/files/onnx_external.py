"""Which files beside an ONNX file hold tensors of it, found without the package onnx.

An ONNX file may leave the bytes of its tensors to other files ("external data"), and the runtimes
open whatever it names. Here the names are read from protobuf's wire format, one pass over the
fields, with nothing but the standard library: small boards have no onnx, and Triton's Python
imports this file by itself.
"""

import mmap
import stat
from collections.abc import Iterator
from pathlib import Path

# The fields of onnx.proto that lead to a tensor's external data, by the message that has them.
FIELDS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
VARINT, BYTES = 0, 2
FIXED = {1: 8, 5: 4}  # bytes, by wire type
LONGEST_VARINT = 10
LARGEST_TAG = 2**32 - 1
DEEPEST = 100  # messages within one another: protobuf's own limit
MOST_FIELDS = 1_000_000  # about two seconds; an SSE-PT has some thousand
# What is expected of a tensor's external data; other keys would mean something to some readers.
KEYS = {"location", "offset", "length", "checksum"}
LONGEST_NAME = 255
Content = bytes | mmap.mmap


def external_files(path: Path) -> list[Path]:
    """List the files that hold tensors of an ONNX file, in the order of their names.

    Raises:
        ValueError: one is not a regular file beside it, named by its name alone, or is too short;
            or the file is no ONNX file. The message is one line, and names the file.
    """
    ends: dict[str, int] = {}
    with path.open("rb") as opened:
        if not opened.seek(0, 2):
            raise ValueError(f"{path}: is empty; expected an ONNX file")
        with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
            for name, end in _places(content, path):
                if name not in ends:
                    _check_beside(path, name)
                ends[name] = max(end, ends.get(name, 0))
    files = {path.with_name(name): end for name, end in sorted(ends.items())}
    for file, end in files.items():
        if (size := file.lstat().st_size) < end:
            raise ValueError(
                f"{path}: its tensors end at byte {end} of {file.name}, which has {size}; copy or "
                "export the two again"
            )
    return list(files)


def check_whole(content: bytes, name: str) -> None:
    """Refuse the bytes of an ONNX file some of whose tensors are in other files.

    Args:
        content: of the file.
        name: of it, for the message.

    Raises:
        ValueError: as said, or it is no ONNX file.
    """
    for other, _ in _places(content, name):
        raise ValueError(f"{name}: has tensors in {other!r:.80}; expected them inside it")


def _check_beside(path: Path, name: str) -> None:
    plain = name not in ("", ".", "..", path.name) and not {"/", "\\", "\0"} & set(name)
    if not plain or len(name.encode()) > LONGEST_NAME:
        raise ValueError(
            f"{path}: has tensors in {name!r:.80}; expected the plain name of a file beside it: "
            "export it again, into one file"
        )
    for file in (path.with_name(name), path):
        try:
            kind = file.lstat().st_mode
        except OSError as error:
            raise ValueError(
                f"{path}: has tensors in {name!r:.80}, which cannot be read beside it "
                f"({error.strerror}); copy both files"
            ) from error
        if not stat.S_ISREG(kind):
            raise ValueError(
                f"{file}: is a link or no file; expected a regular file, since {path.name} has "
                f"tensors in {name!r:.80}: copy both files"
            )


def _places(content: Content, path: object) -> Iterator[tuple[str, int]]:
    """Of each tensor with external data, the file's name and the end of its part, 0 for any."""
    try:
        for entries in _tensors(_Walk(content), "model", 0, len(content), 0):
            yield _place(entries)
    except ValueError as error:
        raise ValueError(f"{path}: not an ONNX file that can be read: {error}") from error


def _place(entries: list[tuple[str, str]]) -> tuple[str, int]:
    found = dict(entries)
    if len(found) < len(entries) or "location" not in found or not found.keys() <= KEYS:
        keys = ", ".join(key[:20] for key, _ in entries[:5])
        raise ValueError(
            f"the external data of a tensor have {keys!r:.80}; expected one location, and "
            "offset and length at most"
        )
    numbers = [found.get(key) or "0" for key in ("offset", "length")]
    if not all(number.isascii() and number.isdecimal() and len(number) < 20 for number in numbers):
        raise ValueError(
            f"offset and length of external data are {numbers[0]!r:.20} and {numbers[1]!r:.20}; "
            "expected numbers of bytes"
        )
    return found["location"], sum(map(int, numbers))


def _tensors(
    walk: "_Walk", kind: str, start: int, end: int, depth: int
) -> Iterator[list[tuple[str, str]]]:
    """Iterate over the external data's keys and values of each tensor in a message.

    A tensor counts also where its `data_location` does not say that it is external: protobuf
    merges a message from parts, and so the two may be apart.
    """
    if depth > DEEPEST:
        raise ValueError(f"it has more than {DEEPEST} levels")
    entries = []
    for number, first, last in walk.fields(start, end):
        inner = FIELDS[kind].get(number)
        if inner == "entry":
            entries.append(walk.pair(first, last))
        elif inner:
            yield from _tensors(walk, inner, first, last, depth + 1)
    if entries:
        yield entries


class _Walk:
    """Reads fields of messages, and gives up after MOST_FIELDS."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._left = MOST_FIELDS

    def fields(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Iterate over fields of strings, bytes and messages: number, first byte, end."""
        while start < end:
            self._left -= 1
            if self._left < 0:
                raise ValueError(f"it has more than {MOST_FIELDS:,} fields")
            tag, start = self._varint(start, end)
            number, kind = tag >> 3, tag & 7
            if kind == VARINT:
                _, start = self._varint(start, end)
            elif kind == BYTES:
                length, first = self._varint(start, end)
                start = first + length
                if start <= end:
                    yield number, first, start
            else:
                start += FIXED.get(kind, end)  # no other wire type is in use
            if start > end or not number or tag > LARGEST_TAG:
                raise ValueError("it is cut off or broken")

    def pair(self, start: int, end: int) -> tuple[str, str]:
        """Read a StringStringEntryProto: its key and its value."""
        texts = {
            number: self._content[first:last] for number, first, last in self.fields(start, end)
        }
        return texts.get(1, b"").decode(), texts.get(2, b"").decode()

    def _varint(self, start: int, end: int) -> tuple[int, int]:
        """Read a number of variable length; return it and where it ends."""
        value = 0
        for place in range(start, min(end, start + LONGEST_VARINT)):
            byte = self._content[place]
            value |= (byte & 0x7F) << 7 * (place - start)
            if byte < 0x80:
                return value, place + 1
        raise ValueError("it is cut off or broken")
