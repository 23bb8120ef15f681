"""A file over HTTP in as many tries as it takes: what arrived stays, the next try goes on there.

Beside `<part>` is `<part>.validator`: the ETag or date by which the server knows the version
that the part is of (RFC 9110, section 13.1.5), so that a changed file is not glued to an old half.
"""

import http
import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from ssept.data.redirects import opener
from ssept.errors import DataError

URL_VARIABLE = "SSEPT_DOWNLOAD_URL"
BLOCK_BYTES = 1 << 16
MOST_TEXT_BYTES = 1 << 16
ADVICE = f"check the network and the address, or name a mirror (--url or {URL_VARIABLE})"

_Response = http.client.HTTPResponse | urllib.error.HTTPError


class _CutShortError(DataError):
    """The connection failed in the middle of a file."""


class _TooLargeError(DataError):
    """The server sends more than the file can have."""


@dataclass(frozen=True)
class Transfer:
    """A file on its way.

    Attributes:
        url: an http or https address.
        part: where the bytes are that have arrived.
        most_bytes: that the file may have; a server that sends more is not listened to.
        timeout_s: longest silence of the server, in seconds.
        progress: show a progress bar when stderr is a terminal.
    """

    url: str
    part: Path
    most_bytes: int
    timeout_s: float
    progress: bool

    @property
    def _validator(self) -> Path:
        return self.part.with_name(f"{self.part.name}.validator")

    def finish(self) -> None:
        """Bring `part` to the end of the file.

        Raises:
            DataError: the server, the network or the disk failed; what arrived is kept. Or the
                file is larger than it may be; then it is not.
        """
        response, start = self._answer()
        try:
            with (
                response,
                self._bar(response, start) as bar,
                self.part.open("ab" if start else "wb") as file,
            ):
                if not start:  # after the old bytes are gone, before new ones arrive
                    self._validator.write_text(_validator_of(response), encoding="utf-8")
                most = self.most_bytes - start
                for block in _blocks(response, self.url, self.timeout_s, most):
                    file.write(block)
                    bar.update(len(block))
        except _TooLargeError:
            self.discard()
            raise
        except _CutShortError as error:
            raise DataError(f"{error}; try again: {self._outlook()}") from error
        except OSError as error:
            raise DataError(
                f"{self.part}: cannot be written ({error.strerror or error}); fix that and try "
                f"again: {self._outlook()}"
            ) from error

    def rename(self, path: Path) -> None:
        """Give the finished file its name."""
        self.part.replace(path)
        self._validator.unlink(missing_ok=True)

    def discard(self) -> None:
        """Delete what has arrived."""
        self.part.unlink()
        self._validator.unlink(missing_ok=True)

    def _answer(self) -> tuple[_Response, int]:
        """Ask for the rest of the file; return the response and the byte at which it begins."""
        if start := self._resumable_bytes():
            # If-Range: a server that has another version by now sends that one, whole.
            validator = self._validator.read_text("utf-8")
            headers = {"Range": f"bytes={start}-", "If-Range": validator}
            response = _request(self.url, self.timeout_s, headers)
            if response.status == http.HTTPStatus.OK:
                return response, 0
            if response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                return response, start
            response.close()
        return _request(self.url, self.timeout_s, {}), 0

    def _resumable_bytes(self) -> int:
        """How much has arrived; 0 if its version of the file is unknown."""
        if not self.part.is_file() or not self._validator.is_file():
            return 0
        return self.part.stat().st_size if self._validator.stat().st_size else 0

    def _outlook(self) -> str:
        kept = self._resumable_bytes()
        return f"it will continue from {kept / 1e6:.1f} MB" if kept else "it will start over"

    def _bar(self, response: _Response, start: int) -> "tqdm[NoReturn]":
        """Make a progress bar over a file's bytes; tqdm shows none if stderr is not a terminal."""
        length = _length(response)
        return tqdm(
            desc=self.part.stem,
            initial=start,
            total=None if length is None else start + length,
            unit="B",
            unit_scale=True,
            disable=None if self.progress else True,
        )


def fetch_text(url: str, timeout_s: float) -> str:
    """Download a small text file, which need not be UTF-8.

    Raises:
        DataError: the server or the network failed, or it has more than MOST_TEXT_BYTES.
    """
    with _request(url, timeout_s, {}) as response:
        blocks = _blocks(response, url, timeout_s, MOST_TEXT_BYTES)
        return b"".join(blocks).decode("utf-8", "replace")


def _request(url: str, timeout_s: float, headers: dict[str, str]) -> _Response:
    """Open a URL; return a response with status 200, or 206 or 416 for a range."""
    # S310: callers hand over http and https addresses only
    request = urllib.request.Request(url, headers={"User-Agent": "ssept", **headers})  # noqa: S310
    try:
        answer: _Response = opener().open(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and headers:
            return error
        error.close()
        if error.code // 100 == 3:  # what _Redirects has not seen
            raise DataError(
                f"{url}: the server redirects in circles, or to no address of http or https; "
                f"{ADVICE}"
            ) from error
        phrase = http.client.responses.get(error.code, "")  # not the server's own, of any length
        raise DataError(f"{url}: the server answered {error.code} {phrase}; {ADVICE}") from error
    except (OSError, http.client.HTTPException) as error:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(cause, TimeoutError):
            raise DataError(f"{url}: no answer for {timeout_s:g} s; {ADVICE}") from error
        raise DataError(f"{url}: the server cannot be reached ({cause}); {ADVICE}") from error
    return answer


def _blocks(response: _Response, url: str, timeout_s: float, most: int) -> Iterator[bytes]:
    """Iterate over the bytes of a response as they arrive.

    Raises:
        _CutShortError: they stop before the end.
        _TooLargeError: there are more than `most`.
    """
    left, arrived = _length(response), 0
    try:
        while left != 0 and (block := response.read1(BLOCK_BYTES)):
            arrived += len(block)
            if max(arrived, left or 0) > most:
                raise _TooLargeError(f"{url}: has more bytes than it may have; {ADVICE}")
            yield block
            left = None if left is None else left - len(block)
    except TimeoutError as error:
        raise _CutShortError(f"{url}: no data for {timeout_s:g} s") from error
    except (OSError, http.client.HTTPException) as error:
        raise _CutShortError(f"{url}: the connection failed ({error})") from error
    if left:
        raise _CutShortError(f"{url}: the server closed the connection {left} bytes too early")


def _length(response: _Response) -> int | None:
    """How many bytes an answer has, if it says so."""
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _validator_of(response: _Response) -> str:
    """Return the validator of this version of the file, fit for If-Range; or nothing."""
    etag: str = response.headers.get("ETag", "")
    if etag and not etag.startswith("W/"):  # a weak one does not promise the same bytes
        return etag
    return response.headers.get("Last-Modified", "")
