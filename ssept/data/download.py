"""MovieLens archives from GroupLens: fetched once, checked, kept, and unpacked to raw files.

`<cache>/downloads` holds `<name>.zip`, whole and checked. One copied there by hand is used as if
it had been downloaded. Where the data set has no MD5 of its own, it is checked by `<name>.zip.md5`
if that is there too.
"""

import hashlib
import os
import re
import shutil
import stat
import urllib.parse
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from ssept.data.transfer import BLOCK_BYTES, URL_VARIABLE, Transfer, fetch_text
from ssept.errors import DataError
from ssept.files import cache_folder, locked, opened_zip, written_file, written_folder

GROUPLENS = "https://files.grouplens.org/datasets/movielens"
TIMEOUT_S = 30.0
ARCHIVE_RATIO = 2  # a data set that changes over time grows; what has grown more is none of these
UNPACKED_RATIO = 20  # ratings as text deflate to about a quarter: what asks for more is a zip bomb


@dataclass(frozen=True)
class Dataset:
    """An archive to download.

    Attributes:
        name: the archive's name without `.zip`, and the folder inside it.
        md5: the MD5 of the archive; None if it changes over time: the published one is used.
        archive_bytes: about the archive's size.
        files: the files of the folder that are unpacked; the README holds the terms of use.
    """

    name: str
    md5: str | None
    archive_bytes: int
    files: tuple[str, ...]

    @property
    def url(self) -> str:
        """Where GroupLens has the archive; a file with its MD5 is beside it."""
        return f"{GROUPLENS}/{self.name}.zip"


_CSV_FILES = ("ratings.csv", "movies.csv", "README.txt")
_100K = Dataset(
    "ml-100k", "0e33842e24a9c977be4e0107933c0723", 4_924_029, ("u.data", "u.item", "README")
)
_1M = Dataset(
    "ml-1m",
    "c4d9eecfca2ab87c1945afe126590906",
    5_917_549,
    ("ratings.dat", "movies.dat", "README"),
)
_LATEST_SMALL = Dataset("ml-latest-small", None, 1_000_000, _CSV_FILES)
_32M = Dataset("ml-32m", "d472be332d4daa821edc399621853b57", 238_950_008, _CSV_FILES)
DATASETS = {dataset.name: dataset for dataset in (_100K, _1M, _LATEST_SMALL, _32M)}


def download(
    dataset: Dataset,
    out: Path,
    *,
    base_url: str | None = None,
    timeout_s: float = TIMEOUT_S,
    progress: bool = True,
) -> Path:
    """Download an archive unless the cache has it, and unpack its raw files into a folder.

    A download that stopped goes on where it was, if the server can do that and has the same
    version still. Of several processes one downloads, and the others wait for it.

    Args:
        dataset: an entry of DATASETS.
        out: the folder to write; absent or empty.
        base_url: of a mirror, which has `<name>.zip` (and `<name>.zip.md5` if the data set has no
            MD5 of its own) right below it; None is `SSEPT_DOWNLOAD_URL`, or else GroupLens.
        timeout_s: longest silence of the server, in seconds.
        progress: show a progress bar when stderr is a terminal.

    Returns:
        `out`, absolute.

    Raises:
        DataError: `out` is in use; the server, the network or the disk failed; the archive is not
            the one expected. `out` is then as before.
    """
    out = _check_unused(out)
    url = _address(dataset, base_url or os.environ.get(URL_VARIABLE))
    archive = cache_folder() / "downloads" / f"{dataset.name}.zip"
    part = archive.with_name(f"{archive.name}.part")
    with locked(archive.with_name(f".{archive.name}.lock")):
        known_md5 = dataset.md5 or _kept_md5(archive)
        if not archive.is_file() or known_md5 not in (None, _md5(archive)):
            most = dataset.archive_bytes * ARCHIVE_RATIO
            _fetch(dataset, archive, Transfer(url, part, most, timeout_s, progress))
        _unpack(dataset, archive, out)
    return out


def parse_md5(text: str, name: str) -> str | None:
    """Find the MD5 of file `name` in a checksum file in BSD's or md5sum's form; None if absent.

    These are `MD5 (name) = sum` and `sum  name`.
    """
    digest, file = r"([0-9a-fA-F]{32})", re.escape(name)
    found = re.search(
        rf"^(?:MD5 \({file}\)\s*=\s*{digest}|{digest}\s+\*?(?:\S*/)?{file})\s*$", text, re.MULTILINE
    )
    return (found[1] or found[2]).lower() if found else None


