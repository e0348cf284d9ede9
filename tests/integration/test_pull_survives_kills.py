"""A pull that is killed goes on where it stopped."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from running_stack import RunningStack
from trees import listing, text, varied

KILLS = 20
REFETCH_SHARE = 0.2


@pytest.fixture(scope="module")
def released(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A dataset that takes a while to pull: about 100 MB in large and small files."""
    from flows.release import release

    source = varied(tmp_path_factory.mktemp("killed") / "source")
    for number in range(4):
        (source / f"more-{number}.bin").write_bytes(random.Random(number).randbytes(18_000_000))
    for number in range(400):
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


@pytest.mark.slow
def test_a_pull_killed_at_random_moments_goes_on_where_it_stopped(
    stack: RunningStack, released: tuple[str, Path], tmp_path: Path
) -> None:
    dataset, source = released
    chosen = random.Random(20)
    expected = listing(source)
    total = sum(path.stat().st_size for path in source.rglob("*") if path.is_file() and not path.is_symlink())
    killed = 0
    for attempt in range(KILLS):
        dest = tmp_path / f"dest-{attempt}"
        command = [sys.executable, "-m", "lading", "pull", dataset, str(dest), "--quiet", "--json", "--jobs", "4"]
        process = subprocess.Popen(command, env=stack.environment, stdout=subprocess.DEVNULL)
        # A moment is chosen by what is written: start-up takes a time of its own on each machine.
        enough = chosen.uniform(0.02, 0.95) * total
        while process.poll() is None and on_disk(dest) < enough:
            time.sleep(0.002)
        killed += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        there = on_disk(dest)

        done = subprocess.run(command, env=stack.environment, capture_output=True, text=True, check=True)

        result = json.loads(done.stdout)
        kept = result["already_bytes"] + result["resumed_bytes"]
        assert there - kept <= REFETCH_SHARE * there, f"attempt {attempt}: {there} bytes were there, {kept} were kept"
        assert listing(dest) == expected
        assert not list((dest / ".lading").glob("partial/*"))
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
