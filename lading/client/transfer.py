"""Transfer: one ranged request at a time, checked, and gone on with where it broke off."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import requests
import urllib3

from lading.client.access import Access
from lading.errors import IntegrityError, LadingError, TransferError
from lading.http import TIMEOUT, error_of, problem

MAX_ATTEMPTS = 6
"""Failures in a row, without a byte of progress between them, after which a transfer gives up."""

BACKOFF_BASE_S = 0.25
BACKOFF_MAX_S = 15.0
RETRY_AFTER_MAX_S = 120.0
"""Longer waits that a server asks for are an error: the user shall know, not sit there."""

RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An immutable object: its key, size in bytes and SHA-256 in hex, as a signed manifest says."""

    key: str
    size: int
    sha256: str


class Stopped(Exception):  # noqa: N818 - a signal between threads, not an error
    """Another thread failed or the user interrupted: this one stops quietly."""


class Transfer:
    """Reads ranges of objects through the gateway. Thread-safe.

    `on_bytes` is called with the number of bytes of each block that came over the wire.
    """

    def __init__(
        self,
        session: requests.Session,
        access: Access,
        on_bytes: Callable[[int], None] = lambda count: None,
        stop: threading.Event | None = None,
    ) -> None:
        self._session = session
        self._access = access
        self._on_bytes = on_bytes
        self._stop = stop or threading.Event()

    def whole(self, key: str, limit: int) -> bytes:
        """A whole small object of at most `limit` bytes. Raises NotFoundError, AccessError, TransferError."""
        for attempt in _Attempts(self._stop, key):
            try:
                with self._get(key, {}) as response:
                    data = response.raw.read(limit + 1)
                    if len(data) > limit:
                        raise IntegrityError(f"{key} is larger than {limit} bytes", "tell its publisher")
                    if len(data) != int(response.headers.get("Content-Length", len(data))):
                        raise _BrokenOff("the answer ended early")
                    self._on_bytes(len(data))
                    return bytes(data)
            except _FAILURES as error:
                attempt.failed(error)
        raise AssertionError("unreachable")

    def pieces(self, stored: StoredObject, pieces: list[tuple[int, int]]) -> Iterator[bytes]:
        """Yield the (offset, length) pieces of an object in order, by one request from the first to the last.

        Gaps between pieces are read and thrown away. When the transfer breaks off, it goes on at the piece that is
        missing. Raises IntegrityError if the object is another one now.
        """
        done = 0
        for attempt in _Attempts(self._stop, stored.key):
            try:
                for piece in self._read_pieces(stored, pieces[done:]):
                    yield piece
                    done += 1
                    attempt.progressed()
                return
            except _FAILURES as error:
                attempt.failed(error)

    def _read_pieces(self, stored: StoredObject, pieces: list[tuple[int, int]]) -> Iterator[bytes]:
        first = pieces[0][0]
        last = pieces[-1][0] + pieces[-1][1] - 1
        with self._get(stored.key, {"Range": f"bytes={first}-{last}"}) as response:
            _check_range(response, stored, first, last)
            position = first
            for offset, length in pieces:
                self._read(response, offset - position)
                yield self._read(response, length)
                position = offset + length

    def _read(self, response: requests.Response, length: int) -> bytes:
        """Exactly `length` bytes of a body."""
        blocks = bytearray()
        while len(blocks) < length:
            if self._stop.is_set():
                raise Stopped
            block = response.raw.read(min(length - len(blocks), 256 * 1024))
            if not block:
                raise _BrokenOff("the answer ended early")
            blocks += block
            self._on_bytes(len(block))
        return bytes(blocks)

    def _get(self, key: str, headers: dict[str, str]) -> requests.Response:
        """A successful answer with its body unread. Renews the token once if the gateway calls it expired."""
        for renewed in (False, True):
            token = self._access.token()
            response = self._session.get(
                self._access.url(key),
                headers={**headers, "Authorization": f"Bearer {token}"},
                timeout=TIMEOUT,
                stream=True,
                allow_redirects=False,
            )
            if response.status_code in (200, 206):
                if response.headers.get("Content-Encoding", "identity") != "identity":
                    response.close()
                    raise TransferError(f"{key} came with a content coding", "check the proxies on the way")
                return response
            with response:
                if response.status_code == 403 and problem(response).get("code") == "token_expired" and not renewed:
                    self._access.renew(token)
                    continue
                error = error_of(response, f"fetching {key}")
                if response.status_code in RETRIED_STATUS:
                    raise _Retriable(error, _retry_after(response))
                raise error
        raise AssertionError("unreachable")


class _BrokenOff(Exception):  # noqa: N818 - never leaves this module
    """A body ended before its promised length."""


class _Retriable(Exception):  # noqa: N818 - never leaves this module
    """An answer that may be different next time, and how long the server asks to wait, in seconds."""

    def __init__(self, error: LadingError, wait: float | None) -> None:
        super().__init__(str(error))
        self.error = error
        self.wait = wait


_FAILURES = (requests.RequestException, urllib3.exceptions.HTTPError, OSError, _BrokenOff, _Retriable)


class _Attempts:
    """Iterates over attempts with exponential backoff and full jitter; progress begins a new count."""

    def __init__(self, stop: threading.Event, what: str) -> None:
        self._stop = stop
        self._what = what
        self._failures = 0

    def __iter__(self) -> Iterator[_Attempts]:
        while True:
            if self._stop.is_set():
                raise Stopped
            yield self

    def progressed(self) -> None:
        self._failures = 0

    def failed(self, error: Exception) -> None:
        self._failures += 1
        wait = error.wait if isinstance(error, _Retriable) else None
        if self._failures >= MAX_ATTEMPTS or (wait or 0) > RETRY_AFTER_MAX_S:
            if isinstance(error, _Retriable):
                raise error.error from error
            raise TransferError(
                f"fetching {self._what} failed {self._failures} times: {_reason(error)}",
                "check the network and try again; what was fetched is kept",
            ) from error
        backoff = min(BACKOFF_MAX_S, BACKOFF_BASE_S * 2**self._failures) * random.uniform(0.5, 1)  # noqa: S311
        if self._stop.wait(wait if wait is not None else backoff):
            raise Stopped


def _reason(error: Exception) -> str:
    """The innermost cause in a few words: requests wraps errors several times, with URLs that do not help."""
    cause: BaseException = error
    while cause.__cause__ is not None or cause.__context__ is not None:
        cause = cause.__cause__ or cause.__context__ or cause
    return str(cause) or type(cause).__name__


def _check_range(response: requests.Response, stored: StoredObject, first: int, last: int) -> None:
    """Insist that the answer is the asked range of the known object. Raises IntegrityError or TransferError."""
    etag = response.headers.get("ETag")
    if etag is not None and etag != f'"{stored.sha256}"':
        raise IntegrityError(f"{stored.key} at the gateway is another object now ({etag})", "tell its publisher")
    if response.status_code == 200:
        if (first, last) != (0, stored.size - 1):
            raise TransferError(f"the gateway ignored the range asked of {stored.key}", "check the proxies on the way")
        return
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if not found or tuple(map(int, found.groups())) != (first, last, stored.size):
        raise IntegrityError(
            f"the gateway answered with range {response.headers.get('Content-Range')!r} of {stored.key} "
            f"where bytes {first}-{last}/{stored.size} were asked",
            "check the proxies on the way",
        )


def _retry_after(response: requests.Response) -> float | None:
    """Seconds of Retry-After; None without one. A date is rare enough to be taken as none."""
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() else None