def _check_unused(out: Path) -> Path:
    out = out.resolve()
    if out.is_dir() and any(out.iterdir()):
        raise DataError(f"{out}: is not empty; expected a folder that is absent or empty")
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: is a file; expected a folder that is absent or empty")
    return out


def _address(dataset: Dataset, base_url: str | None) -> str:
    """Return the archive's address, at GroupLens or a mirror."""
    if not base_url:
        return dataset.url
    try:
        parts = urllib.parse.urlsplit(base_url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and base_url.isascii()
    except ValueError:
        usable = False
    if not usable:
        raise DataError(f"{base_url}: expected the base address of a mirror, http(s)://HOST/PATH")
    return f"{base_url.rstrip('/')}/{dataset.name}.zip"


def _md5_path(archive: Path) -> Path:
    return archive.with_name(f"{archive.name}.md5")


def _kept_md5(archive: Path) -> str | None:
    """Read the published MD5 beside an archive; one copied there by hand may have none."""
    kept = _md5_path(archive)
    return parse_md5(kept.read_text("utf-8"), archive.name) if kept.is_file() else None


def _md5(path: Path) -> str | None:
    """Compute the MD5 of a file, in hexadecimal; None if there is no file."""
    if not path.is_file():
        return None
    digest = hashlib.md5(usedforsecurity=False)  # all that GroupLens publishes
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _fetch(dataset: Dataset, archive: Path, transfer: Transfer) -> None:
    """Download an archive, whole and checked, to its place in the cache."""
    expected = dataset.md5 or _published_md5(transfer.url, transfer.timeout_s)
    if _md5(transfer.part) != expected:  # else the last try was stopped right before the end
        transfer.finish()
        if (found := _md5(transfer.part)) != expected:
            transfer.discard()
            raise DataError(
                f"{transfer.url}: the file's MD5 is {found}, expected {expected}; "
                "the download was deleted: try again, or another mirror"
            )
    if dataset.md5 is None:
        with written_file(_md5_path(archive)) as kept:
            kept.write_text(f"{expected}  {archive.name}\n", encoding="utf-8")
    transfer.rename(archive)


def _published_md5(url: str, timeout_s: float) -> str:
    """Read the MD5 in the checksum file beside an archive."""
    text = fetch_text(f"{url}.md5", timeout_s)
    name = url.rpartition("/")[2]
    if (md5 := parse_md5(text, name)) is None:
        line = text.strip().partition("\n")[0][:80]
        raise DataError(f"{url}.md5: expected `MD5 ({name}) = …` or `…  {name}`, got {line!r}")
    return md5


def _unpack(dataset: Dataset, archive: Path, out: Path) -> None:
    """Unpack the data set's files to the folder `out`; names come from the table alone."""
    try:
        with opened_zip(archive) as zipped, written_folder(out) as folder:
            for member in _members(dataset, archive, zipped):
                path = folder / Path(member.filename).name
                with zipped.open(member) as source, path.open("wb") as target:
                    shutil.copyfileobj(source, target, BLOCK_BYTES)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise DataError(f"{archive}: is broken ({error}); delete it and try again") from error
    except OSError as error:
        raise DataError(
            f"{out}: cannot be written ({error.strerror or error}); fix that and try again: "
            "the archive is downloaded already"
        ) from error


def _members(dataset: Dataset, archive: Path, zipped: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the archive's entries for the data set: plain files of a credible size."""
    entries = {entry.filename: entry for entry in zipped.infolist()}
    names = [f"{dataset.name}/{name}" for name in dataset.files]
    for name in names:
        if name not in entries:
            raise DataError(f"{archive}: holds no {name}; delete it and try another mirror")
        if stat.S_IFMT(entries[name].external_attr >> 16) not in (0, stat.S_IFREG):
            raise DataError(f"{archive}: {name} is a link or a device, expected a plain file")
    size = sum(entries[name].file_size for name in names)
    limit = dataset.archive_bytes * UNPACKED_RATIO
    if size > limit:
        raise DataError(f"{archive}: would unpack to {size:,} bytes, expected at most {limit:,}")
    return [entries[name] for name in names]
