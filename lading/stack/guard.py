"""A guard around one child process: run as `python -m lading.stack.guard COMMAND...`.

It ends the child with all its descendants when its standard input closes. The parent holds the other end of that pipe,
so however the parent ends, SIGKILL included, no process is left behind. A second process watches the guard itself in
the same way. It imports nothing but the standard library.
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

DONE = b"done"
"""What the guard tells its deputy when no process is left."""


def main(command: list[str]) -> int:
    """Run `command` in a process group of its own; returns its exit code."""
    # Ctrl-C goes to the whole foreground group: the parent decides what happens then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    deputy = _start_deputy()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    os.write(deputy, b"%d\n" % child.pid)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(_end(child.pid, deputy)))
    threading.Thread(target=_watch, args=(child.pid, deputy), daemon=True).start()
    code = child.wait()
    _signal_group(child.pid, signal.SIGKILL)
    os.write(deputy, DONE)
    return code


def _start_deputy() -> int:
    """Fork a process that ends the child should the guard be killed; returns the end of the pipe that tells it of both.

    It reads the child's process id, and DONE when nothing is left to do; the pipe closes with the guard, however that
    ends. A death signal (PR_SET_PDEATHSIG) would reach the child alone, and not what the child has started.
    """
    reader, writer = os.pipe()
    if os.fork():
        os.close(reader)
        return writer
    os.setsid()
    os.close(writer)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Whoever reads the guard's output waits for its end.
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nothing, standard)
    told = b""
    while part := os.read(reader, 4096):
        told += part
    if told and not told.endswith(DONE):
        _end_group(int(told))
    os._exit(0)


def _watch(group: int, deputy: int) -> None:
    """Block until the parent's end of the pipe is closed, then end the child's group."""
    while os.read(0, 4096):
        pass
    os._exit(_end(group, deputy))


def _end(group: int, deputy: int) -> int:
    _end_group(group)
    os.write(deputy, DONE)
    return 0


def _end_group(group: int) -> None:
    _signal_group(group, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    while time.monotonic() < deadline and _alive(group):
        time.sleep(0.02)
    _signal_group(group, signal.SIGKILL)


def _alive(group: int) -> bool:
    """Whether any process of the group is left. Zombies of ours are reaped, so that they do not count."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
