"""The self-hosted gateway: started by the command line, in front of the store of the local stack."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from running_stack import RunningStack
from selfhosted import selfhosted

from lading.errors import StorageError
from lading.objectstore import Bucket, bucket, s3_client
from lading.stack.selfhost import EventSpool, batches, trim

DENIED_WITHIN_S = 10.0


@pytest.fixture
def gateway(stack: RunningStack, tmp_path: Path) -> Iterator[str]:
    """The URL of a gateway that the command started; it is ended as a service manager would."""
    with selfhosted(stack, tmp_path / "home") as (url, process):
        yield url
    assert process.returncode == 0
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) != 0


def test_a_second_gateway_is_refused_in_one_line(stack: RunningStack, tmp_path: Path) -> None:
    with selfhosted(stack, tmp_path / "home") as (url, _):
        port = url.rpartition(":")[2]
        for home, code, words in (
            ("home", 6, f"a gateway runs in {tmp_path}/home/selfhost already"),
            ("other", 2, f"port {port} for the gateway is taken (Address already in use); stop what uses it, or give "),
        ):
            done = stack.lading("gateway", "--selfhost", "--port", port, LADING_HOME=str(tmp_path / home))
            assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
            assert words in done.stderr
        assert requests.get(f"{url}/healthz", timeout=10).status_code == 200


def token_for(stack: RunningStack, *scopes: str) -> str:
    """A token minted by the operator's command."""
    options = [argument for scope in scopes for argument in ("--scp", scope)]
    done = stack.lading("admin", "token", "--ttl", "300", "--sub", "selfhost-test", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_shards_are_served_and_the_events_reach_the_log_bucket(stack: RunningStack, gateway: str, dataset: str) -> None:
    data = os.urandom(3_000_000)
    digest = hashlib.sha256(data).hexdigest()
    key = f"{dataset}/shards/{digest}.tar.zst"
    bucket(stack.settings).put(key, data)
    headers = {"Authorization": f"Bearer {token_for(stack, f'{dataset}/')}"}
    for _ in range(2):
        answer = requests.get(f"{gateway}/d/{key}", headers=headers, timeout=10)
        assert (answer.status_code, answer.content == data) == (200, True)
        assert answer.headers["ETag"] == f'"{digest}"'
        time.sleep(0.5)

    logs = Bucket(s3_client(stack.settings), stack.settings.logs_bucket)
    deadline = time.monotonic() + 30
    events: list[dict[str, object]] = []
    while len(events) < 2:
        assert time.monotonic() < deadline, events
        time.sleep(0.5)
        lines = [
            line for found in logs.list("logs/gateway/") for line in gzip.decompress(logs.get(found.key)).splitlines()
        ]
        events = [event for event in map(json.loads, lines) if event["sub"] == "selfhost-test"]
    assert [event["cache"] for event in sorted(events, key=lambda event: str(event["ts"]))] == ["miss", "hit"]
    assert {event["ip"] for event in events} == {"127.0.0.0/24"}


def test_a_token_is_shut_out_by_the_admin_route(stack: RunningStack, gateway: str) -> None:
    reader = {"Authorization": f"Bearer {token_for(stack, 'anything/')}"}
    operator = {"Authorization": f"Bearer {token_for(stack, 'admin:denylist')}"}
    assert requests.get(f"{gateway}/d/anything/x", headers=reader, timeout=10).status_code == 404
    jti = json.loads(_payload(reader["Authorization"]))["jti"]
    entry = f"{gateway}/admin/denylist/jti/{jti}"
    assert requests.put(entry, headers=operator, timeout=10).status_code == 204
    deadline = time.monotonic() + DENIED_WITHIN_S
    while requests.get(f"{gateway}/d/anything/x", headers=reader, timeout=10).status_code != 403:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert requests.delete(entry, headers=operator, timeout=10).status_code == 204


def _payload(token: str) -> bytes:
    part = token.split(".")[1]
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _event(ts: str) -> str:
    return json.dumps({"v": 1, "type": "request", "ts": ts}, separators=(",", ":"))


def test_events_are_filed_by_their_hour_and_the_same_ones_under_the_same_name() -> None:
    lines = [_event("2026-01-31T09:59:59.999Z"), _event("2026-01-31T10:00:00.000Z"), "no JSON"]
    made = batches(lines)
    assert [key.rpartition("/")[0] for key, _ in made][:2] == [
        "logs/gateway/dt=2026-01-31/hh=09",
        "logs/gateway/dt=2026-01-31/hh=10",
    ]
    assert gzip.decompress(made[0][1]).decode() == lines[0] + "\n"
    assert batches(lines[:1]) == made[:1]


def test_events_wait_on_disk_while_the_store_is_down(tmp_path: Path) -> None:
    stored: dict[str, bytes] = {}

    def down(key: str, data: bytes) -> None:
        raise StorageError("the store is down", "wait")

    spool = EventSpool(tmp_path, down)
    spool.add(_event("2026-01-31T09:00:00Z"))
    with pytest.raises(StorageError):
        spool.flush()
    EventSpool(tmp_path, stored.__setitem__).flush()
    assert [gzip.decompress(data) for data in stored.values()] == [_event("2026-01-31T09:00:00Z").encode() + b"\n"]
    assert not list(tmp_path.rglob("*.gz"))


def test_the_oldest_slices_go_first(tmp_path: Path) -> None:
    for age, name in enumerate(["new", "middle", "old"]):
        path = tmp_path / "aa" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(10))
        os.utime(path, (1000 - age, 1000 - age))
    assert trim(tmp_path, 20) == 10
    assert sorted(path.name for path in (tmp_path / "aa").iterdir()) == ["middle", "new"]
    assert trim(tmp_path, 20) == 0
