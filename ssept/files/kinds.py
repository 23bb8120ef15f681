"""Recognition of model files by their content: a name may say anything."""

import zipfile
from pathlib import Path

from ssept.files import check_model_path, opened_zip

SAFETENSORS, STATE_DICT, ONNX = "safetensors file", "state dict", "ONNX file"
HEAD_BYTES = 512
# The first byte of a protobuf message with the fields of onnx.ModelProto.
ONNX_FIRST = b"\x08\x12\x1a\x22\x28\x32\x3a\x42\x72\xa2\xca"
PICKLES = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))
PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf")
CONTROLS = frozenset(range(32)) - frozenset(b"\t\n\f\r")  # bytes that no text has


def kind_of(path: Path) -> str:
    """Return what kind of model file this is: SAFETENSORS, STATE_DICT or ONNX.

    Raises:
        ValueError: it is none of them; says what it is and what to do, and does not name it.
        SseptError: its path is one that no library could open.
        OSError: it cannot be read.
    """
    check_model_path(path)
    if not path.is_file():
        raise ValueError("it is a folder or device" if path.exists() else "there is no such file")
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if head.startswith(b"PK\x03\x04"):
        return _kind_of_zip(path)
    if reason := _not_a_model(head):
        raise ValueError(reason)
    if head[8:9] == b"{" and not any(head[4:8]):  # behind the length of its header
        return SAFETENSORS
    if head.startswith(PICKLES):
        return STATE_DICT
    if head[0] in ONNX_FIRST:
        return ONNX
    raise ValueError("it is cut off, or of no known kind; copy or save it again")


def is_onnx(path: Path) -> bool:
    """Whether this is an ONNX file, or one that only its name shows to have been meant as one."""
    try:
        return kind_of(path) == ONNX
    except (ValueError, OSError):
        return path.suffix.lower() == ".onnx" and not path.is_dir()


def _not_a_model(head: bytes) -> str:
    """Say what a file with these first bytes is instead, or "" where it may be a model."""
    if not head:
        return "it is empty; copy or save it again"
    if head.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer and not the file itself; run `git lfs pull`"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return "it is a web page that was downloaded instead of the file; download it again"
    if head.startswith(PACKED) or head[257:262] == b"ustar":
        return "it is a packed archive; unpack it and give the file inside"
    if not CONTROLS & set(head):
        return "it is a text file; give the model file itself"
    return ""


def _kind_of_zip(path: Path) -> str:
    try:
        with opened_zip(path) as archive:
            members = archive.infolist()
    except zipfile.BadZipFile as error:
        raise ValueError("it is cut off or broken; copy or save it again") from error
    names = {member.filename.rpartition("/")[2] for member in members}
    if "data.pkl" not in names:
        raise ValueError("it is a zip file of something else; unpack it and give the file inside")
    if "constants.pkl" in names:
        raise ValueError("it is a TorchScript program; save `model.state_dict()`")
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        # A few bytes may unpack to many, and torch packs nothing.
        raise ValueError("its members are compressed; save it with `torch.save`")
    return STATE_DICT
