"""Our HTTP protocol and others on the same bytes: the answers are equal but for `DIFFERENCES`.

The others are h11 as a reference, and plain uvicorn with its two parsers. SSEPT_TEST_FUZZ is how
many streams Hypothesis makes; `pytest -s` shows how many there were, and of which kinds.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from ssept.serving.runtime.protocol.http_protocol import MOST_PIPELINED, LimitedProtocol
from tests.helpers.servers.wire import Echo, Outcome, by_h11, config, over_socket, played, served

STREAMS = int(os.environ.get("SSEPT_TEST_FUZZ", "3000"))
SOME = 300
H11, UVICORN_H11, UVICORN = "h11", "uvicorn with h11", "uvicorn with httptools"
PLAIN = (UVICORN_H11, UVICORN)
ALL = (H11, *PLAIN)


class Difference(NamedTuple):
    """Where others do something else than ours.

    Attributes:
        others: who.
        reason: why ours does what it does.
        counts_as: what is the same to ours, and means the same to all.
    """

    others: tuple[str, ...]
    reason: str
    counts_as: bytes


def message(
    line: str, *headers: str, body: bytes = b"", end: str = "\r\n", host: str = "Host: a"
) -> bytes:
    return end.join((line, *([host] if host else []), *headers, "", "")).encode("latin-1") + body


ODD: dict[str, bytes] = {
    "unknown method": message("FOO / HTTP/1.1"),
    "CONNECT": message("CONNECT a:80 HTTP/1.1"),
    "CONNECT to a path": message("CONNECT /a HTTP/1.1"),
    "absolute form": message("GET http://a/b?c HTTP/1.1"),
    "absolute form without a path": message("GET http://a HTTP/1.1"),
    "asterisk": message("OPTIONS * HTTP/1.1"),
    "fragment": message("GET /a#b HTTP/1.1"),
    "no target": message("GET HTTP/1.1"),
    "space in target": message("GET /a b HTTP/1.1"),
    "byte over 127 in target": message("GET /\xe9 HTTP/1.1"),
    "control in target": message("GET /\x01 HTTP/1.1"),
    "HTTP/2.0": message("GET / HTTP/2.0"),
    "HTTP/0.9": message("GET / HTTP/0.9"),
    "HTTP/1.2": message("GET / HTTP/1.2"),
    "preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(64)),
    "no Host": message("GET / HTTP/1.1", host=""),
    "two Hosts": message("GET / HTTP/1.1", "Host: b"),
    "bare LF": message("GET / HTTP/1.1", end="\n"),
    "bare CR": b"GET / HTTP/1.1\rHost: a\r\r",
    "folded": message("GET / HTTP/1.1", "a: b", " c"),
    "space before colon": message("GET / HTTP/1.1", "a : b"),
    "no colon": message("GET / HTTP/1.1", "ab"),
    "empty name": message("GET / HTTP/1.1", ": b"),
    "bad name": message("GET / HTTP/1.1", "a(b): c"),
    "NUL in value": message("GET / HTTP/1.1", "a: b\0c"),
    "control in value": message("GET / HTTP/1.1", "a: b\x01c"),
    "byte over 127 in value": message("GET / HTTP/1.1", "a: \xe9"),
    "empty line before": b"\r\n" + message("GET / HTTP/1.1"),
    "empty lines before": b"\r\n\r\n\r\n" + message("GET / HTTP/1.1"),
    "two lengths": message("POST / HTTP/1.1", "Content-Length: 1", "Content-Length: 2", body=b"ab"),
    "same length twice": message("POST / HTTP/1.1", *["Content-Length: 1"] * 2, body=b"a"),
    "list of lengths": message("POST / HTTP/1.1", "Content-Length: 1, 1", body=b"a"),
    "signed length": message("POST / HTTP/1.1", "Content-Length: +1", body=b"a"),
    "no length": message("POST / HTTP/1.1", "Content-Length:", body=b""),
    "huge length": message("POST / HTTP/1.1", "Content-Length: " + "9" * 30),
    "length and chunks": message(
        "POST / HTTP/1.1", "Content-Length: 5", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"
    ),
    "gzip and chunks": message(
        "POST / HTTP/1.1", "Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"
    ),
    "gzip alone": message("POST / HTTP/1.1", "Transfer-Encoding: gzip", body=b"0\r\n\r\n"),
    "chunked twice": message(
        "POST / HTTP/1.1", *["Transfer-Encoding: chunked"] * 2, body=b"0\r\n\r\n"
    ),
    "chunks in HTTP/1.0": message(
        "POST / HTTP/1.0", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"
    ),
    "no chunk size": message("POST / HTTP/1.1", "Transfer-Encoding: chunked", body=b"\r\n"),
    "bad chunk size": message("POST / HTTP/1.1", "Transfer-Encoding: chunked", body=b"g\r\n"),
    "signed chunk size": message(
        "POST / HTTP/1.1", "Transfer-Encoding: chunked", body=b"+1\r\na\r\n0\r\n\r\n"
    ),
    "chunk longer than said": message(
        "POST / HTTP/1.1", "Transfer-Encoding: chunked", body=b"1\r\nab\r\n0\r\n\r\n"
    ),
    "LF after chunk size": message(
        "POST / HTTP/1.1", "Transfer-Encoding: chunked", body=b"1\na\r\n0\r\n\r\n"
    ),
    "bad trailer": message(
        "POST / HTTP/1.1", "Transfer-Encoding: chunked", body=b"0\r\na b\r\n\r\n"
    ),
    "long head": message("GET / HTTP/1.1", "a: " + "b" * 70_000),
    "long target": message(f"GET /{'b' * 70_000} HTTP/1.1"),
}

BAD = b"\0\r\n\r\n"  # that all refuse
STRICT = "h11 is lenient: a proxy in front may read it in another way"
UNKNOWN = "the parser knows the methods that are registered"
NO_PROXY = "only a proxy can do it; what is behind would be another protocol"
RFC_9112 = "RFC 9112, 3.2.2: a server must accept it"
VERSION = "the answer would be one of HTTP/1.1"
BY_APP = "the application checks the Host header itself, HTTP/1.0 and absolute targets included"
LIMIT = "at most 64 KB, however they arrive; the others' limit is for incomplete ones"
GET, POST = message("GET / HTTP/1.1"), message("POST / HTTP/1.1")
DIFFERENCES = {
    "unknown method": Difference((H11, UVICORN_H11), UNKNOWN, BAD),
    "CONNECT": Difference((H11, UVICORN_H11), NO_PROXY, BAD),
    "CONNECT to a path": Difference(ALL, NO_PROXY, BAD),
    "absolute form": Difference((H11, UVICORN_H11), RFC_9112, message("GET /b?c HTTP/1.1")),
    "absolute form without a path": Difference(ALL, RFC_9112, GET),
    "fragment": Difference(
        (H11, UVICORN_H11), "it is for the client alone", message("GET /a HTTP/1.1")
    ),
    "HTTP/2.0": Difference(ALL, VERSION, BAD),
    "HTTP/0.9": Difference(ALL, VERSION, BAD),
    "HTTP/1.2": Difference((H11, UVICORN_H11), VERSION, BAD),
    "preface": Difference((H11, UVICORN_H11), "it is HTTP/2", BAD),
    "no Host": Difference((H11, UVICORN_H11), BY_APP, GET),
    "two Hosts": Difference((H11, UVICORN_H11), BY_APP, GET),
    "bare LF": Difference((H11, UVICORN_H11), STRICT, BAD),
    "bare CR": Difference((H11, UVICORN_H11), "h11 waits for a line end", BAD),
    "folded": Difference((H11, UVICORN_H11), STRICT, BAD),
    "control in value": Difference((H11, UVICORN_H11), STRICT, BAD),
    "empty line before": Difference((H11, UVICORN_H11), "RFC 9112, 2.2: should be ignored", GET),
    "empty lines before": Difference((H11, UVICORN_H11), "RFC 9112, 2.2: should be ignored", GET),
    "same length twice": Difference((H11, UVICORN_H11), STRICT, BAD),
    "list of lengths": Difference((H11, UVICORN_H11), STRICT, BAD),
    "length and chunks": Difference((H11, UVICORN_H11), STRICT, BAD),
    "gzip and chunks": Difference(
        (H11, UVICORN_H11), "the application answers 501, see `read_body`", POST
    ),
    "long head": Difference(ALL, LIMIT, BAD),
    "long target": Difference((H11, UVICORN_H11), LIMIT, BAD),
}
# Of whole streams, not of one request.
UPGRADE = "an Upgrade: uvicorn loses what is behind its head"
HALF_CLOSED = "a client that closes its half: uvicorn gives no answer"
BEHIND = "bad data behind requests: uvicorn refuses it before it answers them"

app: Any = Echo()


@cache
def protocols() -> dict[str, Callable[[], Any]]:
    """A way to make each of the protocols."""
    makers: dict[str, Callable[[], Any]] = {}
    used = {"ours": LimitedProtocol, UVICORN_H11: H11Protocol, UVICORN: HttpToolsProtocol}
    for name, http in used.items():
        loaded = config(app, http)
        loaded.load()
        given: dict[str, Any] = {"config": loaded, "app_state": {}}
        if http is LimitedProtocol:
            given |= {"app": app, "most": 1000}
        makers[name] = lambda http=http, given=given: http(server_state=ServerState(), **given)
    return makers


async def outcomes(parts: list[bytes], half_closes: bool) -> dict[str, Outcome]:
    """What each of them makes of a stream."""
    found = {H11: by_h11(b"".join(parts), half_closes)}
    for name, make in protocols().items():
        found[name] = await played(make, parts, half_closes)
    return found


TOKENS = st.sampled_from(["a", "X-Long-Name", "accept", "x.y"])
VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=9)
FIELDS = st.lists(st.builds("{}: {}".format, TOKENS, VALUES), max_size=3)
TARGETS = st.sampled_from(["/", "/predict", "/a/b?c=d&e", "/%41%2f?%20", "//a", "/" + "x" * 2000])
UPGRADES = st.sampled_from(
    [
        ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMA"],
        ["Connection: keep-alive, Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"],
        ["Upgrade: TLS/1.0, HTTP/1.1", "Connection: upgrade"],
    ]
)
CHUNK = st.builds(
    lambda part, size, more: size.format(len(part)).encode() + more + b"\r\n" + part + b"\r\n",
    st.binary(min_size=1, max_size=300),
    st.sampled_from(["{:x}", "{:X}", "000{:x}"]),
    st.sampled_from([b"", b";a=b"]),
)
CHUNKED = st.builds(
    lambda chunks, trailer: b"".join(chunks) + b"0\r\n" + trailer + b"\r\n",
    st.lists(CHUNK, max_size=4),
    st.sampled_from([b"", b"a: b\r\n"]),
)


class Piece(NamedTuple):
    """A part of a stream; its kind is in `ODD`, or is what is special about it."""

    content: bytes
    kind: str = ""


@st.composite
def requests(draw: Any) -> Piece:
    """A request that is in order."""
    headers, kind = draw(FIELDS), ""
    version = "1.0" if draw(st.integers(0, 19)) == 7 else "1.1"
    body = b""
    method = draw(st.sampled_from(["GET", "HEAD", "DELETE", "POST", "PUT", "OPTIONS"]))
    if method in ("POST", "PUT"):
        if version == "1.1" and draw(st.booleans()):
            headers.append("Transfer-Encoding: chunked")
            body = draw(CHUNKED)
        else:
            body = draw(st.binary(max_size=400))
            headers.append(f"Content-Length: {len(body)}")
        if draw(st.integers(0, 4)) == 3:
            headers.append("Expect: 100-continue")
    if version == "1.1" and draw(st.integers(0, 5)) == 3:
        headers, kind = headers + draw(UPGRADES), UPGRADE
    elif draw(st.integers(0, 19)) == 7:
        headers.append("Connection: close")
    line = f"{method} {draw(TARGETS)} HTTP/{version}"
    return Piece(message(line, *draw(st.permutations(headers)), body=body), kind)


class Stream(NamedTuple):
    """What a client sends.

    Attributes:
        parts: the bytes that arrive together.
        half_closes: whether it then closes its half.
        counts_as: a stream that means the same to ours and to h11.
        differs: whose answers may be others.
        kinds: what is special about it.
    """

    parts: list[bytes]
    half_closes: bool
    counts_as: bytes
    differs: set[str]
    kinds: set[str]

    def __repr__(self) -> str:
        return f"{[part[:200] for part in self.parts]}, half_closes={self.half_closes}"


def stream_of(pieces: list[Piece], cut: int, ends: list[int], half_closes: bool) -> Stream:
    """Make a stream of pieces, without its last `cut` bytes, split at these places."""
    whole = b"".join(piece.content for piece in pieces)
    counts_as, kinds, differs = b"", set(), set()
    for number, (content, kind) in enumerate(pieces):
        difference = DIFFERENCES.get(kind)
        meant = difference.counts_as if difference else content
        counts_as += meant
        kinds |= {kind} - {""}
        differs |= {*difference.others} if difference else set()
        if kind == UPGRADE:
            differs |= {UVICORN}
        elif kind and number:
            differs |= {UVICORN}
            kinds |= {BEHIND}
    if half_closes:
        differs |= {*PLAIN}
        kinds |= {HALF_CLOSED}
    whole, counts_as = whole[: len(whole) - cut], counts_as[: len(counts_as) - cut]
    places = [0, *sorted({end % (len(whole) + 1) for end in ends}), len(whole)]
    parts = [whole[start:end] for start, end in pairwise(places)]
    return Stream([part for part in parts if part], half_closes, counts_as, differs, kinds)


@st.composite
def streams(draw: Any) -> Stream:
    pieces = draw(st.lists(requests(), min_size=1, max_size=5))
    if draw(st.booleans()):
        kind = draw(st.sampled_from(sorted(ODD)))
        pieces.insert(draw(st.integers(0, len(pieces))), Piece(ODD[kind], kind))
    whole = pieces[-1].kind not in ODD and draw(st.booleans())
    cut = draw(st.integers(0, len(pieces[-1].content) - 1)) if whole else 0
    ends = draw(st.lists(st.integers(0, 100_000), max_size=6))
    return stream_of(pieces, cut, ends, draw(st.booleans()))


def examples(count: int) -> settings:
    return settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize="SSEPT_TEST_FUZZ" not in os.environ,
        suppress_health_check=list(HealthCheck),
    )


def check(stream: Stream, counted: Counter[str]) -> None:
    counted.update(["streams", *stream.kinds])
    expected = by_h11(stream.counts_as, stream.half_closes)
    found = asyncio.run(outcomes(stream.parts, stream.half_closes))
    assert found.pop("ours") == expected
    for name, outcome in found.items():
        if name not in stream.differs:
            assert outcome == expected, name
            counted[f"equal to {name}"] += 1


def compare(count: int) -> Counter[str]:
    counted: Counter[str] = Counter()

    @examples(count)
    @given(streams())
    def run(stream: Stream) -> None:
        check(stream, counted)

    run()
    print(*(f"{number:6} {kind}" for kind, number in counted.most_common()), sep="\n")
    return counted


@pytest.mark.parametrize("kind", ODD)
def test_every_odd_request_is_taken_as_the_table_says(kind: str) -> None:
    good = Piece(message("POST /a HTTP/1.1", "Content-Length: 1", body=b"b"))
    odd = Piece(ODD[kind], kind)
    check(stream_of([good, odd], 0, [len(good.content) + len(odd.content) // 2], False), Counter())
    for pieces in ([Piece(ODD[kind], kind)], [good, Piece(ODD[kind], kind), good]):
        for ends in ([], [7], range(40)):
            for half_closes in (False, True):
                check(stream_of(pieces, 0, list(ends), half_closes), Counter())


@pytest.mark.parametrize("kind", DIFFERENCES)
def test_the_table_lists_no_difference_that_is_none(kind: str) -> None:
    found = asyncio.run(outcomes([ODD[kind]], False))
    ours = found.pop("ours")
    assert {name for name, outcome in found.items() if outcome != ours} == {
        *DIFFERENCES[kind].others
    }


def test_some_streams_are_answered_as_by_others() -> None:
    assert compare(SOME)["streams"] >= SOME


@pytest.mark.slow
def test_many_streams_are_answered_as_by_others() -> None:
    assert compare(STREAMS)["streams"] >= STREAMS


def test_more_requests_at_once_than_may_wait_are_not_all_answered() -> None:
    """The others answer all; ours says by closing that the rest is to be sent again."""
    sent = message("GET / HTTP/1.1") * (2 * MOST_PIPELINED)
    found = asyncio.run(outcomes([sent], False))
    ours = found.pop("ours")
    assert (len(ours.answers), ours.closed) == (MOST_PIPELINED + 1, True)
    assert {len(outcome.answers) for outcome in found.values()} == {2 * MOST_PIPELINED}


def compare_over_sockets(count: int) -> Counter[str]:
    counted: Counter[str] = Counter()
    with closing(uvloop.new_event_loop()) as loop, served(loop) as (port, _):

        @examples(count)
        @given(streams())
        def run(stream: Stream) -> None:
            counted["streams"] += 1
            got = loop.run_until_complete(over_socket(port, stream.parts))
            assert got == by_h11(stream.counts_as, half_closes=True)

        run()
    print(f"{counted['streams']} streams over sockets")
    return counted


def test_some_streams_over_sockets_are_answered_as_by_h11() -> None:
    assert compare_over_sockets(SOME)["streams"] >= SOME


@pytest.mark.slow
def test_many_streams_over_sockets_are_answered_as_by_h11() -> None:
    assert compare_over_sockets(STREAMS)["streams"] >= STREAMS


def broken(count: int) -> Counter[str]:
    """Compare requests of which some bytes were changed: never laxer than all others."""
    counted: Counter[str] = Counter()
    changes = st.tuples(st.integers(0, 5000), st.binary(max_size=2), st.integers(0, 2))

    @examples(count)
    @given(requests().filter(lambda one: not one.kind), st.lists(changes, min_size=1, max_size=3))
    def run(piece: Piece, changed: list[tuple[int, bytes, int]]) -> None:
        content = piece.content
        for place, inserted, removed in changed:
            at = place % len(content)
            content = content[:at] + inserted + content[at + removed :]
        found = asyncio.run(outcomes([content], False))
        ours = found["ours"]
        counted.update(["requests", *(name for name in ALL if found[name] == ours)])
        # Byte by byte, so that uvicorn answers what is before bad data first.
        single = [content[at : at + 1] for at in range(len(content))]
        assert ours in (found[H11], asyncio.run(played(protocols()[UVICORN], single, False)))

    run()
    print(*(f"{number:6} {kind}" for kind, number in counted.most_common()), sep="\n")
    return counted


@pytest.mark.slow
def test_some_broken_requests_are_taken_as_by_others() -> None:
    assert broken(SOME)["requests"] >= SOME


@pytest.mark.slow
def test_many_broken_requests_are_taken_as_by_others() -> None:
    assert broken(STREAMS)["requests"] >= STREAMS
