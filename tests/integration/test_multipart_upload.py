"""Multipart uploads to the real store: broken off, resumed, dropped by somebody else, damaged on the way."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running_stack import RunningStack

from lading import multipart
from lading.errors import StorageError
from lading.objectstore import Bucket, bucket

PART = 5 * 1024 * 1024
"""The least that S3 and R2 take."""

PARTS = 5


class Watched(Bucket):
    """The real bucket; `before` sees every operation first and may change its arguments or fail."""

    def __init__(self, real: Bucket, *, checks_sha256: bool = False) -> None:
        super().__init__(real.client, real.name, checks_sha256=checks_sha256)
        self.sent: list[int] = []
        self.before: Callable[[str, dict[str, Any]], None] = lambda operation, arguments: None

    def call(self, operation: str, key: str, **arguments: Any) -> dict[str, Any]:
        self.before(operation, arguments)
        answer = super().call(operation, key, **arguments)
        if operation == "upload_part":
            self.sent.append(arguments["PartNumber"])
        return answer


@pytest.fixture
def watched(stack: RunningStack, monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.setattr(multipart, "PART_BYTES", PART)
    monkeypatch.setattr(multipart, "UPLOAD_THREADS", 1)
    return Watched(bucket(stack.settings))


@pytest.fixture
def content(tmp_path: Path, dataset: str) -> tuple[Path, str, str]:
    """A file of PARTS parts, its key and its SHA-256."""
    path = tmp_path / "object"
    path.write_bytes(random.Random(dataset).randbytes(PART * (PARTS - 1) + 12345))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return path, f"{dataset}/shards/{digest}.tar.zst", digest


def fail_at(part: int) -> Callable[[str, dict[str, Any]], None]:
    def before(operation: str, arguments: dict[str, Any]) -> None:
        if operation == "upload_part" and arguments["PartNumber"] == part:
            raise StorageError("the network is gone")

    return before


def is_stored(store: Bucket, content: tuple[Path, str, str]) -> bool:
    path, key, _ = content
    return store.get(key) == path.read_bytes()


def test_an_upload_that_broke_off_sends_the_rest_only(
    watched: Watched, content: tuple[Path, str, str], tmp_path: Path
) -> None:
    path, key, digest = content
    journal = tmp_path / "uploads" / "journal"
    watched.before = fail_at(4)
    with pytest.raises(StorageError, match="network is gone"):
        watched.upload(path, key, digest, journal=journal)
    assert watched.sent == [1, 2, 3]
    assert watched.head(key) is None

    watched.before = fail_at(0)
    counted: list[int] = []
    assert watched.upload(path, key, digest, journal=journal, progress=counted.append)

    assert watched.sent == [1, 2, 3, 4, 5]
    assert sum(counted) == path.stat().st_size
    assert is_stored(watched, content)
    assert not journal.exists()
    assert not watched.upload(path, key, digest, journal=journal), "it was sent although it is there"


def test_a_journal_that_a_kill_cut_off_is_good_for_what_it_says(
    watched: Watched, content: tuple[Path, str, str], tmp_path: Path
) -> None:
    path, key, digest = content
    journal = tmp_path / "journal"
    watched.before = fail_at(4)
    with pytest.raises(StorageError):
        watched.upload(path, key, digest, journal=journal)
    lines = journal.read_bytes()
    journal.write_bytes(lines[:-5])
    # Broken off a second time: what was noted after the cut has to be legible.
    watched.before = fail_at(5)
    with pytest.raises(StorageError):
        watched.upload(path, key, digest, journal=journal)
    watched.before = fail_at(0)
    assert watched.upload(path, key, digest, journal=journal)
    assert watched.sent == [1, 2, 3, 3, 4, 5]
    assert is_stored(watched, content)


@pytest.mark.parametrize("broken", ["dropped by somebody", "of another file", "empty"])
def test_a_journal_that_leads_nowhere_is_begun_anew(
    watched: Watched, content: tuple[Path, str, str], tmp_path: Path, broken: str
) -> None:
    path, key, digest = content
    journal = tmp_path / "journal"
    watched.before = fail_at(3)
    with pytest.raises(StorageError):
        watched.upload(path, key, digest, journal=journal)
    begun = json.loads(journal.read_text().splitlines()[0])
    if broken == "dropped by somebody":
        watched.call("abort_multipart_upload", key, Key=key, UploadId=begun["upload_id"])
    elif broken == "of another file":
        journal.write_text(json.dumps({**begun, "size": 1}) + "\n")
    else:
        journal.write_bytes(b"")
    watched.before = fail_at(0)
    watched.sent.clear()
    assert watched.upload(path, key, digest, journal=journal)
    assert watched.sent[-5:] == [1, 2, 3, 4, 5]
    assert is_stored(watched, content)


def test_without_a_journal_a_failure_leaves_nothing_in_the_store(
    watched: Watched, content: tuple[Path, str, str]
) -> None:
    path, key, digest = content
    begun: list[str] = []

    def before(operation: str, arguments: dict[str, Any]) -> None:
        if operation == "upload_part":
            begun.append(arguments["UploadId"])
        fail_at(2)(operation, arguments)

    watched.before = before
    with pytest.raises(StorageError, match="network is gone"):
        watched.upload(path, key, digest)
    watched.before = fail_at(0)
    with pytest.raises(Exception, match="no object"):
        watched.call("upload_part", key, Key=key, UploadId=begun[0], PartNumber=1, Body=b"x")


@pytest.mark.parametrize("size", [1000, PART * 2])
def test_bytes_that_change_on_the_way_are_refused_by_the_store(
    watched: Watched, dataset: str, tmp_path: Path, size: int
) -> None:
    path = tmp_path / "object"
    path.write_bytes(bytes(size))

    def damage(operation: str, arguments: dict[str, Any]) -> None:
        if "Body" in arguments:
            arguments["Body"] = b"x" + arguments["Body"][1:]

    watched.before = damage
    with pytest.raises(StorageError, match="BadDigest"):
        watched.upload(path, f"{dataset}/object", hashlib.sha256(bytes(size)).hexdigest())
    assert watched.head(f"{dataset}/object") is None


def test_parallel_parts_and_sha256_checks_make_the_same_object(
    watched: Watched, content: tuple[Path, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """This store ignores the SHA-256 of a part, which Amazon's verifies: it only shows that nothing else changes."""
    monkeypatch.setattr(multipart, "UPLOAD_THREADS", 4)
    path, key, digest = content
    store = Watched(watched, checks_sha256=True)
    algorithms: list[str] = []
    store.before = lambda operation, arguments: algorithms.extend(
        [arguments["ChecksumSHA256"]] if operation == "upload_part" else []
    )
    assert store.upload(path, key, digest)
    assert sorted(store.sent) == [1, 2, 3, 4, 5]
    assert len(set(algorithms)) == PARTS
    assert is_stored(store, content)


def test_parts_grow_with_the_object_so_that_it_never_has_too_many() -> None:
    for size in (1, 160 * 10**9, 167_772_160_001, 5 * 10**12):
        content = multipart.Content(Path("x"), size, "key", {})
        assert content.parts <= multipart.MAX_PARTS
        assert content.part_bytes >= multipart.PART_BYTES
        assert content.parts * content.part_bytes >= size
