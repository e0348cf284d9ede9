"""The guard, with real processes: whatever happens to the parent, nothing is left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

GUARD = [sys.executable, "-m", "lading.stack.guard"]

FAMILY = """
import os, signal, subprocess, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
stubborn = sys.argv[2] == "stubborn"
if stubborn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if sys.argv[3] == "child":
    subprocess.Popen([sys.executable, "-c", Path(folder / "family.py").read_text(), folder, sys.argv[2], "grandchild"])
partial = folder / f"{sys.argv[3]}.partial"
partial.write_text(str(os.getpid()))
partial.rename(folder / sys.argv[3])
time.sleep(600)
"""
"""A child that starts a grandchild; each writes its process id. A stubborn one ignores SIGTERM."""


def running(pid: int) -> bool:
    """Whether a process lives; a zombie that its adoptive parent has not reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return condition()


class Family:
    """The command to guard, and the processes that it started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "family.py").write_text(FAMILY)

    def command(self, kind: str = "tame") -> list[str]:
        return [sys.executable, str(self.folder / "family.py"), str(self.folder), kind, "child"]

    def pids(self) -> list[int]:
        assert wait_until(lambda: all((self.folder / name).exists() for name in ("child", "grandchild")))
        return [int((self.folder / name).read_text()) for name in ("child", "grandchild")]

    def is_gone(self) -> bool:
        return wait_until(lambda: not any(map(running, self.pids())))


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    made = Family(tmp_path)
    yield made
    for name in ("child", "grandchild"):
        if (tmp_path / name).exists():
            pid = int((tmp_path / name).read_text())
            if running(pid):
                os.kill(pid, signal.SIGKILL)


def test_closing_the_pipe_ends_child_and_grandchild(family: Family) -> None:
    with subprocess.Popen([*GUARD, *family.command()], stdin=subprocess.PIPE) as guard:
        assert all(map(running, family.pids()))
        assert guard.stdin is not None
        guard.stdin.close()
        assert family.is_gone()


def test_processes_that_ignore_sigterm_are_killed(family: Family) -> None:
    code = "import sys; from lading.stack import guard; guard.GRACE_S = 0.3; sys.exit(guard.main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *family.command("stubborn")]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as guard:
        family.pids()
        assert guard.stdin is not None
        guard.stdin.close()
        assert family.is_gone()


def test_a_parent_that_is_killed_leaves_nothing_behind(family: Family) -> None:
    parent = (
        "import subprocess, sys, time\n"
        f"guard = subprocess.Popen({[*GUARD, *family.command()]!r}, stdin=subprocess.PIPE)\n"
        "print(guard.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        guard = int(process.stdout.readline())
        family.pids()
        process.kill()
        assert family.is_gone()
        assert wait_until(lambda: not running(guard))


def test_a_guard_that_is_killed_leaves_nothing_behind(family: Family) -> None:
    with subprocess.Popen([*GUARD, *family.command()], stdin=subprocess.PIPE) as guard:
        family.pids()
        guard.kill()
        assert family.is_gone()


def test_sigterm_to_the_guard_ends_child_and_grandchild(family: Family) -> None:
    with subprocess.Popen([*GUARD, *family.command()], stdin=subprocess.PIPE) as guard:
        family.pids()
        guard.terminate()
        assert family.is_gone()


def test_a_grandchild_does_not_outlive_a_child_that_ends_by_itself(family: Family) -> None:
    with subprocess.Popen([*GUARD, *family.command()], stdin=subprocess.PIPE) as guard:
        os.kill(family.pids()[0], signal.SIGKILL)
        assert family.is_gone()
        guard.wait(10)


def test_ctrl_c_is_left_to_the_parent(family: Family) -> None:
    with subprocess.Popen([*GUARD, *family.command()], stdin=subprocess.PIPE) as guard:
        family.pids()
        guard.send_signal(signal.SIGINT)
        time.sleep(0.2)
        assert guard.poll() is None
        assert all(map(running, family.pids()))
        assert guard.stdin is not None
        guard.stdin.close()
        assert family.is_gone()


@pytest.mark.parametrize("code", [0, 3])
def test_the_exit_code_is_the_childs(code: int) -> None:
    command = [*GUARD, sys.executable, "-c", f"raise SystemExit({code})"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as guard:
        assert guard.wait(20) == code
