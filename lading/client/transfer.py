"""Transfer: one ranged request at a time, checked, and gone on with where it broke off."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import requests
import urllib3

from lading.client.access import Access
from lading.client.pace import RateLimit, Slots, StallWatch
from lading.errors import IntegrityError, LadingError, TransferError
from lading.http import TIMEOUT, error_of, problem

MAX_ATTEMPTS = 6
"""Failures in a row, without progress between them, after which a transfer gives up."""

PROGRESS_BYTES = 64 * 1024
"""As many bytes, or the rest of a piece, are progress. Fewer are not: a server that sends a byte and breaks off would
keep a transfer busy for ever."""

BLOCK_BYTES = 256 * 1024
"""Most bytes that are read at once."""

BACKOFF_BASE_S = 0.25
BACKOFF_MAX_S = 15.0
RETRY_AFTER_MAX_S = 120.0
"""Longer waits that a server asks for are an error: the user shall know, not sit there."""

RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
BUSY_STATUS = frozenset({429, 503})

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

    `on_bytes` is called with the number of bytes of each block that came over the wire. At most `jobs` requests run at
    once, fewer while the gateway says that it is busy; a wait that it asks for holds for all threads.
    """

    def __init__(
        self,
        session: requests.Session,
        access: Access,
        on_bytes: Callable[[int], None] = lambda count: None,
        stop: threading.Event | None = None,
        *,
        jobs: int = 16,
        rate_limit: RateLimit | None = None,
    ) -> None:
        self._session = session
        self._access = access
        self._on_bytes = on_bytes
        self._stop = stop or threading.Event()
        self._rate_limit = rate_limit
        self._slots = Slots(jobs)
        self._busy_until = float("-inf")

    def whole(self, key: str, limit: int) -> bytes:
        """A whole small object of at most `limit` bytes. Raises NotFoundError, AccessError, TransferError."""
        for attempt in _Attempts(self._stop, key):
            try:
                with self._get(key, {}) as response:
                    promised = int(response.headers.get("Content-Length") or limit + 1)
                    data = bytearray()
                    for block in self._blocks(response, min(promised, limit + 1)):
                        data += block
                    if len(data) > limit:
                        raise IntegrityError(f"{key} is larger than {limit} bytes", "tell its publisher")
                    if "Content-Length" in response.headers and len(data) != promised:
                        raise _BrokenOff("the answer ended early")
                    return bytes(data)
            except _FAILURES as error:
                attempt.failed(error, self._note_busy(error))
        raise AssertionError("unreachable")

    def pieces(self, stored: StoredObject, pieces: list[tuple[int, int]]) -> Iterator[bytes | bytearray]:
        """Yield the (offset, length) pieces of an object in order, by one request from the first to the last.

        Gaps between pieces are read and thrown away. When the transfer breaks off, it goes on at the byte that is
        missing. Raises IntegrityError if the object is another one now.
        """
        return self._pieces(stored, pieces, self._slots)

    def again(self, stored: StoredObject, offset: int, length: int) -> bytes | bytearray:
        """One piece once more, for who iterates over `pieces`: it runs in the slot which that holds. To wait for a
        second slot would be for ever, where every thread holds one and waits."""
        (piece,) = self._pieces(stored, [(offset, length)], None)
        return piece

    def _pieces(
        self, stored: StoredObject, pieces: list[tuple[int, int]], slots: Slots | None
    ) -> Iterator[bytes | bytearray]:
        done = 0
        piece = bytearray()
        last = pieces[-1][0] + pieces[-1][1] - 1
        for attempt in _Attempts(self._stop, stored.key):
            if slots and not slots.take(self._stop):
                raise Stopped
            well = False
            try:
                first = position = pieces[done][0] + len(piece)
                with self._get(stored.key, {"Range": f"bytes={first}-{last}"}) as response:
                    _check_range(response, stored, first, last)
                    while done < len(pieces):
                        offset, length = pieces[done]
                        for block in self._blocks(response, offset - position):
                            position += len(block)
                        if position < offset:
                            raise _BrokenOff("the answer ended early")
                        for block in self._blocks(response, length - len(piece)):
                            piece += block
                            attempt.progressed(len(block))
                        if len(piece) < length:
                            raise _BrokenOff("the answer ended early")
                        position = offset + length
                        done += 1
                        attempt.progressed(PROGRESS_BYTES)
                        complete, piece = piece, bytearray()
                        yield complete
                well = True
                return
            except _FAILURES as error:
                failure = error
            finally:
                if slots:
                    slots.give_back(well=well)
            attempt.failed(failure, self._note_busy(failure))

    def _blocks(self, response: requests.Response, wanted: int) -> Iterator[bytes]:
        """Blocks of a body as they come, `wanted` bytes in all or fewer if it ends."""
        watch = StallWatch()
        most = self._rate_limit.block if self._rate_limit else BLOCK_BYTES
        while wanted > 0:
            if self._stop.is_set():
                raise Stopped
            began = time.monotonic()
            block = response.raw.read1(min(wanted, most))
            if not block:
                return
            stalled = watch.stalled(time.monotonic() - began, len(block))
            wanted -= len(block)
            self._on_bytes(len(block))
            yield block
            if stalled:
                raise _BrokenOff("it hardly moved")
            if self._rate_limit and self._stop.wait(self._rate_limit.delay(len(block))):
                raise Stopped

    def _note_busy(self, error: Exception) -> float | None:
        """The wait that a busy server asked for, in seconds; it holds for every thread."""
        if not isinstance(error, _Retriable):
            return None
        if error.busy:
            self._slots.shrink()
        if error.wait is not None and error.wait <= RETRY_AFTER_MAX_S:
            self._busy_until = max(self._busy_until, time.monotonic() + error.wait)
        return error.wait

    def _get(self, key: str, headers: dict[str, str]) -> requests.Response:
        """A successful answer with its body unread. A token that the gateway calls expired is renewed: the first time
        at once, then as any other failure that may pass, with a wait between."""
        for renewed in (False, True):
            if self._stop.wait(max(0.0, self._busy_until - time.monotonic())):
                raise Stopped
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
                if response.status_code == 403 and problem(response).get("code") == "token_expired":
                    self._access.renew(token)
                    if not renewed:
                        continue
                    raise _Retriable(_always_expired(key), None, busy=False)
                error = error_of(response, f"fetching {key}")
                if response.status_code in RETRIED_STATUS:
                    raise _Retriable(error, _retry_after(response), busy=response.status_code in BUSY_STATUS)
                raise error
        raise AssertionError("unreachable")


