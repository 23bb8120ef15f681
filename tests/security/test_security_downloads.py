"""`ssept data download` and a mirror that is out to harm: memory, disk, and other hosts."""

import io
import socket
import threading
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ssept.data.download import ARCHIVE_RATIO, DATASETS, download
from ssept.data.redirects import opener
from ssept.data.transfer import MOST_TEXT_BYTES
from ssept.errors import DataError
from tests.ratings.test_download import contents, serving, site_of, unpacked, zipped

SMALL = DATASETS["ml-latest-small"]
ARCHIVE, CHECKSUM = f"/{SMALL.name}.zip", f"/{SMALL.name}.zip.md5"
MOST = SMALL.archive_bytes * ARCHIVE_RATIO
BLOCK = bytes(1 << 16)
ENDLESS_BLOCKS = 10_000  # 655 MB, which no test takes
IN_BUFFERS = 100 << 20  # what a server got rid of before it notices
Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Mirror:
    """What a server does with each path, and how many bytes of an endless body it got rid of."""

    answers: dict[str, Answer]
    url: str = ""
    sent: int = 0
    asked: list[str] = field(default_factory=list)


@contextmanager
def mirror(answers: dict[str, Answer]) -> Iterator[Mirror]:
    made = Mirror(answers)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            made.asked.append(self.path)
            self.close_connection = True
            if self.path not in made.answers:
                self.send_error(404)
                return
            made.answers[self.path](self)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A client that goes away is what is hoped for."""

    with Server(("127.0.0.1", 0), Handler) as server:
        made.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()


def endless(made: list[int], length: int | None = None, chunked: bool = False) -> Answer:
    """A body without an end; `made` counts its bytes."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("ETag", '"1"')
        if length is not None:
            handler.send_header("Content-Length", str(length))
        if chunked:
            handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for _ in range(ENDLESS_BLOCKS):
            handler.wfile.write(b"%x\r\n" % len(BLOCK) + BLOCK + b"\r\n" if chunked else BLOCK)
            made.append(len(BLOCK))

    return answer


def text(content: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content.encode())

    return answer


def redirect(to: str, code: int = 302) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        handler.send_header("Location", to)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def refusal(url: str, out: Path) -> str:
    with pytest.raises(DataError) as caught:
        download(SMALL, out, base_url=url)
    assert not out.exists()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    return str(caught.value)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SSEPT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    monkeypatch.delenv("SSEPT_DOWNLOAD_URL", raising=False)
    return tmp_path / "cache" / "downloads"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


# ---------------------------------------------------------------- bodies without an end

BODIES = {
    "until it closes": {},
    "announced": {"length": 1 << 40},
    "chunked": {"chunked": True},
}


@pytest.mark.parametrize("kind", BODIES)
def test_an_archive_without_an_end_is_left(kind: str, out: Path, cache: Path) -> None:
    sent: list[int] = []
    answers = {
        CHECKSUM: text(f"{'0' * 32}  {SMALL.name}.zip\n"),
        ARCHIVE: endless(sent, **BODIES[kind]),  # type: ignore[arg-type]
    }
    with mirror(answers) as made:
        assert f"{ARCHIVE}: has more bytes than it may have" in refusal(made.url, out)
    assert sum(sent) < MOST + IN_BUFFERS  # what is in the sockets' buffers counts too
    assert [path.name for path in cache.iterdir()] == [f".{SMALL.name}.zip.lock"]


@pytest.mark.parametrize("kind", BODIES)
def test_a_checksum_without_an_end_is_left(kind: str, out: Path) -> None:
    sent: list[int] = []
    with mirror({CHECKSUM: endless(sent, **BODIES[kind])}) as made:  # type: ignore[arg-type]
        assert f"{CHECKSUM}: has more bytes" in refusal(made.url, out)
        assert ARCHIVE not in made.asked
    assert sum(sent) < MOST_TEXT_BYTES + IN_BUFFERS


def test_a_file_that_grows_between_tries_is_left(out: Path, cache: Path) -> None:
    site = site_of(bytes(MOST - 1))
    site.etag, site.cut_at = '"the same"', MOST // 2
    with serving(site) as site:
        assert "it will continue from" in refusal(site.url, out)
        site.files[ARCHIVE], site.cut_at = bytes(2 * MOST), None
        assert "has more bytes" in refusal(site.url, out)
    assert not list(cache.glob("*.part*"))


# ---------------------------------------------------------------- archives


def packed(method: int, content: bytes = bytes(50 << 20), name: str = SMALL.files[0]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for file in SMALL.files:
            info = zipfile.ZipInfo(f"{SMALL.name}/{file}")
            info.compress_type = method if file == name else zipfile.ZIP_STORED
            archive.writestr(info, content if file == name else b"x")
    return buffer.getvalue()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=["bz2", "lzma"])
@pytest.mark.parametrize("size", [10, 10 << 20])
def test_members_of_other_methods_are_refused(method: int, size: int, out: Path) -> None:
    with serving(site_of(packed(method, bytes(size)))) as site:
        said = refusal(site.url, out)
    assert f"is packed by method {method}; expected it stored or deflated" in said


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_stored_and_deflated_members_are_unpacked(method: int, out: Path) -> None:
    with serving(site_of(packed(method, b"1,2\n" * 1000))) as site:
        download(SMALL, out, base_url=site.url)
    assert unpacked(out)[SMALL.files[0]] == b"1,2\n" * 1000


