"""The issuer under uvicorn, in one process."""

from __future__ import annotations

import logging
import signal
import socket
import sys

import uvicorn

from issuer.app import create_app
from lading.errors import UsageError
from lading.settings import Settings

GRACE_SECONDS = 10
"""How long running requests may take after SIGTERM."""

_log = logging.getLogger("issuer")


def serve(settings: Settings, host: str, port: int, trust_proxy: str | None = None) -> None:
    """Serve until SIGTERM or SIGINT. `trust_proxy` lists addresses whose X-Forwarded-For is believed.

    Raises UsageError if the port is taken or a setting is missing.
    """
    _log_to_stderr()
    listener = listen(host, port)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        access_log=False,  # uvicorn's would hold query strings; issuer.middleware writes ours
        log_config=None,
        proxy_headers=trust_proxy is not None,
        forwarded_allow_ips=trust_proxy or "",
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    # uvicorn raises the signal again after its clean shutdown; that must not turn success into death by signal.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    _log.info("listening on http://%s:%d", host, listener.getsockname()[1])
    uvicorn.Server(config).run(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket; port 0 is any free one. Raises UsageError if the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only where the protocol is named; without it, each answer waits 40 ms for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(1024)
    except (OSError, OverflowError) as error:
        listener.close()
        raise UsageError(
            f"cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}",
            "stop what listens there, or choose another --port",
        ) from error
    return listener


def _log_to_stderr() -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for noisy in ("botocore", "boto3", "urllib3", "s3transfer", "uvicorn.error"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
