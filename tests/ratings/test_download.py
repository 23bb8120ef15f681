"""`ssept data download` against servers on this machine that behave well, and badly."""

import hashlib
import io
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from ssept.cli import main
from ssept.data.download import DATASETS, Dataset, download, parse_md5
from ssept.data.formats import detect
from ssept.errors import DataError

SMALL = DATASETS["ml-latest-small"]  # the one without an MD5 of its own
ARCHIVE = f"/{SMALL.name}.zip"
DEADLINE_S = 60


@dataclass
class Site:
    """What a server offers, how it misbehaves, and what it was asked."""

    files: dict[str, bytes]
    ranges: bool = True
    wrong_range: bool = False
    validators: bool = True
    etag: str = ""
    weak: bool = False
    chunked: bool = False
    cut_at: int | None = None  # bytes of an answer after which the connection is closed
    hang_at: int | None = None  # bytes after which nothing more is sent until `release`
    release: threading.Event = field(default_factory=threading.Event)
    url: str = ""
    seen: list[tuple[str, str | None, str | None]] = field(default_factory=list)

    def archive_ranges(self) -> list[str | None]:
        """The Range header of each request for an archive."""
        return [asked for path, asked, _ in self.seen if path.endswith(".zip")]


class Handler(BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        site, asked = self.site, self.headers["Range"]
        site.seen.append((self.path, asked, self.headers["If-Range"]))
        if self.path not in site.files:
            self.send_error(404)
            return
        body = site.files[self.path]
        etag = site.etag or f'"{hashlib.sha256(body).hexdigest()[:8]}"'
        date = "Mon, 02 Jan 2023 03:04:05 GMT"
        validator = date if site.weak else etag
        start = 0
        if asked and site.ranges and self.headers["If-Range"] == validator:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])  # type: ignore[index]
            if start >= len(body):
                self.send_error(416)
                return
            start -= 3 if site.wrong_range else 0
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        if site.validators:
            self.send_header("ETag", f"W/{etag}" if site.weak else etag)
            self.send_header("Last-Modified", date)
        self.send_body(body[start:])

    def send_body(self, body: bytes) -> None:
        site = self.site
        if site.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        misbehaves = self.path.endswith(".zip")
        stop = site.cut_at if site.cut_at is not None else site.hang_at
        sent = body[:stop] if misbehaves else body
        if site.chunked:
            self.wfile.write(b"%x\r\n" % len(body) + sent)
            self.wfile.write(b"\r\n0\r\n\r\n" if sent == body else b"")
        else:
            self.wfile.write(sent)
        if misbehaves and site.hang_at is not None:
            self.wfile.flush()
            site.release.wait(DEADLINE_S)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is what some tests are about."""


@contextmanager
def serving(site: Site) -> Iterator[Site]:
    handler = type("SiteHandler", (Handler,), {"site": site, "protocol_version": "HTTP/1.1"})
    with Server(("127.0.0.1", 0), handler) as server:
        site.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield site
        finally:
            site.release.set()
            server.shutdown()
            thread.join()


def contents(dataset: Dataset, *, seed: int = 0, size: int = 1_000_000) -> dict[str, bytes]:
    """A file's bytes by its name; the first one is incompressible, as large as asked."""
    random = np.random.default_rng(seed)
    return {
        name: random.bytes(size) if at == 0 else f"{name} {seed}\n".encode()
        for at, name in enumerate(dataset.files)
    }


def zipped(dataset: Dataset, files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**files, "not_needed.csv": b"1,2\n"}.items():
            archive.writestr(f"{dataset.name}/{name}", content)
    return buffer.getvalue()


def site_of(archive: bytes, dataset: Dataset = SMALL) -> Site:
    """A server's files: an archive and its published checksum."""
    name = f"{dataset.name}.zip"
    line = f"MD5 ({name}) = {hashlib.md5(archive).hexdigest()}\n"
    return Site({f"/{name}": archive, f"/{name}.md5": line.encode()})


