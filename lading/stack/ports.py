"""Ports of this machine that a part of a stack is to listen on."""

from __future__ import annotations

import socket

from lading.errors import UsageError

HOST = "127.0.0.1"


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def check_port(port: int, what: str, option: str, host: str = HOST) -> None:
    """Raise UsageError, which names the option for another, if `port` is taken. 0 never is."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UsageError(
                f"port {port} for the {what} is taken ({error.strerror})",
                f"stop what uses it, or give another with {option}",
            ) from error
