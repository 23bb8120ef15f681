"""Answers of HTTP/1.1 as an open loop needs them: the status, the end, and the body of a few."""

import re

from ssept.errors import LoadError

HEAD_END, LINE_END = b"\r\n\r\n", b"\r\n"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)


def status_of(data: bytes) -> int | None:
    """Return the status of an answer if all of it has arrived, else None.

    Raises:
        LoadError: neither its head nor its chunks say where it ends.
    """
    end = data.find(HEAD_END)
    if end < 0:
        return None
    if length := LENGTH.search(data, 0, end):
        whole = len(data) >= end + len(HEAD_END) + int(length[1])
    elif CHUNKED.search(data, 0, end):
        whole = _dechunked(data[end + len(HEAD_END) :]) is not None
    else:
        raise LoadError("a response has neither a content-length nor chunks, so its end is unknown")
    return int(data[9:12]) if whole else None


def closes(answer: bytes) -> bool:
    """Return whether an answer that has arrived says that the server closes its connection."""
    return CLOSES.search(answer, 0, answer.index(HEAD_END)) is not None


def body_of(answer: bytes) -> bytes:
    """Return the body of an answer that has arrived whole, with its head."""
    head, _, body = answer.partition(HEAD_END)
    return (_dechunked(body) or b"") if CHUNKED.search(head) else body


def _dechunked(data: bytes) -> bytes | None:
    """Join the chunks of a body (RFC 9112, 7.1); None if the last one has not arrived.

    Raises:
        LoadError: it is not in chunks.
    """
    parts: list[bytes] = []
    at = 0
    while (end := data.find(LINE_END, at)) >= 0:
        try:
            size = int(data[at:end].partition(b";")[0], 16)
        except ValueError:
            raise LoadError("the chunks of an answer do not have their lengths") from None
        start = end + len(LINE_END)
        if not size:
            # Behind the last chunk there may be trailers, which end with an empty line.
            ended = data.startswith(LINE_END, start) or data.find(HEAD_END, start) >= 0
            return b"".join(parts) if ended else None
        parts.append(data[start : start + size])
        at = start + size + len(LINE_END)
    return None
