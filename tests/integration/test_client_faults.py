"""Faults between client and gateway: every pull ends with the exact tree or a clear error, never with a wrong byte."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from faults import FATAL, FAULTS, FaultProxy
from running_stack import RunningStack
from trees import listing, text

from lading.client import pace, transfer
from lading.client.pull import PullResult, pull
from lading.client.state import State
from lading.errors import IntegrityError, LadingError, TransferError

SCHEDULES = int(os.environ.get("TESTS_SCHEDULES", "100"))
"""Random schedules of faults; TESTS_SCHEDULES=500 takes some minutes."""

SCHEDULES_AT_ONCE = 4
FILE_BYTES = 9_000_000


@pytest.fixture(scope="module")
def released(
    stack: RunningStack, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, dict[str, tuple[object, ...]]]:
    """A dataset of a few requests: small files, one of many chunks."""
    from flows.release import release

    source = tmp_path_factory.mktemp("faults") / "source"
    source.mkdir()
    for number in range(40):
        (source / f"{number:02d}.txt").write_bytes(text(number, 3000 * number + 10))
    (source / "large.bin").write_bytes(random.Random(1).randbytes(FILE_BYTES))
    release(source=str(source), dataset="faults", version="v1", smoke=False)
    return "faults", listing(source)


@pytest.fixture
def proxy(stack: RunningStack) -> Iterator[FaultProxy]:
    assert stack.settings.gateway_url
    running = FaultProxy(stack.settings.gateway_url)
    yield running
    running.close()


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of tests, not of people."""
    monkeypatch.setattr(transfer, "BACKOFF_BASE_S", 0.005)
    monkeypatch.setattr(transfer, "TIMEOUT", (2.0, 0.5))
    small_ranges(monkeypatch, 1_000_000)