def unpacked(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refusal(site: Site, out: Path, dataset: Dataset = SMALL, timeout_s: float = 30) -> str:
    """The one line that a failing download says; it leaves `out` and what is beside it alone."""
    before = sorted(out.parent.iterdir())
    with pytest.raises(DataError) as caught:
        download(dataset, out, base_url=site.url, timeout_s=timeout_s)
    assert sorted(out.parent.iterdir()) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache for each test, and no proxy before the servers on this machine."""
    monkeypatch.setenv("SSEPT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("SSEPT_DOWNLOAD_URL", raising=False)
    return tmp_path / "cache" / "downloads"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "place").mkdir()
    return tmp_path / "place" / "out"


@pytest.fixture
def small() -> dict[str, bytes]:
    return contents(SMALL)


@pytest.fixture
def site(small: dict[str, bytes]) -> Iterator[Site]:
    with serving(site_of(zipped(SMALL, small))) as site:
        yield site


# ---------------------------------------------------------------- what comes out


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=lambda dataset: dataset.name)
def test_every_data_set_gives_the_files_that_prepare_reads(dataset: Dataset, out: Path) -> None:
    files = contents(dataset, size=1000)
    archive = zipped(dataset, files)
    made_up = replace(dataset, md5=dataset.md5 and hashlib.md5(archive).hexdigest())
    with serving(site_of(archive, dataset)) as site:
        assert download(made_up, out, base_url=f"{site.url}/") == out
    assert unpacked(out) == files
    assert detect(out).sources == [out / name for name in dataset.files[:2]]
    asked_for_checksum = f"/{dataset.name}.zip.md5" in [path for path, *_ in site.seen]
    assert asked_for_checksum == (dataset.md5 is None)


def test_the_real_table_points_at_grouplens() -> None:
    assert list(DATASETS) == ["ml-100k", "ml-1m", "ml-latest-small", "ml-32m"]
    for name, dataset in DATASETS.items():
        assert dataset.url == f"https://files.grouplens.org/datasets/movielens/{name}.zip"
        assert dataset.md5 is None or re.fullmatch("[0-9a-f]{32}", dataset.md5)


def test_the_second_call_needs_no_network(out: Path, small: dict[str, bytes]) -> None:
    with serving(site_of(zipped(SMALL, small))) as site:
        download(SMALL, out, base_url=site.url)
    download(SMALL, out.with_name("again"), base_url=site.url)
    assert unpacked(out.with_name("again")) == small


def test_a_damaged_archive_in_the_cache_is_fetched_again(
    out: Path, site: Site, cache: Path, small: dict[str, bytes]
) -> None:
    download(SMALL, out, base_url=site.url)
    archive = cache / f"{SMALL.name}.zip"
    archive.write_bytes(archive.read_bytes()[:-1] + b"?")
    download(SMALL, out.with_name("again"), base_url=site.url)
    assert unpacked(out.with_name("again")) == small
    assert site.archive_ranges() == [None, None]


@pytest.mark.parametrize("with_md5", [True, False])
@pytest.mark.parametrize("dataset", DATASETS.values(), ids=lambda dataset: dataset.name)
def test_an_archive_copied_into_the_cache_is_used_without_a_network(
    dataset: Dataset, with_md5: bool, out: Path, cache: Path
) -> None:
    files = contents(dataset, size=1000)
    site = site_of(zipped(dataset, files), dataset)
    archive = site.files[f"/{dataset.name}.zip"]
    made_up = replace(dataset, md5=dataset.md5 and hashlib.md5(archive).hexdigest())
    cache.mkdir(parents=True)
    for name, content in site.files.items():
        if with_md5 or not name.endswith(".md5"):
            (cache / name[1:]).write_bytes(content)
    download(made_up, out, base_url="http://127.0.0.1:1")
    assert unpacked(out) == files


def test_half_an_archive_copied_into_the_cache_is_named(
    out: Path, cache: Path, small: dict[str, bytes]
) -> None:
    cache.mkdir(parents=True)
    archive = cache / f"{SMALL.name}.zip"
    archive.write_bytes(zipped(SMALL, small)[:-100])
    with pytest.raises(DataError, match=rf"{archive}: is broken .*; delete it and try again"):
        download(SMALL, out, base_url="http://127.0.0.1:1")


def test_the_command_takes_the_mirror_from_the_environment(
    out: Path,
    site: Site,
    small: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SSEPT_DOWNLOAD_URL", site.url)
    assert main(["data", "download", SMALL.name, str(out)]) == 0
    said = capsys.readouterr()
    assert str(out) in said.out
    assert "README.txt contains the terms of use" in said.out
    assert said.err == ""  # no progress bar without a terminal
    assert unpacked(out) == small


def test_a_terminal_shows_the_bytes(
    out: Path, site: Site, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    site.cut_at = 600_000
    refusal(site, out)
    site.cut_at = None
    download(SMALL, out, base_url=site.url)
    assert "| 1.00M/1.00M [" in terminal.getvalue()
    (cache / f"{SMALL.name}.zip").unlink()
    terminal.truncate(0)
    download(SMALL, out.with_name("again"), base_url=site.url, progress=False)
    assert "1.00M" not in terminal.getvalue()


def test_two_at_once_download_once(out: Path, site: Site, small: dict[str, bytes]) -> None:
    outs = [out.with_name(name) for name in ("one", "two", "three")]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda path: download(SMALL, path, base_url=site.url), outs))
    assert [unpacked(path) for path in outs] == [small] * 3
    assert site.archive_ranges() == [None]


def test_an_empty_folder_may_be_there(out: Path, site: Site, small: dict[str, bytes]) -> None:
    out.mkdir()
    download(SMALL, out, base_url=site.url)
    assert unpacked(out) == small


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_place_in_use_is_refused_before_anything_is_sent(
    kind: str, out: Path, site: Site
) -> None:
    mine = out / "mine.txt" if kind == "folder" else out
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    said = refusal(site, out)
    assert said.startswith(f"{out}: ")
    assert "absent or empty" in said
    assert mine.read_text() == "mine"
    assert site.seen == []


# ---------------------------------------------------------------- going on


@pytest.mark.parametrize("weak", [False, True], ids=["etag", "date"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_cut_connection_goes_on_where_it_was(
    weak: bool, chunked: bool, out: Path, site: Site, small: dict[str, bytes]
) -> None:
    site.weak, site.chunked, site.cut_at = weak, chunked, 600_000
    said = refusal(site, out)
    assert "try again: it will continue from 0.6 MB" in said
    site.cut_at = None
    download(SMALL, out, base_url=site.url)
    assert unpacked(out) == small
    assert site.archive_ranges() == [None, "bytes=600000-"]
    _, _, if_range = site.seen[-1]
    assert if_range == ("Mon, 02 Jan 2023 03:04:05 GMT" if weak else if_range)
    assert not (if_range or "W/").startswith("W/")


def test_many_cuts_add_up(out: Path, site: Site, small: dict[str, bytes]) -> None:
    site.cut_at = 300_000
    for done in ("0.3 MB", "0.6 MB", "0.9 MB"):
        assert f"continue from {done}" in refusal(site, out)
    download(SMALL, out, base_url=site.url)
    assert unpacked(out) == small


@pytest.mark.parametrize("behaviour", [{"ranges": False}, {"wrong_range": True}], ids=str)
def test_a_server_that_cannot_go_on_sends_everything_again(
    behaviour: dict[str, bool], out: Path, site: Site, small: dict[str, bytes]
) -> None:
    site.cut_at = 600_000
    refusal(site, out)
    site.cut_at = None
    for name, value in behaviour.items():
        setattr(site, name, value)
    download(SMALL, out, base_url=site.url)
    assert unpacked(out) == small
    assert site.archive_ranges()[1] == "bytes=600000-"


def test_without_a_version_it_starts_over(out: Path, site: Site, small: dict[str, bytes]) -> None:
    site.validators, site.cut_at = False, 600_000
    assert "try again: it will start over" in refusal(site, out)
    site.cut_at = None
    download(SMALL, out, base_url=site.url)
    assert unpacked(out) == small
    assert site.archive_ranges() == [None, None]


def test_a_file_that_changed_is_not_glued_to_the_old_half(out: Path, site: Site) -> None:
    site.cut_at = 600_000
    refusal(site, out)
    new = contents(SMALL, seed=1)
    site.cut_at, site.files = None, site_of(zipped(SMALL, new)).files
    download(SMALL, out, base_url=site.url)
    assert unpacked(out) == new


@pytest.mark.parametrize("extra", [b"", b"too much"], ids=["whole", "too long"])
def test_a_part_that_is_all_there_or_more(
    extra: bytes, out: Path, site: Site, cache: Path, small: dict[str, bytes]
) -> None:
    site.cut_at = 600_000
    refusal(site, out)
    site.cut_at = None
    (cache / f"{SMALL.name}.zip.part").write_bytes(site.files[ARCHIVE] + extra)
    download(SMALL, out, base_url=site.url)
    assert unpacked(out) == small
    end = len(site.files[ARCHIVE]) + len(extra)
    assert site.archive_ranges() == ([None, f"bytes={end}-", None] if extra else [None])
    kept = [path.name for path in cache.iterdir() if not path.name.startswith(".")]
    assert sorted(kept) == [f"{SMALL.name}.zip", f"{SMALL.name}.zip.md5"]


def test_a_killed_download_goes_on(
    out: Path, site: Site, cache: Path, small: dict[str, bytes]
) -> None:
    site.hang_at = 600_000
    command = [sys.executable, "-m", "ssept.cli", "data", "download", SMALL.name, str(out)]
    part = cache / f"{SMALL.name}.zip.part"
    process = subprocess.Popen([*command, "--url", site.url])
    waiting = threading.Event()
    for _ in range(DEADLINE_S * 100):
        if process.poll() is not None or (part.is_file() and part.stat().st_size >= 500_000):
            break
        waiting.wait(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait(DEADLINE_S) == -signal.SIGKILL
    assert not out.exists()
    have = part.stat().st_size
    assert 500_000 <= have <= 600_000
    site.hang_at = None
    done = subprocess.run([*command, "--url", site.url], timeout=DEADLINE_S, check=False)
    assert done.returncode == 0
    assert unpacked(out) == small
    assert site.archive_ranges() == [None, f"bytes={have}-"]


# ---------------------------------------------------------------- failures


def test_a_silent_server_is_given_up_and_gone_on_with(
    out: Path, site: Site, small: dict[str, bytes]
) -> None:
    site.hang_at = 600_000
    said = refusal(site, out, timeout_s=0.5)
    assert "no data for 0.5 s; try again: it will continue from 0.6 MB" in said
    site.hang_at = None
    download(SMALL, out, base_url=site.url)
    assert unpacked(out) == small
    assert site.archive_ranges() == [None, "bytes=600000-"]


def test_a_server_that_accepts_and_never_answers(out: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        site = Site({}, url=f"http://127.0.0.1:{listener.getsockname()[1]}")
        assert f"{site.url}{ARCHIVE}.md5: no answer for 0.5 s" in refusal(site, out, timeout_s=0.5)


def test_a_status_names_the_address(out: Path, site: Site) -> None:
    del site.files[ARCHIVE]
    said = refusal(site, out)
    assert f"{site.url}{ARCHIVE}: the server answered 404 Not Found" in said
    assert "--url" in said


def test_no_server_and_no_name(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = f"http://127.0.0.1:{listener.getsockname()[1]}"
    assert "Connection refused" in refusal(Site({}, url=closed), out)

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    said = refusal(Site({}, url="http://mirror.invalid"), out)
    assert "Name or service not known" in said
    assert "SSEPT_DOWNLOAD_URL" in said


@pytest.mark.parametrize(
    "url", ["ftp://mirror.invalid", "file:///tmp", "mirror.invalid/ml", "http://", "http://[x"]
)
def test_an_address_must_be_a_web_address(url: str, out: Path) -> None:
    assert refusal(Site({}, url=url), out).startswith(f"{url}: expected the base address")


def test_another_file_than_the_known_one_is_refused(out: Path, cache: Path) -> None:
    dataset = DATASETS["ml-1m"]
    archive = zipped(dataset, contents(dataset))
    with serving(site_of(archive, dataset)) as site:
        said = refusal(site, out, dataset)
    assert hashlib.md5(archive).hexdigest() in said
    assert "c4d9eecfca2ab87c1945afe126590906" in said
    assert [path for path in cache.iterdir() if not path.name.startswith(".")] == []


def test_another_file_than_the_published_one_is_refused_once(
    out: Path, site: Site, small: dict[str, bytes]
) -> None:
    right = site.files[ARCHIVE]
    site.files[ARCHIVE] = right[:-1] + b"?"
    assert hashlib.md5(right).hexdigest() in refusal(site, out)
    site.files[ARCHIVE] = right
    download(SMALL, out, base_url=site.url)
    assert unpacked(out) == small
    assert site.archive_ranges() == [None, None]


def test_a_page_in_place_of_the_checksum(out: Path, site: Site) -> None:
    site.files[f"{ARCHIVE}.md5"] = b"<html>\nPlease log in\n"
    assert f"{ARCHIVE}.md5: expected" in refusal(site, out)
    assert site.archive_ranges() == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("MD5 (ml-1m.zip) = {md5}\n", True),
        ("{md5}  ml-1m.zip\n", True),
        ("{md5} *ml-1m.zip\r\n", True),
        ("# sums\n{other}  ml-100k.zip\n{md5}  ./ml-1m.zip\n", True),
        ("{md5}  ml-100k.zip\n", False),
        ("MD5 (ml-1m-zip) = {md5}\n", False),
        ("{md5}0  ml-1m.zip\n", False),
        ("", False),
    ],
)
def test_both_forms_of_a_checksum_file(text: str, found: bool) -> None:
    md5 = "C4d9eecfca2ab87c1945afe126590906"
    read = parse_md5(text.format(md5=md5, other="0" * 32), "ml-1m.zip")
    assert read == (md5.lower() if found else None)


def limited(limit: int, url: str, out: Path) -> subprocess.CompletedProcess[str]:
    """The command where no file can grow beyond `limit` bytes, as on a disk that fills up."""
    program = (
        "import resource, sys; from ssept.cli import main; "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); "
        "sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "data", "download", SMALL.name, str(out)]
    return subprocess.run(
        [*command, "--url", url],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        env=dict(os.environ),
    )


def test_a_disk_that_fills_up_during_the_download(
    out: Path, site: Site, small: dict[str, bytes]
) -> None:
    done = limited(600_000, site.url, out)
    assert done.returncode == 1
    assert f"{SMALL.name}.zip.part: cannot be written" in done.stderr
    assert "try again: it will continue from 0.6 MB" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(out.parent.iterdir()) == []
    download(SMALL, out, base_url=site.url)
    assert unpacked(out) == small
    assert site.archive_ranges() == [None, "bytes=600000-"]


def test_a_disk_that_fills_up_during_unpacking(out: Path) -> None:
    files = {**contents(SMALL, size=10), "ratings.csv": b"1,2,3.0,4\n" * 100_000}
    with serving(site_of(zipped(SMALL, files))) as site:
        done = limited(600_000, site.url, out)
    assert done.returncode == 1
    assert f"{out}: File too large; nothing of it was kept" in done.stderr
    assert list(out.parent.iterdir()) == []
    download(SMALL, out, base_url=site.url)
    assert unpacked(out) == files


# ---------------------------------------------------------------- archives one should not trust


def entry(name: str, kind: int = stat.S_IFREG) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(f"{SMALL.name}/{name}")
    info.external_attr = (kind | 0o644) << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def served_archive(entries: dict[zipfile.ZipInfo, bytes]) -> Site:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for info, content in entries.items():
            archive.writestr(info, content)
    return site_of(buffer.getvalue())


def test_entries_that_point_elsewhere_are_left_alone(out: Path, tmp_path: Path) -> None:
    wanted = {name: name.encode() for name in SMALL.files}
    evil = dict.fromkeys(("../../evil.csv", "sub/../../../evil.csv"), b"evil")
    absolute = zipfile.ZipInfo(str(tmp_path / "evil.csv"))
    entries = {entry(name): content for name, content in {**evil, **wanted}.items()}
    with serving(served_archive({absolute: b"evil", **entries})) as site:
        download(SMALL, out, base_url=site.url)
    assert unpacked(out) == wanted
    assert not list(tmp_path.rglob("evil.csv"))


def test_a_link_is_refused(out: Path) -> None:
    entries = {entry(name): b"x" for name in SMALL.files[1:]}
    link = entry(SMALL.files[0], stat.S_IFLNK)
    with serving(served_archive({link: b"/etc/passwd", **entries})) as site:
        assert f"{SMALL.name}/{SMALL.files[0]} is a link" in refusal(site, out)


def test_a_zip_bomb_is_refused(out: Path) -> None:
    entries = {entry(name): b"\0" * 8_000_000 for name in SMALL.files}
    with serving(served_archive(entries)) as site:
        assert "would unpack to 24,000,000 bytes, expected at most" in refusal(site, out)


def test_an_archive_without_the_ratings(out: Path) -> None:
    with serving(served_archive({entry("README.txt"): b"x"})) as site:
        assert f"holds no {SMALL.name}/ratings.csv" in refusal(site, out)


def test_bytes_that_are_no_archive(out: Path, cache: Path) -> None:
    with serving(site_of(b"<html>maintenance</html>")) as site:
        said = refusal(site, out)
    assert f"{cache / SMALL.name}.zip: is broken" in said
    assert "delete it" in said


def test_an_archive_with_a_damaged_entry(out: Path, small: dict[str, bytes]) -> None:
    archive = bytearray(zipped(SMALL, small))
    archive[500_000:500_004] = b"oops"
    with serving(site_of(bytes(archive))) as site:
        assert "is broken" in refusal(site, out)
