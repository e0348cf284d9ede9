"""A Prefect server for one command, where none is configured.

Prefect would start one itself; but a Ctrl-C in a terminal would reach it too, so that the flow could not say how it
ended, and a killed command would leave it behind. Behind a guard neither happens.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lading.settings import Settings
from lading.stack.part import Part

READY_S = 120.0


@contextmanager
def prefect_server(settings: Settings) -> Iterator[None]:
    """Have PREFECT_API_URL lead to a server while the body runs; one that is configured is left alone.

    Its state lies in LADING_HOME.
    """
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

    if PREFECT_API_URL.value():
        yield
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = settings.home / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    home = settings.home / "prefect"
    environment = {
        **os.environ,
        "PREFECT_HOME": str(home),
        "PREFECT_UI_ENABLED": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    server = Part("Prefect server", [*command, "--no-services"], environment, Path.cwd(), folder / "prefect.log")
    try:
        server.wait_ready(f"http://127.0.0.1:{port}/api/health", READY_S)
        with temporary_settings(updates={PREFECT_API_URL: f"http://127.0.0.1:{port}/api", PREFECT_HOME: home}):
            yield
    finally:
        server.stop()
        server.wait()
