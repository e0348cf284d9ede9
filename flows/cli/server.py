"""A Prefect server for one command, where none is configured.

Prefect would start one itself; but a Ctrl-C in a terminal would reach it too, so that the flow could not say how it
ended, and a killed command would leave it behind. Behind a guard neither happens.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lading.settings import Settings
from lading.stack.part import Part
from lading.stack.ports import HOST, free_port

READY_S = 120.0


@contextmanager
def prefect_server(settings: Settings) -> Iterator[None]:
    """Have PREFECT_API_URL lead to a server while the body runs; one that is configured is left alone.

    Its state lies in LADING_HOME.
    """
    if os.environ.get("PREFECT_API_URL"):
        yield
        return
    port = free_port()
    home = settings.home / "prefect"
    server = _start(settings, home, port)
    try:
        # Imported while the server starts: both take seconds.
        from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

        import flows.release  # noqa: F401

        updates: dict[Any, Any] = {PREFECT_API_URL: f"http://{HOST}:{port}/api", PREFECT_HOME: home}
        if PREFECT_API_URL.value():
            # A profile or a file of settings names one.
            _end(server)
            updates = {}
        else:
            server.wait_ready(f"http://{HOST}:{port}/api/health", READY_S)
        with temporary_settings(updates=updates):
            yield
    finally:
        _end(server)


def _start(settings: Settings, home: Path, port: int) -> Part:
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)]
    environment = {
        **os.environ,
        "PREFECT_HOME": str(home),
        "PREFECT_UI_ENABLED": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    log = settings.home / "logs" / "prefect.log"
    return Part("Prefect server", [*command, "--no-services"], environment, Path.cwd(), log)


def _end(server: Part) -> None:
    server.stop()
    server.wait()
