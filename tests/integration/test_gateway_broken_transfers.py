"""A transfer that a client breaks off while slices are being cached must not spoil the cache."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import requests
from running_stack import RunningStack

from lading.names import shard_key
from lading.objectstore import bucket

ROUNDS = 8


def test_a_client_that_leaves_in_the_middle_gets_the_right_rest(
    stack: RunningStack, dataset: str, tmp_path: Path
) -> None:
    from flows.release import release

    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a").write_bytes(b"a")
    release(source=str(tmp_path / "source"), dataset=dataset, version="v1", smoke=False)
    for _ in range(ROUNDS):
        data = os.urandom(30_000_000)
        digest = hashlib.sha256(data).hexdigest()
        (tmp_path / "object").write_bytes(data)
        key = shard_key(dataset, digest)
        bucket(stack.settings).upload(tmp_path / "object", key, digest)
        grant = requests.post(
            f"{stack.settings.issuer_url}/v1/tokens",
            json={"dataset": dataset},
            headers={"Authorization": f"Bearer {stack.settings.api_key}"},
            timeout=10,
        ).json()
        url = f"{stack.settings.gateway_url}/d/{key}"
        headers = {"Authorization": f"Bearer {grant['token']}"}
        with requests.get(url, headers=headers, stream=True, timeout=30) as broken:
            first = broken.raw.read(15_000_000)
        rest = requests.get(url, headers={**headers, "Range": f"bytes={len(first)}-"}, timeout=30)
        assert hashlib.sha256(first + rest.content).hexdigest() == digest
