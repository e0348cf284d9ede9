"""A gateway that `lading gateway --selfhost` runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from running_stack import RunningStack

from lading.stack.part import wait_ready
from lading.stack.ports import free_port

READY_S = 60.0


@contextmanager
def selfhosted(stack: RunningStack, home: Path, **settings: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Its URL and the process of the command, which is ended as a service manager would."""
    port = free_port()
    environment = {**stack.environment, "LADING_HOME": str(home), **settings}
    program = "from lading.cli.gateway import app; app()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "--selfhost", "--port", str(port)], env=environment, stderr=subprocess.PIPE
    )
    url = f"http://127.0.0.1:{port}"

    def check() -> None:
        assert process.poll() is None, process.communicate()

    try:
        wait_ready("gateway", f"{url}/healthz", READY_S, check)
        yield url, process
    finally:
        process.terminate()
        process.communicate(timeout=30)
