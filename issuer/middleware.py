"""What happens to every request: an id, a bound on its body, one line in the access log."""

from __future__ import annotations

import json
import logging
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from issuer.problems import problem

MAX_BODY_BYTES = 128 * 1024
"""Room for MAX_KEYS keys of the longest length, and some."""

_access = logging.getLogger("issuer.access")


class RequestGuard:
    """ASGI middleware: sets `scope["request_id"]` and `X-Request-Id`, refuses large bodies, logs without queries."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = scope["request_id"] = uuid.uuid4().hex
        started = time.perf_counter()
        status = 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            refusal = _body_fault(Headers(scope=scope))
            if refusal is None:
                await self._app(scope, receive, send_with_id)
            else:
                await problem(Request(scope), *refusal)(scope, receive, send_with_id)
        finally:
            client = scope.get("client")
            _access.info(
                "%s %s %s %d %.1f ms %s",
                client[0] if client else "-",
                scope["method"],
                json.dumps(scope["path"])[1:-1],  # a path is the caller's text: no line breaks in the log
                status,
                (time.perf_counter() - started) * 1000,
                request_id,
            )


def _body_fault(headers: Headers) -> tuple[int, str, str] | None:
    """Status, code and detail of what is wrong with the announced body, or None."""
    if "transfer-encoding" in headers:
        return 411, "length_required", "send the body with a Content-Length"
    length = headers.get("content-length", "0")
    if length.isascii() and length.isdigit() and int(length) > MAX_BODY_BYTES:
        return 413, "content_too_large", f"send a body of {MAX_BODY_BYTES} bytes or less"
    return None
