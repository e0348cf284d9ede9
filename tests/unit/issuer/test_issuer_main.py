"""`python -m issuer` as a process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import requests

from issuer import apikeys
from issuer.server import listen
from lading.settings import Settings
from lading.stack.ports import free_port


@pytest.fixture
def environment(settings: Settings) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LADING_")}
    return {
        **inherited,
        "LADING_HOME": str(settings.home),
        "LADING_ISSUER_SECRET": str(settings.issuer_secret),
        "LADING_GATEWAY_URL": "http://127.0.0.1:1",
        "LADING_S3_ENDPOINT": "http://127.0.0.1:9",
    }


def issuer(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "issuer", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_new_key_prints_a_key(environment: dict[str, str]) -> None:
    assert apikeys.parse(issuer(environment, "new-key").stdout.strip()) is not None


def test_bootstrap_prints_the_jwks_and_nothing_else(environment: dict[str, str]) -> None:
    environment["LADING_BOOTSTRAP_API_KEY"] = apikeys.generate().text
    first, second = issuer(environment, "bootstrap"), issuer(environment, "bootstrap")
    assert first.returncode == second.returncode == 0
    assert first.stdout == second.stdout
    assert first.stdout.count("\n") == 1
    assert json.loads(first.stdout)["keys"][0]["alg"] == "EdDSA"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("LADING_ISSUER_SECRET", "", "LADING_ISSUER_SECRET is not set"),
        ("LADING_ISSUER_SECRET", "short", "too short"),
        ("LADING_BOOTSTRAP_API_KEY", "lad_x", "LADING_BOOTSTRAP_API_KEY is no API key"),
        ("LADING_DATABASE_URL", "sqlite:////dev/null/x.db", "cannot be made"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(environment: dict[str, str], name: str, value: str, message: str) -> None:
    result = issuer({**environment, name: value}, "bootstrap")
    assert result.returncode == 2
    assert result.stdout == ""
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_taken_port_is_one_clear_line(environment: dict[str, str]) -> None:
    issuer(environment, "bootstrap")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = issuer(environment, "serve", "--port", str(port))
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert f"127.0.0.1:{port}" in result.stderr
    assert "--port" in result.stderr


def test_small_answers_are_not_held_back() -> None:
    # asyncio turns Nagle's algorithm off for sockets whose protocol is named; else each answer takes 40 ms.
    with listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_and_the_log_holds_no_query(
    environment: dict[str, str], number: signal.Signals
) -> None:
    issuer(environment, "bootstrap")
    port = free_port()
    command = [sys.executable, "-m", "issuer", "serve", "--port", str(port)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                assert requests.get(f"http://127.0.0.1:{port}/healthz?token=hidden", timeout=10).ok
                break
            except requests.ConnectionError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0
    assert out == ""
    assert "GET /healthz 200" in err
    assert "hidden" not in err
    assert "Traceback" not in err
