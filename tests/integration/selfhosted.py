"""A gateway that `lading gateway --selfhost` runs."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from running_stack import RunningStack

READY_S = 60.0


@contextmanager
def selfhosted(stack: RunningStack, home: Path, **settings: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Its URL and the process of the command, which is ended as a service manager would."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**stack.environment, "LADING_HOME": str(home), **settings}
    program = "from lading.cli.gateway import app; app()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "--selfhost", "--port", str(port)], env=environment, stderr=subprocess.PIPE
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url, process)
        yield url, process
    finally:
        process.terminate()
        process.communicate(timeout=30)


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_S
    while True:
        try:
            if requests.get(f"{url}/healthz", timeout=5).status_code == 200:
                return
        except requests.RequestException:
            pass
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
