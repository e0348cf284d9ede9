"""Events and log files for the tests, of the shapes that the gateway and the issuer write."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SHARD = "imagenet-mini/shards/" + "ab" * 32 + ".tar.zst"
_numbers = itertools.count(1)


def request(**fields: Any) -> dict[str, Any]:
    """A served request for 1,000 bytes of a shard; `fields` replace its values."""
    return {
        "v": 1,
        "type": "request",
        "id": f"r{next(_numbers)}",
        "ts": "2026-11-18T12:00:00.000Z",
        "method": "GET",
        "dataset": "imagenet-mini",
        "key": SHARD,
        "status": 206,
        "code": "ok",
        "range_start": 0,
        "range_end": 999,
        "object_size": 5000,
        "bytes_expected": 1000,
        "bytes_sent": 1000,
        "completed": True,
        "cache": "miss",
        "origin_requests": 1,
        "origin_bytes": 1000,
        "origin_status": 206,
        "ttfb_ms": 3.5,
        "duration_ms": 9,
        "jti": "j1",
        "sub": "ada",
        "prj": "vision",
        "kid": "k1",
        "ip": "192.0.2.7",
        "country": "DE",
        "colo": "FRA",
        "asn": 64496,
        "user_agent": "lading/0.1.0",
    } | fields


def refused(code: str, status: int, **fields: Any) -> dict[str, Any]:
    """A request that got no data."""
    nothing = {"bytes_expected": 0, "bytes_sent": 0, "origin_requests": 0, "origin_bytes": 0, "cache": "bypass"}
    return request(code=code, status=status, **nothing | fields)


def issue(**fields: Any) -> dict[str, Any]:
    """A token given out for version v1 with jti j1; `fields` replace its values."""
    return {
        "v": 1,
        "type": "issue",
        "id": f"i{next(_numbers)}",
        "ts": "2026-11-18T11:59:00.000Z",
        "jti": "j1",
        "sub": "ada",
        "prj": "vision",
        "kid": "k1",
        "dataset": "imagenet-mini",
        "version": "v1",
        "keys": None,
        "ttl_s": 300,
        "granted": True,
        "code": "ok",
        "reason": None,
        "ip": "192.0.2.7",
        "user_agent": "lading/0.1.0",
    } | fields


def ndjson(events: Iterable[dict[str, Any] | str]) -> bytes:
    """Lines of JSON; a str is taken as a line as it is."""
    return "".join((e if isinstance(e, str) else json.dumps(e)) + "\n" for e in events).encode()


def write_log(
    folder: Path,
    name: str,
    events: Iterable[dict[str, Any] | str],
    *,
    producer: str = "gateway",
    day: str = "2026-11-18",
) -> Path:
    """Write a gzipped log object where the producer would."""
    path = folder / f"logs/{producer}/dt={day}/hh=12/{name}.ndjson.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(ndjson(events)))
    return path
