"""Multipart uploads that go on where they stopped.

What the store has taken is noted in a journal on the uploader's disk: R2 gives parts opaque ETags, and not every store
lists the parts of an unfinished upload. Each part carries its MD5 (or SHA-256), which the store checks.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from lading.errors import NotFoundError, SourceError
from lading.parallel import ordered_map

PART_BYTES = 16 * 1024 * 1024
"""Size of parts: R2 wants all parts equal but the last, and 5 MiB at least."""

MAX_PARTS = 10_000
"""S3's and R2's limit; larger objects get larger parts."""

UPLOAD_THREADS = 4
"""Parallel parts of one upload; each holds one part in memory."""

MIB = 1024 * 1024


class Store(Protocol):
    """What is needed of a bucket: one S3 operation on it, with Lading's errors."""

    def call(self, operation: str, key: str, **arguments: Any) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Content:
    """What is uploaded: a file of `size` bytes that does not change, to `key`, as `create` describes it."""

    path: Path
    size: int
    key: str
    create: dict[str, Any]

    @property
    def part_bytes(self) -> int:
        return max(PART_BYTES, -(-self.size // MAX_PARTS // MIB) * MIB)

    @property
    def parts(self) -> int:
        return -(-self.size // self.part_bytes)


@dataclass
class _Begun:
    """An upload that the store knows, and the parts that it has: number (from 1) to what completing takes."""

    upload_id: str
    parts: dict[int, dict[str, Any]] = field(default_factory=dict)


def checksum(data: bytes, *, sha256: bool) -> dict[str, str]:
    """The arguments by which a store checks what it is sent: its SHA-256 where it can, its MD5 else."""
    if sha256:
        return {"ChecksumSHA256": base64.b64encode(hashlib.sha256(data).digest()).decode()}
    return {"ContentMD5": base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()}


def upload(
    store: Store,
    content: Content,
    *,
    sha256: bool,
    journal: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Upload a file in parallel parts; returns the bytes that were sent.

    With a `journal`, a later call for the same content uploads only what is missing; without one, a failure drops what
    was stored. With `sha256` the store checks that of each part. `progress` is called with counts of bytes.
    """
    begun = _resumed(content, journal) or _begin(store, content, journal, sha256)
    try:
        try:
            sent = _complete(store, content, begun, journal, progress, sha256)
        except NotFoundError:
            # Somebody else dropped or completed it: garbage collection, or a second run.
            begun = _begin(store, content, journal, sha256)
            sent = _complete(store, content, begun, journal, progress, sha256)
    except BaseException:
        if journal is None:
            # The failure that led here is what the user is to hear of; garbage collection finds what is left.
            with suppress(Exception):
                abort(store, content.key, begun.upload_id)
        raise
    if journal is not None:
        journal.unlink(missing_ok=True)
    return sent


def _begin(store: Store, content: Content, journal: Path | None, sha256: bool) -> _Begun:
    algorithm = {"ChecksumAlgorithm": "SHA256"} if sha256 else {}
    answer = store.call("create_multipart_upload", content.key, Key=content.key, **content.create, **algorithm)
    begun = _Begun(answer["UploadId"])
    if journal is not None:
        journal.parent.mkdir(parents=True, exist_ok=True)
        journal.write_text(json.dumps({**_identity(content), "upload_id": begun.upload_id}) + "\n")
    return begun


def _identity(content: Content) -> dict[str, Any]:
    return {"key": content.key, "size": content.size, "part_bytes": content.part_bytes}


def _resumed(content: Content, journal: Path | None) -> _Begun | None:
    """What the journal says of this content; None if nothing. A line that a kill cut off is as if it were not there."""
    if journal is None or not journal.exists():
        return None
    begun: _Begun | None = None
    for line in _lines(journal):
        if begun is not None:
            begun.parts[line["PartNumber"]] = line
        elif {name: line.get(name) for name in _identity(content)} == _identity(content):
            begun = _Begun(line["upload_id"])
        else:
            return None
    return begun


def _lines(journal: Path) -> Iterator[dict[str, Any]]:
    *lines, cut_off = journal.read_bytes().split(b"\n")
    if cut_off:
        # What is noted next is to be a line of its own.
        os.truncate(journal, journal.stat().st_size - len(cut_off))
    yield from map(json.loads, lines)


def _complete(
    store: Store,
    content: Content,
    begun: _Begun,
    journal: Path | None,
    progress: Callable[[int], None] | None,
    sha256: bool,
) -> int:
    missing = [number for number in range(1, content.parts + 1) if number not in begun.parts]
    if progress and begun.parts:
        progress(sum(_part_length(content, number) for number in begun.parts))
    with (
        content.path.open("rb") as file,
        ThreadPoolExecutor(UPLOAD_THREADS, thread_name_prefix="upload") as pool,
    ):

        def send(number: int) -> dict[str, Any]:
            length = _part_length(content, number)
            data = os.pread(file.fileno(), length, (number - 1) * content.part_bytes)
            if len(data) != length:
                raise SourceError(f"{content.path} changed while it was uploaded", "run the release again")
            checked = checksum(data, sha256=sha256)
            answer = store.call(
                "upload_part",
                content.key,
                Key=content.key,
                UploadId=begun.upload_id,
                PartNumber=number,
                Body=data,
                **checked,
            )
            part = {"PartNumber": number, "ETag": answer["ETag"]}
            return {**part, **checked} if sha256 else part

        for part in ordered_map(pool, send, missing, pending=UPLOAD_THREADS):
            begun.parts[part["PartNumber"]] = part
            if journal is not None:
                with journal.open("a") as lines:
                    lines.write(json.dumps(part) + "\n")
            if progress:
                progress(_part_length(content, part["PartNumber"]))
    store.call(
        "complete_multipart_upload",
        content.key,
        Key=content.key,
        UploadId=begun.upload_id,
        MultipartUpload={"Parts": [begun.parts[number] for number in sorted(begun.parts)]},
    )
    return sum(_part_length(content, number) for number in missing)


def _part_length(content: Content, number: int) -> int:
    return min(content.part_bytes, content.size - (number - 1) * content.part_bytes)


def abort(store: Store, key: str, upload_id: str) -> None:
    """Drop the parts of an unfinished upload; it is no error if it is over meanwhile."""
    with suppress(NotFoundError):
        store.call("abort_multipart_upload", key, Key=key, UploadId=upload_id)
