"""`lading up` as a user runs it: ready when it says so, and nothing is left when it ends, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

READY_S = 60
END_S = 15


def processes_of(home: Path) -> list[str]:
    """Command lines of processes that know this home: by their arguments or by their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            known = (entry / "cmdline").read_bytes() + b"\0" + (entry / "environ").read_bytes()
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if str(home).encode() in known and state != "Z":
            found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return found


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    home = tmp_path / "home"
    process = subprocess.Popen(
        [sys.executable, "-m", "lading", "up", "--gateway-port", "0", "--issuer-port", "0"],
        env={**os.environ, "LADING_HOME": str(home)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    deadline = time.monotonic() + READY_S
    said = ""
    while "Ctrl-C ends it" not in said:
        assert process.poll() is None, said
        assert time.monotonic() < deadline, said
        said += process.stderr.readline()
    yield process, home
    process.kill()
    process.wait()


def settings_of(home: Path) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "lading", "env"],
        env={**os.environ, "LADING_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def assert_nothing_is_left(home: Path) -> None:
    deadline = time.monotonic() + END_S
    while processes_of(home) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(home) == []


def test_every_part_answers_when_it_says_that_it_is_ready(running: tuple[subprocess.Popen[str], Path]) -> None:
    environment = settings_of(running[1])
    for name in ("LADING_GATEWAY_URL", "LADING_ISSUER_URL"):
        assert requests.get(f"{environment[name]}/healthz", timeout=5).status_code == 200
    assert len(processes_of(running[1])) > 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_no_process_is_left_behind(running: tuple[subprocess.Popen[str], Path], number: signal.Signals) -> None:
    process, home = running
    process.send_signal(number)
    code = process.wait(END_S)
    assert code == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    assert_nothing_is_left(home)


def test_what_only_a_running_stack_needs_goes_with_it(running: tuple[subprocess.Popen[str], Path]) -> None:
    process, home = running
    process.send_signal(signal.SIGINT)
    process.wait(END_S)
    assert not (home / "stack.json").exists()
    assert {path.name for path in (home / "gateway").iterdir()} == {"state"}


def test_no_token_of_a_signed_link_is_kept(running: tuple[subprocess.Popen[str], Path]) -> None:
    process, home = running
    token = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJtYWxsb3J5In0.c2lnbmF0dXJl"
    gateway = settings_of(home)["LADING_GATEWAY_URL"]
    assert requests.get(f"{gateway}/d/data/latest.json?token={token}", timeout=5).status_code == 403
    process.send_signal(signal.SIGINT)
    process.wait(END_S)
    kept = [path for path in home.rglob("*") if path.is_file() and token.encode() in path.read_bytes()]
    assert kept == []


def test_a_part_that_crashes_ends_the_others(running: tuple[subprocess.Popen[str], Path]) -> None:
    process, home = running
    subprocess.run(
        ["pkill", "-KILL", "-f", f"issuer serve.*--port {settings_of(home)['LADING_ISSUER_URL'][-5:]}"], check=True
    )
    code = process.wait(END_S)
    assert process.stderr is not None
    assert code == 1
    assert "the issuer ended with exit code" in process.stderr.read()
    assert_nothing_is_left(home)


def test_secrets_are_for_the_owner_only_and_stay_the_same(running: tuple[subprocess.Popen[str], Path]) -> None:
    home = running[1]
    private = ["secrets.json", "publisher.pem", "gateway/run/wrangler.json"]
    assert {name: (home / name).stat().st_mode & 0o777 for name in private} == dict.fromkeys(private, 0o600)
    assert settings_of(home)["LADING_API_KEY"] == settings_of(home)["LADING_API_KEY"]
    logs = b"".join(path.read_bytes() for path in (home / "logs").rglob("*") if path.is_file())
    assert settings_of(home)["LADING_API_KEY"].encode() not in logs
    assert settings_of(home)["AWS_SECRET_ACCESS_KEY"].encode() not in logs