class _BrokenOff(Exception):  # noqa: N818 - never leaves this module
    """A body ended before its promised length."""


class _Retriable(Exception):  # noqa: N818 - never leaves this module
    """An answer that may be different next time; `wait` is how long the server asks to wait, in seconds."""

    def __init__(self, error: LadingError, wait: float | None, *, busy: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.wait = wait
        self.busy = busy


def _always_expired(key: str) -> TransferError:
    return TransferError(
        f"fetching {key}: the gateway calls every token expired, new ones too",
        "its clock and the issuer's differ: tell who runs them, then try again; what was fetched is kept",
    )


_FAILURES = (requests.RequestException, urllib3.exceptions.HTTPError, OSError, _BrokenOff, _Retriable)


class _Attempts:
    """Iterates over attempts with exponential backoff and full jitter; progress begins a new count."""

    def __init__(self, stop: threading.Event, what: str) -> None:
        self._stop = stop
        self._what = what
        self._failures = 0
        self._progress = 0

    def __iter__(self) -> Iterator[_Attempts]:
        while True:
            if self._stop.is_set():
                raise Stopped
            yield self

    def progressed(self, count: int) -> None:
        """`count` bytes came that stay."""
        self._progress += count
        if self._progress >= PROGRESS_BYTES:
            self._progress = 0
            self._failures = 0

    def failed(self, error: Exception, wait: float | None) -> None:
        """Wait for the next attempt, `wait` seconds if the server asked for that. Raises when there is none."""
        if self._stop.is_set():
            raise Stopped
        self._failures += 1
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
