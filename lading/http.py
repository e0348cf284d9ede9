"""The one HTTP session factory, and how failed requests become errors."""

from __future__ import annotations

import contextlib
import platform
import socket
import weakref
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from lading import __version__
from lading.errors import AccessError, LadingError, NotFoundError, TransferError, UsageError
from lading.paths import printable

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 30.0
"""How long a silent connection is waited for; a slow one that still sends is not cut off."""

REFUSED_STATUS = (400, 406, 413, 414, 422)
"""Statuses of a request that is wrong as it stands. Only a problem document makes them the caller's fault: a proxy on
the way has other reasons."""

TIMEOUT = (CONNECT_TIMEOUT_S, READ_TIMEOUT_S)

USER_AGENT = f"lading/{__version__} python/{platform.python_version()} {platform.system().lower()}"


class Session(requests.Session):
    """A requests session whose open connections another thread can end."""

    def __init__(self, connections: int) -> None:
        super().__init__()
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        adapter = _Adapter(self._sockets, connections)
        self.mount("http://", adapter)
        self.mount("https://", adapter)
        self.headers.update({"User-Agent": USER_AGENT, "Accept-Encoding": "identity"})

    def abort(self) -> None:
        """End every open connection: threads that wait for bytes fail at once."""
        for opened in list(self._sockets):
            with contextlib.suppress(OSError):
                # The plain socket's method: an SSLSocket would drop its TLS state under the reading thread.
                socket.socket.shutdown(opened, socket.SHUT_RDWR)


class _Adapter(HTTPAdapter):
    """Makes connections that note their socket."""

    def __init__(self, sockets: weakref.WeakSet[socket.socket], connections: int) -> None:
        self._sockets = sockets
        super().__init__(pool_connections=4, pool_maxsize=connections, pool_block=False)

    def get_connection_with_tls_context(self, *arguments: Any, **options: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*arguments, **options)
        if not hasattr(pool.ConnectionCls, "noted_in"):
            pool.ConnectionCls = _noting(pool.ConnectionCls, self._sockets)
        return pool


def _noting(connection: Any, sockets: weakref.WeakSet[socket.socket]) -> Any:
    """A connection class that notes the socket of each connection once it is made."""

    class Noting(connection):  # type: ignore[misc]
        noted_in = sockets

        def connect(self) -> None:
            super().connect()
            if isinstance(self.sock, socket.socket):
                sockets.add(self.sock)

    return Noting


def session(connections: int = 8) -> Session:
    """A session that keeps up to `connections` connections per host alive; proxies come from the environment.

    It never asks for a content coding: ranges and hashes are over the stored bytes.
    """
    return Session(connections)


def problem(response: requests.Response) -> dict[str, Any]:
    """The RFC 9457 problem document of an error answer; empty if it has none."""
    if "problem+json" not in response.headers.get("Content-Type", ""):
        return {}
    try:
        document = response.json()
    except (ValueError, requests.RequestException):
        return {}
    return document if isinstance(document, dict) else {}


def error_of(response: requests.Response, what: str) -> LadingError:
    """The error for an answer that is not a success. `what` names the thing that was asked for.

    The message carries the server's words and its request id, so that an operator can find the request in the log.
    """
    document = problem(response)
    code = document.get("code")
    said = document.get("detail") or document.get("title") or response.reason
    request_id = document.get("request_id") or response.headers.get("X-Request-Id")
    details = ", ".join(
        part for part in (f"HTTP {response.status_code}", code, f"request {request_id}" if request_id else None) if part
    )
    message = printable(f"{what}: {str(said).rstrip('.')} ({details})")
    if response.status_code == 401:
        return AccessError(message, "check LADING_API_KEY, or run 'lading login' again")
    if response.status_code == 403:
        return AccessError(message, "ask the dataset's owner for access")
    if response.status_code == 404:
        return NotFoundError(message, "check the name; 'lading ls' lists what there is")
    if response.status_code in REFUSED_STATUS and code:
        return UsageError(message, "mend what was asked for")
    return TransferError(message, "try again; what was fetched is kept")
