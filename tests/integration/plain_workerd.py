"""A gateway on plain workerd in front of a store with one large sparse object: for tests of the process itself."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.plain_gateway import plain_gateway
from lading.stack.part import wait_ready
from lading.stack.selfhost import EVENT_PREFIX, build

READY_S = 30.0
EVENT_S = 15.0
ETAG = '"v1"'
KEY = "big/object"


@dataclass
class Gateway:
    """The running process; `events` are the request events that it has printed."""

    port: int
    token: str
    process: subprocess.Popen[str]
    events: list[dict[str, Any]] = field(default_factory=list)

    def ask(self, first: int, last: int, receive_buffer: int | None = None) -> socket.socket:
        """A connection on which one range of the object was asked for."""
        client = socket.socket()
        client.settimeout(60)
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.connect(("127.0.0.1", self.port))
        request = f"GET /d/{KEY}?token={self.token} HTTP/1.1\r\nHost: g\r\nConnection: close\r\n"
        client.sendall(f"{request}Range: bytes={first}-{last}\r\n\r\n".encode())
        return client

    def event(self, number: int) -> dict[str, Any]:
        """The event of that number, counted from 0. Fails when it does not come."""
        deadline = time.monotonic() + EVENT_S
        while len(self.events) <= number:
            assert time.monotonic() < deadline, f"only {len(self.events)} events came"
            time.sleep(0.02)
        return self.events[number]

    def resident_bytes(self) -> int:
        """Memory of the process that is in use now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024


def read_head(client: socket.socket) -> bytes:
    """Read the header of the answer, byte by byte so that nothing of the body is taken."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = client.recv(1)
        assert byte, head
        head += byte
    return head


def read_exactly(client: socket.socket, count: int) -> int:
    """Read `count` bytes of the body, or up to its end; returns their number."""
    buffer = bytearray(1024 * 1024)
    done = 0
    while done < count:
        received = client.recv_into(buffer, min(len(buffer), count - done))
        if not received:
            break
        done += received
    return done


@contextlib.contextmanager
def running_gateway(object_bytes: int, store_delay_s: float = 0.0, **settings: str) -> Iterator[Gateway]:
    """A gateway in front of an object of that many zero bytes. `settings` are the Worker's own.

    The store answers each GET after `store_delay_s`.
    """
    build()
    store_context = _sparse_store(object_bytes, store_delay_s)
    with tempfile.TemporaryDirectory(prefix="lading-workerd-") as folder, store_context as store:
        plain = plain_gateway(Path(folder), store, KEY.partition("/")[0] + "/", **settings)
        process = subprocess.Popen(plain.command, env=plain.environment, stdout=subprocess.PIPE, text=True)
        gateway = Gateway(plain.port, plain.token, process)
        reader = threading.Thread(target=_collect, args=(gateway,), daemon=True)
        reader.start()
        try:
            wait_ready("gateway", f"http://127.0.0.1:{plain.port}/healthz", READY_S, lambda: _assert_runs(process))
            yield gateway
        finally:
            process.terminate()
            process.wait()
            reader.join()


def _assert_runs(process: subprocess.Popen[str]) -> None:
    assert process.poll() is None


def _collect(gateway: Gateway) -> None:
    assert gateway.process.stdout is not None
    for line in gateway.process.stdout:
        if line.startswith(EVENT_PREFIX):
            gateway.events.append(json.loads(line))


@contextlib.contextmanager
def _sparse_store(object_bytes: int, delay_s: float) -> Iterator[str]:
    """An S3 endpoint with one object; its bytes are zeros that lie on no disk."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._head(200, object_bytes, {})

        def do_GET(self) -> None:
            found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"])
            assert found is not None
            first, last = int(found[1]), int(found[2])
            time.sleep(delay_s)
            self._head(206, last - first + 1, {"Content-Range": f"bytes {first}-{last}/{object_bytes}"})
            with contextlib.suppress(OSError):
                self.connection.sendfile(sparse, first, last - first + 1)

        def _head(self, status: int, length: int, fields: dict[str, str]) -> None:
            self.send_response(status)
            fields = {"ETag": ETAG, "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT", **fields}
            for name, value in {**fields, "Content-Length": str(length)}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.flush()

        def log_message(self, *_: object) -> None:
            pass

    with tempfile.TemporaryFile() as sparse:
        sparse.truncate(object_bytes)
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            server.server_close()
