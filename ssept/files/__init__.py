"""Files that are either whole or absent, the hashes that name them, and the cache folder."""

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import os
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ssept.errors import SseptError
from ssept.files.owned import MARK, mark, open_plain

CACHE_VARIABLE = "SSEPT_CACHE_DIR"
MOST_READ_AT_ONCE = 1 << 20
ENCRYPTED_OR_PATCHED = 0x1 | 0x20 | 0x40  # flags of a zip file's member


def cache_folder() -> Path:
    """Return the folder for what can be made again: `SSEPT_CACHE_DIR`, or the user's cache.

    Raises:
        SseptError: there is none, as without a home, or models in it could not be opened.
    """
    import platformdirs

    own = os.environ.get(CACHE_VARIABLE)
    try:
        folder = own or platformdirs.user_cache_dir("ssept")
    except RuntimeError:  # of a later platformdirs; an earlier one leaves the tilde
        folder = "~"
    if folder.startswith("~"):
        what = f"{CACHE_VARIABLE} is {own!r}" if own else "this user has no home folder"
        raise SseptError(f"{what}: set {CACHE_VARIABLE} to the full path of a folder for the cache")
    try:
        check_model_path(Path(folder))
    except SseptError as error:
        raise SseptError(f"{error}; {CACHE_VARIABLE} names the folder of the cache") from error
    return Path(folder)


def check_model_path(path: Path) -> None:
    """Refuse a path that cannot be given to the libraries that read and write models.

    Raises:
        SseptError: it is not valid UTF-8, as Linux permits.
    """
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError as error:
        raise SseptError(
            f"{path}: its name is not valid UTF-8, and model files are opened by UTF-8 names only: "
            "rename the file or folder, or choose another place"
        ) from error


def explained(error: OSError) -> str:
    """Say what the system refused, and for a file of the cache how another folder is chosen."""
    if not error.filename:
        return str(error)
    said = f"{error.filename}: {error.strerror}"
    try:
        cache, path = cache_folder().absolute(), Path(str(error.filename)).absolute()
    except SseptError:
        return said
    if cache in (path, *path.parents) or path in cache.parents:
        said += f"; it is for the cache, for which {CACHE_VARIABLE} may name another folder"
    return said


def sha256(path: Path) -> str:
    """Compute the SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()  # hashlib.file_digest needs Python 3.11; JetPack 6 has 3.10
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_json(value: Any) -> str:
    """Compute the SHA-256 of a JSON value in its canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def written_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes the name `path` only if the block succeeds.

    An existing file, or a link, of that name is replaced; what a link leads to is not.

    Raises:
        SseptError: `path` is a folder or a device, or the disk is full.
    """
    if path.exists() and not path.is_file():
        raise SseptError(f"{path}: is not a regular file; expected the name of a file to write")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        with _named_when_full(path):
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def written_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; it replaces `path` only if the block succeeds.

    It carries the mark of `ssept.files.owned` until then, so that what a killed process left of it
    can be deleted.

    Raises:
        SseptError: `path` is a file, or a folder with something in it that the new one lacks; or
            the disk is full.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        mark(temporary)
        with _named_when_full(path):
            yield temporary
            (temporary / MARK).unlink()
            temporary.chmod(0o777 & ~_umask())
            _replace_folder(path, temporary)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace_folder(path: Path, new: Path) -> None:
    """Give a new folder its name, and delete the one of that name if the new one has all of it."""
    old = new.with_name(new.name + ".old")
    if path.exists():
        if not path.is_dir():
            raise SseptError(f"{path}: is a file; expected a folder that is absent or empty")
        path.replace(old)
        names = (each.relative_to(old) for each in old.rglob("*"))
        if lost := min((name for name in names if not os.path.lexists(new / name)), default=None):
            old.replace(path)
            raise SseptError(
                f"{path}: holds {lost}, which would be lost; expected a folder that is absent, "
                "empty, or made by the same command"
            )
    new.replace(path)
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file; the system frees it also when the process dies.

    Raises:
        SseptError: it is a link, or no file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(open_plain(path, os.O_RDWR | os.O_CREAT), "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class _SmallReads(io.BufferedReader):
    """A file that refuses large reads at first: zipfile reads the list of members, of any size.

    Attributes:
        refuses: whether it still does; a stored member may be read at once too.
    """

    refuses = True

    def read(self, size: int | None = -1, /) -> bytes:
        """Read, at first at most MOST_READ_AT_ONCE."""
        if self.refuses and size is not None and size > MOST_READ_AT_ONCE:
            raise zipfile.BadZipFile(f"its list of members has {size:,} bytes")
        return super().read(size)


def _list_of(file: io.BufferedReader) -> zipfile.ZipFile:
    """Read a zip file's list of members."""
    try:
        return zipfile.ZipFile(file)
    # Of a later version, or a name that is no UTF-8: its own error is not for these.
    except (NotImplementedError, ValueError, struct.error) as error:
        raise zipfile.BadZipFile(f"its list of members is broken: {error}") from error


@contextlib.contextmanager
def opened_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip file that may be hostile; its members are to be read in blocks.

    Raises:
        zipfile.BadZipFile: it is broken, has too many members, or one that is neither stored nor
            deflated: other methods make gigabytes of a few hundred bytes.
    """
    with _SmallReads(io.FileIO(path)) as file, _list_of(file) as archive:
        file.refuses = False
        for member in archive.infolist():
            if member.flag_bits & ENCRYPTED_OR_PATCHED:
                raise zipfile.BadZipFile(f"{member.filename!r:.80} is encrypted or a patch")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise zipfile.BadZipFile(
                    f"{member.filename!r:.80} is packed by method {member.compress_type}; "
                    "expected it stored or deflated"
                )
        yield archive


def save_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all; bytes of a file's name that are no UTF-8 escaped."""
    with written_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def json_text(value: Any) -> str:
    """Return the text of a JSON file."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, whole or not at all."""
    save_text(path, json_text(value))


@contextlib.contextmanager
def _named_when_full(path: Path) -> Iterator[None]:
    """Say which file did not fit: the system's own message names none."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise SseptError(
            f"{path}: {error.strerror}; nothing of it was kept: free some space and try again"
        ) from error


def _umask() -> int:
    """Read the process's file mode mask, which is possible only by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
