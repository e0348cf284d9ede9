"""A pull that is killed goes on where it stopped."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from running_stack import RunningStack
from trees import listing, text

KILLS = int(os.environ.get("TESTS_KILLS", "50"))
"""TESTS_KILLS=100 takes some minutes."""

JOBS = 4
REFETCH_SHARE = 0.2
"""Of the bytes that were there, at most so many are fetched again; but of little, a chunk for each job may be lost: it
was being written, and the journal did not know of it yet."""

REFETCH_SHARE_OF_ALL = 0.1
"""The same over all kills together."""

MAX_CHUNK_BYTES = 4 * 1024 * 1024

NURSERY = f"""
import json, os, sys
from pathlib import Path
from lading.client import steps
from lading.client.pull import pull

for line in sys.stdin:
    dataset, dest, result = json.loads(line)
    child = os.fork()
    if child == 0:
        Path(result).write_text(json.dumps(pull(dataset, Path(dest), jobs={JOBS}).to_json()))
        os._exit(0)
    print(child, flush=True)
    sys.stdin.readline()
    print(os.waitpid(child, 0)[1], flush=True)
"""
"""Runs each pull in a child that has the imports behind it: a hundred starts of Python would take longer than the
pulls. It prints the child's pid, and when it is asked how the child ended."""


@pytest.fixture(scope="module")
def released(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A dataset that takes a while to pull: about 25 MB in large and small files."""
    from flows.release import release

    source = tmp_path_factory.mktemp("killed") / "source"
    source.mkdir()
    for number in range(2):
        (source / f"large-{number}.bin").write_bytes(random.Random(number).randbytes(10_000_000))
    for number in range(250):
        (source / f"many-{number}.txt").write_bytes(text(10_000 + number, 20_000))
    release(source=str(source), dataset="killed", version="v1", smoke=False)
    return "killed", source


def on_disk(dest: Path) -> int:
    """Bytes of files, complete or not, that are there: holes and Lading's own tables do not count."""
    total = 0
    for folder, folders, files in os.walk(dest):
        if Path(folder) == dest / ".lading":
            folders[:] = ["partial"]
            files = []
        for name in files:
            try:
                status = (Path(folder) / name).lstat()
            except FileNotFoundError:
                continue  # it was moved to its place meanwhile
            total += min(status.st_size, status.st_blocks * 512)
    return total


def half_made(dest: Path) -> list[Path]:
    """Partial files that hold some chunks."""
    found = []
    for path in (dest / ".lading/partial").glob("*"):
        try:
            if path.stat().st_size > 3_000_000:
                found.append(path)
        except FileNotFoundError:
            continue  # it was moved to its place meanwhile
    return found


class Nursery:
    """Starts pulls that can be killed."""

    def __init__(self, stack: RunningStack, dataset: str, result: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", NURSERY],
            env=stack.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._dataset, self._result = dataset, result

    def pulls(self, dest: Path) -> int:
        """Begin a pull; returns its process id."""
        self._result.unlink(missing_ok=True)
        self._say(json.dumps([self._dataset, str(dest), str(self._result)]))
        return self._line()

    def ended(self) -> dict[str, int] | None:
        """Wait for the pull; its result, or None if it was killed."""
        self._say("")
        status = self._line()
        assert status in (0, signal.SIGKILL), f"the pull ended with status {status}"
        return json.loads(self._result.read_text()) if status == 0 else None

    def close(self) -> None:
        self._process.communicate()

    def _say(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _line(self) -> int:
        assert self._process.stdout
        return int(self._process.stdout.readline())


@pytest.mark.slow
@pytest.mark.timeout(max(300, 6 * KILLS))
def test_a_pull_killed_at_random_moments_goes_on_where_it_stopped(
    stack: RunningStack, released: tuple[str, Path], tmp_path: Path
) -> None:
    dataset, source = released
    chosen = random.Random(20)
    expected = listing(source)
    total = sum(path.stat().st_size for path in source.rglob("*") if path.is_file() and not path.is_symlink())
    nursery = Nursery(stack, dataset, tmp_path / "result")
    killed = all_there = all_kept = 0
    for attempt in range(KILLS):
        dest = tmp_path / f"dest-{attempt}"
        child = nursery.pulls(dest)
        # A moment is chosen by what is written, which takes a time of its own on each machine; or near the beginning
        # or the end, when the state is read and written.
        share = chosen.uniform(-0.1, 1.1)
        while on_disk(dest) < min(share, 1) * total and not (tmp_path / "result").exists():
            time.sleep(0.002)
        if not 0 < share < 1:
            time.sleep(chosen.uniform(0, 0.2))
        os.kill(child, signal.SIGKILL)
        killed += nursery.ended() is None
        there = on_disk(dest)

        nursery.pulls(dest)
        result = nursery.ended()

        assert result is not None
        kept = result["already_bytes"] + result["resumed_bytes"]
        lost = there - kept
        assert lost <= max(REFETCH_SHARE * there, JOBS * MAX_CHUNK_BYTES), f"attempt {attempt}: {lost} of {there} lost"
        all_there, all_kept = all_there + there, all_kept + kept
        assert listing(dest) == expected
        assert not list((dest / ".lading").glob("partial/*"))
        shutil.rmtree(dest)
    nursery.close()
    print(f"{killed} of {KILLS} were killed; {all_there} bytes were there, {all_kept} were kept")
    assert all_there - all_kept <= REFETCH_SHARE_OF_ALL * all_there
    assert killed >= KILLS // 2, "most of the pulls were over before they could be killed"


def test_a_half_made_file_that_was_damaged_is_made_anew(
    stack: RunningStack, released: tuple[str, Path], tmp_path: Path
) -> None:
    dataset, source = released
    dest = tmp_path / "dest"
    command = [sys.executable, "-m", "lading", "pull", dataset, str(dest), "--quiet", "--jobs", "2"]
    process = subprocess.Popen(command, env=stack.environment)
    while process.poll() is None and not half_made(dest):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    partials = half_made(dest)
    assert partials, "the pull was over before it could be killed"
    for path in partials:
        path.write_bytes(bytes(path.stat().st_size))

    subprocess.run(command, env=stack.environment, check=True)

    assert listing(dest) == listing(source)


def test_a_second_pull_into_the_same_folder_is_refused_while_the_first_runs(
    stack: RunningStack, released: tuple[str, Path], tmp_path: Path
) -> None:
    from filelock import FileLock

    dest = tmp_path / "dest"
    (dest / ".lading").mkdir(parents=True)
    with FileLock(dest / ".lading/lock"):
        done = stack.lading("pull", released[0], str(dest))
    assert done.returncode == 6
    assert done.stderr == f"lading: another pull is at work in {dest}; wait for it, then pull again\n"
