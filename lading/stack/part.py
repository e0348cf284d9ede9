"""One process of a stack behind a guard: start it, wait until it answers, notice its end, end it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import requests

from lading.errors import LadingError
from lading.http import session as http_session

STOP_TIMEOUT_S = 10.0
POLL_S = 0.1
LOG_TAIL_LINES = 8
PROBE_TIMEOUT_S = 5.0


class Part:
    """A guarded process with its log file."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        cwd: Path,
        log: Path,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        """Start `command`. Its output goes to the log; with `on_line` each line of stdout goes there instead."""
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._guard = subprocess.Popen(
                [sys.executable, "-m", "lading.stack.guard", *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if on_line else output,
                stderr=output,
                env=environment,
                cwd=cwd,
            )
        self._reader: threading.Thread | None = None
        if on_line:
            self._reader = threading.Thread(target=self._read, args=(on_line,), daemon=True)
            self._reader.start()

    def ended(self) -> int | None:
        """Exit code if the process has ended, else None."""
        return self._guard.poll()

    def check(self) -> None:
        """Raise LadingError with the end of the log if the process has ended."""
        code = self.ended()
        if code is not None:
            raise LadingError(f"the {self.name} ended with exit code {code}:\n{self.tail()}\n", f"look at {self.log}")

    def wait_ready(self, url: str, timeout_s: float) -> None:
        """Return when `url` answers 200.

        Raises LadingError when the process ends, when it says that a setting is wrong, and after `timeout_s` seconds.
        """
        wait_ready(self.name, url, timeout_s, self.check, f"look at {self.log}")

    def stop(self) -> None:
        """End the process and its descendants: closing the guard's input is the signal."""
        assert self._guard.stdin is not None
        self._guard.stdin.close()

    def wait(self) -> None:
        """Wait until all is gone, and all lines are read."""
        try:
            self._guard.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            self._guard.wait()
        if self._reader is not None:
            self._reader.join(STOP_TIMEOUT_S)

    def tail(self) -> str:
        """The last lines of the log, for an error message."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(f"  {line}" for line in lines[-LOG_TAIL_LINES:])

    def _read(self, on_line: Callable[[str], None]) -> None:
        assert self._guard.stdout is not None
        for line in self._guard.stdout:
            on_line(line.decode(errors="replace").rstrip("\r\n"))


def wait_ready(
    name: str, url: str, timeout_s: float, check: Callable[[], None], hint: str = "look at its output"
) -> None:
    """Return when `url` answers 200. `check` is called before each try, and raises if there is nothing to wait for.

    Raises LadingError when what answers says that a setting is wrong, and after `timeout_s` seconds.
    """
    deadline = time.monotonic() + timeout_s
    with http_session() as session:
        while True:
            check()
            try:
                answer = session.get(url, timeout=PROBE_TIMEOUT_S)
                if answer.status_code == 200:
                    return
                if "misconfigured" in answer.text:
                    raise LadingError(f"the {name} is misconfigured: {answer.text.strip()}", "correct that setting")
            except requests.RequestException:
                pass
            if time.monotonic() > deadline:
                raise LadingError(f"the {name} did not get ready in {timeout_s:.0f} seconds", hint)
            time.sleep(POLL_S)
