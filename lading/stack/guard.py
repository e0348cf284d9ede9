"""A guard around one child process: run as `python -m lading.stack.guard COMMAND...`.

It ends the child with all its descendants when its standard input closes. The parent holds the other end of that pipe,
so however the parent ends, SIGKILL included, no process is left behind. It imports nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

GRACE_S = 5.0
"""How long the child may take to end after SIGTERM before it is killed."""


def main(command: list[str]) -> int:
    """Run `command` in a process group of its own; returns its exit code."""
    # Ctrl-C goes to the whole foreground group: the parent decides what happens then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(_end(child)))
    threading.Thread(target=_watch, args=(child,), daemon=True).start()
    code = child.wait()
    _signal_group(child, signal.SIGKILL)
    return code


def _watch(child: subprocess.Popen[bytes]) -> None:
    """Block until the parent's end of the pipe is closed, then end the child's group."""
    while os.read(0, 4096):
        pass
    os._exit(_end(child))


def _end(child: subprocess.Popen[bytes]) -> int:
    _signal_group(child, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    while time.monotonic() < deadline and _alive(child):
        time.sleep(0.02)
    _signal_group(child, signal.SIGKILL)
    return 0


def _alive(child: subprocess.Popen[bytes]) -> bool:
    """Whether any process of the group is left. Zombies of ours are reaped, so that they do not count."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    try:
        os.killpg(child.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _signal_group(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