def test_a_member_that_unpacks_to_more_than_it_says(out: Path) -> None:
    size = 100 << 20
    archive = packed(zipfile.ZIP_DEFLATED, bytes(size)).replace(
        size.to_bytes(4, "little"), (1000).to_bytes(4, "little")
    )
    with serving(site_of(archive)) as site:
        assert "is broken" in refusal(site.url, out)


def test_a_list_of_many_members_is_refused(out: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(13_000):  # a list of 1.1 MB
            archive.writestr(zipfile.ZipInfo(f"{number:0>40}"), b"")
    # Their contents are not needed to list them, so the archive need not be large.
    content = buffer.getvalue()
    start = content.index(b"PK\x01\x02")
    head = bytearray(content[start:])
    head[-6:-2] = (0).to_bytes(4, "little")
    assert len(head) < MOST
    with serving(site_of(bytes(head))) as site:
        assert "its list of members has" in refusal(site.url, out)


# ---------------------------------------------------------------- redirects


@pytest.mark.parametrize("code", [301, 302, 303, 307])
def test_a_redirect_on_this_machine_is_followed(code: int, out: Path) -> None:
    files = contents(SMALL)
    with serving(site_of(zipped(SMALL, files))) as site:
        answers = {path: redirect(site.url + path, code) for path in site.files}
        with mirror(answers) as made:
            download(SMALL, out, base_url=made.url)
    assert unpacked(out) == files


ELSEWHERE = {
    "file": "file:///etc/passwd",
    "ftp": "ftp://127.0.0.1/x",
    "data": "data:text/plain,x",
    "gopher": "gopher://127.0.0.1/x",
    "link-local": "http://169.254.169.254/latest/meta-data/",
    "network": "http://10.0.0.1/x",
    "network by another name": "http://167772161/x",
    "internet": "http://192.88.99.1/x",
    "IPv6": "http://[fd00::1]/x",
}


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_a_redirect_elsewhere_is_refused(kind: str, out: Path) -> None:
    with mirror({CHECKSUM: redirect(ELSEWHERE[kind])}) as made:
        said = refusal(made.url, out)
    assert "the server redirects" in said


def test_a_loop_of_redirects_ends(out: Path) -> None:
    with mirror({CHECKSUM: redirect(CHECKSUM)}) as made:
        assert "redirects in circles" in refusal(made.url, out)
    assert len(made.asked) < 20


FROM_TO = [
    ("https://files.example/x", "http://files.example/x", False),
    ("https://files.example/x", "https://other.example/x", True),
    ("http://files.example/x", "https://files.example/x", True),
    ("http://files.example/x", "http://127.0.0.1/x", False),
    ("https://files.example/x", "https://127.0.0.1/x", False),
    ("https://files.example/x", "https://0.0.0.0/x", False),
    ("https://files.example/x", "https://[::ffff:127.0.0.1]/x", False),
    ("https://files.example/x", "https://inside.example/x", False),
    ("https://files.example/x", "https://both.example/x", False),
    ("http://inside.example/x", "http://10.9.9.9/x", True),
    ("http://inside.example/x", "http://169.254.169.254/x", False),
    ("http://unknown.example/x", "http://127.0.0.1/x", False),
    ("http://unknown.example/x", "http://unknown.example/y", True),  # a proxy knows it
]
NAMES = {
    "files.example": ["93.184.215.14"],
    "other.example": ["2606:2800:21f::1"],
    "inside.example": ["192.168.1.5"],
    "both.example": ["93.184.215.14", "127.0.0.1"],
}


@pytest.mark.parametrize(("start", "target", "allowed"), FROM_TO)
def test_redirects_stay_secure_and_in_their_network(
    start: str, target: str, allowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names are answered here: the hosts need not exist."""
    real = socket.getaddrinfo

    def known(host: str, *rest: object, **more: object) -> list[tuple[object, ...]]:
        if not host.endswith(".example"):
            return real(host, *rest, **more)  # type: ignore[arg-type,return-value]
        if host not in NAMES:
            raise socket.gaierror("unknown")
        return [(0, 0, 0, "", (address, 0)) for address in NAMES[host]]

    monkeypatch.setattr(socket, "getaddrinfo", known)
    (handler,) = (one for one in opener().handlers if hasattr(one, "redirect_request"))
    arguments = (io.BytesIO(), 302, "Found", HTTPMessage(), target)
    request = urllib.request.Request(start)
    if allowed:
        assert handler.redirect_request(request, *arguments).full_url == target
    else:
        with pytest.raises(DataError, match="the server redirects to"):
            handler.redirect_request(request, *arguments)


def test_what_the_server_says_with_a_status_is_not_repeated(out: Path) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(503, "\x1b[31m" + "x" * 50_000)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with mirror({CHECKSUM: answer}) as made:
        assert "the server answered 503 Service Unavailable;" in refusal(made.url, out)
