"""A gateway with faults: an HTTP proxy in this process that spoils answers as a schedule says.

It speaks to one upstream by requests of its own, so that what it spoils is exact: a fault is applied to the next answer
of the kind that it is for, then answers are right again.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

FAULTS = (
    "reset",
    "reset early",
    "truncate",
    "stall",
    "slow",
    "duplicate",
    "429",
    "429 wait",
    "500",
    "503",
    "expired",
    "wrong bytes",
    "wrong content-range",
    "whole for a range",
    "wrong etag",
    "garbage",
)

FATAL = frozenset({"wrong content-range", "wrong etag", "whole for a range"})
"""Faults that no retry makes right: the client gives up with a clear error."""


class FaultProxy:
    """Proxy of one gateway. `schedule` holds the faults to come; None lets an answer pass. Thread-safe."""

    def __init__(self, upstream: str, *, stall_s: float = 2.0) -> None:
        self.schedule: deque[str | None] = deque()
        self.applied: list[str] = []
        self.requests = 0
        self.connections = 0
        self.open_stalls = threading.Event()
        self._upstream = upstream
        self._stall_s = stall_s
        self._chosen = random.Random(7)
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                outer.connections += 1
                super().setup()

            def do_GET(self) -> None:
                with contextlib.suppress(OSError):
                    outer._serve(self)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_: object) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self._sessions = threading.local()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _next(self) -> str | None:
        with self._lock:
            self.requests += 1
            fault = self.schedule.popleft() if self.schedule else None
            if fault is not None:
                self.applied.append(fault)
            return fault

    def _fetch(self, path: str, headers: dict[str, str]) -> requests.Response:
        session = getattr(self._sessions, "session", None)
        if session is None:
            session = self._sessions.session = requests.Session()
            session.trust_env = False
        return session.get(self._upstream + path, headers=headers, timeout=30)

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        fault = self._next()
        asked = {
            name: value
            for name, value in handler.headers.items()
            if name.lower() in ("authorization", "range", "accept-encoding", "user-agent")
        }
        if fault in ("429", "429 wait", "500", "503", "expired"):
            self._problem(handler, fault)
            return
        if fault == "reset early":
            _reset(handler)
            return
        if fault == "garbage":
            handler.wfile.write(b"\x00\xff not HTTP at all\r\n\r\n")
            handler.close_connection = True
            return
        if fault == "whole for a range":
            asked.pop("Range", None)
        answer = self._fetch(handler.path, asked)
        body = answer.content
        headers = {
            name: answer.headers[name]
            for name in ("Content-Type", "Content-Range", "ETag", "Accept-Ranges")
            if name in answer.headers
        }
        if fault == "wrong bytes" and body:
            spoilt = bytearray(body)
            for _ in range(3):
                spoilt[self._chosen.randrange(len(spoilt))] ^= self._chosen.randrange(1, 256)
            body = bytes(spoilt)
        if fault == "wrong etag":
            headers["ETag"] = '"' + "0" * 64 + '"'
        if fault == "wrong content-range" and "Content-Range" in headers:
            first, rest = headers["Content-Range"].removeprefix("bytes ").split("-", 1)
            headers["Content-Range"] = f"bytes {int(first) + 1}-{rest}"
        sent = body + body[: self._chosen.randrange(1, 5000)] if fault == "duplicate" else body
        handler.send_response(answer.status_code)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        half = self._chosen.randrange(len(body) + 1)
        if fault == "reset":
            handler.wfile.write(body[:half])
            _reset(handler)
        elif fault == "truncate":
            handler.wfile.write(body[:half])
            handler.close_connection = True
        elif fault == "stall":
            handler.wfile.write(body[: min(half, len(body) - 1)])
            handler.wfile.flush()
            self.open_stalls.set()
            time.sleep(self._stall_s)
            handler.close_connection = True
        elif fault == "slow":
            step = max(1, len(body) // 20)
            for start in range(0, len(body), step):
                handler.wfile.write(body[start : start + step])
                handler.wfile.flush()
                time.sleep(0.01)
        else:
            handler.wfile.write(sent)

    def _problem(self, handler: BaseHTTPRequestHandler, fault: str) -> None:
        status, code = {
            "429": (429, "rate_limited"),
            "429 wait": (429, "rate_limited"),
            "500": (500, "internal"),
            "503": (503, "origin_error"),
            "expired": (403, "token_expired"),
        }[fault]
        body = f'{{"title": "no", "code": "{code}", "request_id": "r"}}'.encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/problem+json")
        handler.send_header("Content-Length", str(len(body)))
        if fault == "429 wait":
            handler.send_header("Retry-After", "1")
        handler.end_headers()
        handler.wfile.write(body)


def _reset(handler: BaseHTTPRequestHandler) -> None:
    """Close the connection with RST: what was sent may be lost on the way."""
    handler.wfile.flush()
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True