def small_ranges(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Many requests for little data."""
    monkeypatch.setattr("lading.client.plan.RANGE_BYTES", size)
    monkeypatch.setattr("lading.client.plan.RANGE_MAX_BYTES", size)


def pull_by(proxy: FaultProxy, stack: RunningStack, dataset: str, dest: Path, **options: object) -> PullResult:
    settings = replace(stack.settings, gateway_url=proxy.url)
    return pull(dataset, dest, settings, jobs=4, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.usefixtures("_quick")
def test_each_fault_alone_is_overcome_or_named(
    stack: RunningStack, released: tuple[str, dict], proxy: FaultProxy, tmp_path: Path, fault: str
) -> None:
    dataset, expected = released
    # Manifest and signature pass, the third answer is a range.
    proxy.schedule.extend([None, None, None, None, None, fault])
    if fault in FATAL:
        with pytest.raises(LadingError, match=r"another object|answered with range|ignored the range") as caught:
            pull_by(proxy, stack, dataset, tmp_path / "dest")
        assert caught.value.hint
    else:
        pull_by(proxy, stack, dataset, tmp_path / "dest")
    assert proxy.applied == [fault]
    pull_by(proxy, stack, dataset, tmp_path / "dest")
    assert listing(tmp_path / "dest") == expected


def outcome(proxy: FaultProxy, stack: RunningStack, dataset: str, dest: Path) -> LadingError | None:
    """Pull; the error that it ended with."""
    try:
        pull_by(proxy, stack, dataset, dest)
    except LadingError as error:
        return error
    return None


def run_schedule(
    stack: RunningStack, released: tuple[str, dict], proxy: FaultProxy, dest: Path, seed: int
) -> LadingError | None:
    """Pull under one random schedule; returns the error that it ended with."""
    dataset, expected = released
    chosen = random.Random(seed)
    share = chosen.choice([0.1, 0.3, 0.6])
    harmless = [fault for fault in FAULTS if fault not in FATAL or chosen.random() < 0.1]
    proxy.schedule.clear()
    proxy.schedule.extend(chosen.choice(harmless) if chosen.random() < share else None for _ in range(40))
    error = outcome(proxy, stack, dataset, dest)
    if error is not None:
        assert isinstance(error, TransferError | IntegrityError), f"seed {seed}: {error!r}"
        assert error.hint, f"seed {seed}"
        # What is in its place already is right, too.
        there = {path: entry for path, entry in listing(dest).items() if path != "."} if dest.exists() else {}
        assert there.items() <= expected.items(), f"seed {seed}"
        proxy.schedule.clear()
        pull_by(proxy, stack, dataset, dest)
    assert listing(dest) == expected, f"seed {seed}"
    shutil.rmtree(dest)
    return error


@pytest.mark.slow
@pytest.mark.timeout(max(300, 4 * SCHEDULES))
@pytest.mark.usefixtures("_quick")
def test_random_faults_never_leave_a_wrong_byte(
    stack: RunningStack, released: tuple[str, dict], tmp_path: Path
) -> None:
    """Schedules run beside each other, each by a proxy of its own: most of their time is waiting."""
    proxies = [FaultProxy(str(stack.settings.gateway_url)) for _ in range(SCHEDULES_AT_ONCE)]

    def run(number: int) -> list[LadingError | None]:
        seeds = range(number, SCHEDULES, SCHEDULES_AT_ONCE)
        return [run_schedule(stack, released, proxies[number], tmp_path / f"dest-{seed}", seed) for seed in seeds]

    try:
        with ThreadPoolExecutor(SCHEDULES_AT_ONCE) as pool:
            ends = [error for some in pool.map(run, range(SCHEDULES_AT_ONCE)) for error in some]
        applied = Counter(fault for proxy in proxies for fault in proxy.applied)
    finally:
        for proxy in proxies:
            proxy.close()
    failed = [error for error in ends if error is not None]
    print(f"{len(ends)} schedules, {len(failed)} ended with an error; faults: {dict(applied)}")
    assert len(ends) == SCHEDULES
    assert len(failed) < SCHEDULES // 2
    assert set(applied) == set(FAULTS)


@pytest.mark.parametrize("moment", [0, 2, 5], ids=["manifest", "index", "shard"])
def test_ctrl_c_ends_a_stalled_pull_at_once_and_says_how_to_go_on(
    stack: RunningStack, released: tuple[str, dict], tmp_path: Path, moment: int
) -> None:
    dataset, expected = released
    proxy = FaultProxy(str(stack.settings.gateway_url), stall_s=25.0)
    try:
        proxy.schedule.extend([None] * moment + ["stall"] * 30)
        command = [sys.executable, "-m", "lading", "pull", dataset, str(tmp_path / "dest")]
        environment = {**stack.environment, "LADING_GATEWAY_URL": proxy.url}
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        assert proxy.open_stalls.wait(30)
        time.sleep(0.3)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
        took = time.monotonic() - began
    finally:
        proxy.close()
    assert process.returncode == 130, said
    assert took < 2.0
    assert said.splitlines()[-1].startswith("lading: interrupted; ")
    assert "run the same command to go on" in said
    assert "Traceback" not in said
    pull(dataset, tmp_path / "dest", stack.settings)
    assert listing(tmp_path / "dest") == expected


@pytest.mark.parametrize("arguments", [("ls", "faults@v1"), ("cat", "faults/large.bin"), ("show", "faults")])
def test_ctrl_c_ends_other_commands_with_one_line(
    stack: RunningStack, released: tuple[str, dict], arguments: tuple[str, ...], tmp_path: Path
) -> None:
    proxy = FaultProxy(str(stack.settings.gateway_url), stall_s=25.0)
    try:
        proxy.schedule.extend(["stall"] * 5)
        environment = {**stack.environment, "LADING_GATEWAY_URL": proxy.url, "LADING_HOME": str(tmp_path)}
        process = subprocess.Popen(
            [sys.executable, "-m", "lading", *arguments],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert proxy.open_stalls.wait(30)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=10)
    finally:
        proxy.close()
    assert (process.returncode, said) == (130, "lading: interrupted\n")


@pytest.mark.parametrize("command", ["ls", "pull"])
def test_ctrl_c_ends_a_condition_that_takes_for_ever(
    stack: RunningStack, released: tuple[str, dict], command: str, tmp_path: Path
) -> None:
    endless = "(SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE (a.range * b.range) % 7 = size % 7) > 0"
    arguments = [command, "faults@v1", *([str(tmp_path / "dest")] if command == "pull" else []), "--where", endless]
    process = subprocess.Popen(
        [sys.executable, "-m", "lading", *arguments],
        env=stack.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert said.splitlines()[-1].startswith("lading: interrupted")
    assert time.monotonic() - began < 3


def test_a_connection_that_hardly_moves_is_broken_off(
    stack: RunningStack, released: tuple[str, dict], proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "STALL_WINDOW_S", 0.05)
    monkeypatch.setattr(pace, "STALL_BYTES", 100_000_000)
    monkeypatch.setattr(transfer, "BACKOFF_BASE_S", 0.005)
    proxy.schedule.extend([None] * 5 + ["slow"])
    pull_by(proxy, stack, released[0], tmp_path / "dest")
    assert listing(tmp_path / "dest") == released[1]


def test_a_rate_limit_holds_over_all_connections(
    stack: RunningStack, released: tuple[str, dict], tmp_path: Path
) -> None:
    began = time.monotonic()
    result = pull(released[0], tmp_path / "dest", stack.settings, rate_limit=4_000_000)
    took = time.monotonic() - began
    assert listing(tmp_path / "dest") == released[1]
    assert took > result.fetched_bytes / 4_000_000 * 0.8
    assert took < result.fetched_bytes / 4_000_000 * 1.5 + 3


def test_connections_are_used_again(
    stack: RunningStack, released: tuple[str, dict], proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_ranges(monkeypatch, 500_000)
    pull_by(proxy, stack, released[0], tmp_path / "dest")
    assert proxy.requests > 10
    assert proxy.connections <= 5


def test_a_clock_that_is_wrong_or_jumps_changes_nothing(
    stack: RunningStack, released: tuple[str, dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time
    asked: list[float] = []
    for number, clock in enumerate((lambda: real() + 86_400, lambda: real() - 86_400, lambda: random.random() * 1e9)):
        monkeypatch.setattr(time, "time", clock)
        monkeypatch.setattr("lading.client.access._server_time", _noting(asked))
        asked.clear()
        pull(released[0], tmp_path / f"dest-{number}", stack.settings)
        assert len(asked) == 1, "the token was asked for again and again"
        assert listing(tmp_path / f"dest-{number}") == released[1]


def _noting(asked: list[float]) -> object:
    from lading.client import access

    original = access._server_time

    def noting(response: object) -> float:
        asked.append(0.0)
        return original(response)  # type: ignore[arg-type]

    return original if original.__name__ == "noting" else noting


def test_a_file_that_was_copied_before_a_kill_is_not_forgotten(
    stack: RunningStack, dataset: str, make_tree: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A renamed file is copied to its half-made form, then the old one goes; the pull dies before the new one is in
    its place."""
    from flows.release import release
    from lading.client.assembly import Assemblies

    tree = make_tree("v1", {"old.txt": b"content" * 1000, "other.txt": b"other"})  # type: ignore[operator]
    release(source=str(tree), dataset=dataset, version="v1", smoke=False)
    dest = tmp_path / "dest"
    pull(dataset, dest, stack.settings)
    (tree / "old.txt").rename(tree / "new.txt")
    release(source=str(tree), dataset=dataset, version="v2", smoke=False)
    with monkeypatch.context() as patched:
        patched.setattr(Assemblies, "finish_complete", lambda self: (_ for _ in ()).throw(SystemExit("killed")))
        with pytest.raises(SystemExit):
            pull(dataset, dest, stack.settings)
    assert not (dest / "old.txt").exists()

    result = pull(dataset, dest, stack.settings)

    assert listing(dest) == listing(tree)
    assert result.fetched_bytes < 20_000


@pytest.mark.skipif(os.name == "nt", reason="permission bits")
def test_a_folder_that_cannot_be_written_is_one_clear_line(
    stack: RunningStack, released: tuple[str, dict], tmp_path: Path
) -> None:
    dest = tmp_path / "dest"
    dest.mkdir()
    if os.geteuid() == 0:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(dest)], capture_output=True)
        if mounted.returncode:
            pytest.skip("a read-only disk cannot be mounted here")
    else:
        dest.chmod(0o555)
    try:
        done = stack.lading("pull", released[0], str(dest))
    finally:
        if os.geteuid() == 0:
            subprocess.run(["umount", "-l", str(dest)], check=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"lading: {dest} cannot be written")
    assert done.stderr.count("\n") == 1


def test_the_lock_is_free_again_after_a_failure(
    stack: RunningStack, released: tuple[str, dict], proxy: FaultProxy, tmp_path: Path
) -> None:
    proxy.schedule.extend([None] * 5 + ["wrong etag"])
    with pytest.raises(IntegrityError, match="another object"):
        pull_by(proxy, stack, released[0], tmp_path / "dest")
    state = State(tmp_path / "dest")
    state.open()
    state.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pull-")]
    assert (
        json.loads(stack.lading("pull", released[0], str(tmp_path / "dest"), "--json", "--quiet").stdout)["files"] == 41
    )
