"""Clients of a server on this machine ask no proxy, whatever the environment names."""

import socket
import stat
import sys
import threading
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import numpy as np
import pytest

from ssept.errors import LoadError, ServerError
from ssept.serving.triton import perf_analyzer
from ssept.serving.triton.addresses import is_local, without_proxies
from ssept.serving.triton.client import Client

NAMES = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy", "no_grpc_proxy")


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """A proxy that the environment names, and what it was asked."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    asked.append(connection.recv(4096))
                    connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        for name in NAMES:
            where = "" if "no_" in name else f"http://127.0.0.1:{listener.getsockname()[1]}"
            monkeypatch.setenv(name, where)
            monkeypatch.setenv(name.upper(), where)
        yield asked
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_grpc_goes_direct(proxy: list[bytes], host: str) -> None:
    import grpc

    reached = threading.Event()

    class Service(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, _: object) -> None:
            reached.set()

    server = grpc.server(futures.ThreadPoolExecutor(1), handlers=[Service()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with (
            Client("grpc", f"{host}:{port}") as client,
            pytest.raises(ServerError, match="Method not found"),
        ):
            client.infer({"USER_ID": np.zeros((1, 1), np.int64)}, ["scores"])
    finally:
        server.stop(None).wait()
    assert reached.is_set()
    assert proxy == []


def test_http_goes_direct(proxy: list[bytes]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b'HTTP/1.1 400 No\r\nContent-Length: 16\r\n\r\n{"error":"mine"}')

        thread = threading.Thread(target=answer)
        thread.start()
        with (
            Client("http", f"127.0.0.1:{port}") as client,
            pytest.raises(ServerError, match=": mine"),
        ):
            client.infer({"USER_ID": np.zeros((1, 1), np.int64)}, ["scores"])
        thread.join()
    assert proxy == []


PERF_ANALYZER = """#!{python}
import os, sys
found = sorted(name for name in os.environ if name.lower().endswith("_proxy"))
print(*found, file=sys.stderr)
sys.exit(1)
"""


@pytest.mark.usefixtures("proxy")
@pytest.mark.parametrize(
    ("arguments", "direct"),
    [
        (["-m", "x"], True),
        (["-m", "x", "-u", "localhost:1", "-i", "grpc"], True),
        (["-u", "127.0.0.7:1"], True),
        (["-u", "[::1]:1"], True),
        (["-u", "shop.example:1"], False),
    ],
)
def test_perf_analyzer_goes_direct_to_this_machine(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    direct: bool,
) -> None:
    class Tools:
        perf_analyzer = tmp_path / "perf_analyzer"

        def link_libraries(self, folder: Path) -> None: ...

    Tools.perf_analyzer.write_text(PERF_ANALYZER.format(python=sys.executable))
    Tools.perf_analyzer.chmod(stat.S_IRWXU)
    monkeypatch.setattr(perf_analyzer, "tools", Tools)
    assert perf_analyzer.run(arguments) == 1
    wanted = sorted([*NAMES, *map(str.upper, NAMES)])
    assert capfd.readouterr().err.split() == ([] if direct else wanted)
    if direct:
        with pytest.raises(LoadError, match=r"ended with 1: $"):
            perf_analyzer.measure(perf_analyzer.Load("127.0.0.1:1", "x"))


def test_addresses_of_this_machine_are_known_in_every_form() -> None:
    for url in ("localhost", "localhost:80", "127.9.9.9:1", "[::1]:80", "http://127.0.0.1:1/x"):
        assert is_local(url), url
    for url in ("", ":80", "10.0.0.1:80", "shop.example:80", "[::2]:1", "127.0.0.1.example:1", "["):
        assert not is_local(url), url
    assert without_proxies({"a": "1", "HTTP_PROXY": "x", "no_proxy": "y"}) == {"a": "1"}
