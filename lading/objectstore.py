"""The object store: the one S3 client factory, and the few operations that Lading needs of it.

Every object carries its SHA-256 as user metadata, because the gateway makes its strong ETag of it and because an S3
ETag of a multipart upload is no hash of the content.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from lading import multipart
from lading.errors import ConflictError, IntegrityError, NotFoundError, StorageError, UsageError
from lading.settings import Settings

SHA256_METADATA = "sha256"
# The gateway serves these bytes as they are. A textual type would invite proxies to compress them on the way.
CONTENT_TYPES = {
    ".tar.zst": "application/zstd",
    ".parquet": "application/vnd.apache.parquet",
    ".json": "application/json",
    ".sig": "application/jose",
    ".pack": "application/zstd",
}


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What the store says of an object: `size` in bytes, `etag` as sent, `sha256` in hex where known, and when it was
    written by the store's clock."""

    key: str
    size: int
    etag: str
    sha256: str | None = None
    modified: datetime | None = None


@dataclass(frozen=True, slots=True)
class UnfinishedUpload:
    """A multipart upload that was neither completed nor aborted: its parts cost storage and no listing shows them."""

    key: str
    upload_id: str
    started: datetime


def s3_client(settings: Settings, *, attempts: int = 5, read_timeout: float = 60) -> Any:
    """A boto3 S3 client for the configured store; thread-safe. Raises UsageError without credentials.

    A server whose callers wait gives fewer `attempts` and a shorter `read_timeout` (seconds) than a batch job.
    """
    session = boto3.session.Session()
    if session.get_credentials() is None:
        raise UsageError(
            "there are no credentials for the object store",
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use those of 'lading env'",
        )
    return session.client(
        "s3",
        endpoint_url=settings.s3_endpoint,
        region_name=settings.s3_region,
        config=Config(
            # R2 and other stores know neither virtual-hosted buckets on localhost nor the newer default checksums.
            s3={"addressing_style": "path"} if settings.s3_endpoint else {},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"mode": "standard", "max_attempts": attempts},
            connect_timeout=10,
            read_timeout=read_timeout,
            max_pool_connections=32,
        ),
    )


@functools.cache
def bucket(settings: Settings) -> Bucket:
    """The datasets' bucket. One client per process and configuration: it is thread-safe and keeps its connections."""
    # R2 and others ignore or refuse the SHA-256 of a part; every store checks an MD5.
    host = urlsplit(settings.s3_endpoint or "https://s3.amazonaws.com").hostname or ""
    return Bucket(s3_client(settings), settings.s3_bucket, checks_sha256=host.endswith(".amazonaws.com"))


def content_type(key: str) -> str:
    """The media type of an object, from its key."""
    return next((kind for end, kind in CONTENT_TYPES.items() if key.endswith(end)), "application/octet-stream")


class Bucket:
    """One bucket, with Lading's rules: hashes as metadata, immutable puts, errors with names."""

    def __init__(self, client: Any, name: str, *, checks_sha256: bool = False) -> None:
        """`checks_sha256`: the store verifies the SHA-256 of what it is sent, not its MD5 only."""
        self.client = client
        self.name = name
        self.checks_sha256 = checks_sha256

    def head(self, key: str) -> ObjectInfo | None:
        """Facts of an object, or None if it is not there."""
        try:
            answer = self.call("head_object", key, Key=key)
        except NotFoundError:
            return None
        sha256 = answer.get("Metadata", {}).get(SHA256_METADATA)
        return ObjectInfo(key, answer["ContentLength"], answer["ETag"], sha256, answer["LastModified"])

    def get(self, key: str) -> bytes:
        """A whole small object. Raises NotFoundError."""
        return self.get_with_etag(key)[0]

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """A whole small object and the ETag that a compare-and-swap needs. Raises NotFoundError."""
        answer = self.call("get_object", key, Key=key)
        try:
            return answer["Body"].read(), answer["ETag"]
        except (BotoCoreError, OSError) as error:
            raise StorageError(f"reading {key} from the store broke off: {error}", "try again") from error

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """A part of an object, `length` bytes from `offset`. Raises NotFoundError, StorageError."""
        answer = self.call("get_object", key, Key=key, Range=f"bytes={offset}-{offset + length - 1}")
        try:
            data: bytes = answer["Body"].read()
        except (BotoCoreError, OSError) as error:
            raise StorageError(f"reading {key} from the store broke off: {error}", "try again") from error
        if len(data) != length:
            raise StorageError(f"the store gave {len(data)} bytes of {key} where {length} were asked", "try again")
        return data

    def download(self, key: str, path: Path, sha256: str) -> None:
        """Fetch an object into `path`, atomically, and check its SHA-256 (hex). Raises IntegrityError."""
        partial = path.with_name(path.name + ".partial")
        digest = hashlib.sha256()
        answer = self.call("get_object", key, Key=key)
        with partial.open("wb") as file:
            for block in answer["Body"].iter_chunks(1024 * 1024):
                digest.update(block)
                file.write(block)
        if digest.hexdigest() != sha256:
            partial.unlink()
            raise IntegrityError(f"{key} in the store does not match its SHA-256", "run the release again with --full")
        partial.replace(path)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects under a prefix, in key order."""
        try:
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
            for page in pages:
                for item in page.get("Contents", []):
                    yield ObjectInfo(item["Key"], item["Size"], item["ETag"], modified=item["LastModified"])
        except (ClientError, BotoCoreError) as error:
            raise _translate(error, prefix, self.name) from error

    def folders(self, prefix: str = "") -> Iterator[str]:
        """The names right below a prefix that have something below them, in order, without the slash at the end."""
        try:
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.name, Prefix=prefix, Delimiter="/"
            )
            for page in pages:
                for item in page.get("CommonPrefixes", []):
                    yield item["Prefix"][len(prefix) : -1]
        except (ClientError, BotoCoreError) as error:
            raise _translate(error, prefix, self.name) from error

    def delete(self, key: str) -> None:
        """Remove an object; it is no error if it is not there."""
        self.call("delete_object", key, Key=key)

    def unfinished_uploads(self, prefix: str) -> tuple[UnfinishedUpload, ...] | None:
        """The multipart uploads under a prefix that nobody completed; None if the store cannot list them."""
        found = []
        try:
            for page in self.client.get_paginator("list_multipart_uploads").paginate(Bucket=self.name, Prefix=prefix):
                found += [
                    UnfinishedUpload(item["Key"], item["UploadId"], item["Initiated"])
                    for item in page.get("Uploads", [])
                ]
        except (ClientError, BotoCoreError) as error:
            if isinstance(error, ClientError) and error.response.get("Error", {}).get("Code") == "NotImplemented":
                return None
            raise _translate(error, prefix, self.name) from error
        return tuple(found)

    def abort_upload(self, upload: UnfinishedUpload) -> None:
        """Drop the parts of an unfinished upload; it is no error if it is over meanwhile."""
        multipart.abort(self, upload.key, upload.upload_id)

    def put(self, key: str, data: bytes) -> None:
        """Put a small object that has one writer, whatever was there."""
        self._put(key, data)

    def put_if_absent(self, key: str, data: bytes) -> None:
        """Put a small immutable object. Raises ConflictError if the key is taken."""
        self._put(key, data, IfNoneMatch="*")

    def swap(self, key: str, data: bytes, etag: str | None) -> None:
        """Put a small mutable object if its ETag is still `etag` (None: if it is not there). Raises ConflictError."""
        condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
        self._put(key, data, **condition)

    def upload(
        self,
        path: Path,
        key: str,
        sha256: str,
        *,
        journal: Path | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """Upload a file to a content-addressed key unless it is there already; returns the bytes that were sent.

        With a `journal` (a file that outlives a crash) an upload that broke off goes on where it stopped. `progress`
        is called with counts of bytes. Raises StorageError.
        """
        size = path.stat().st_size
        present = self.head(key)
        if present and present.size == size and present.sha256 == sha256:
            return 0
        facts = {"Metadata": {SHA256_METADATA: sha256}, "ContentType": content_type(key)}
        if size <= multipart.PART_BYTES:
            data = path.read_bytes()
            checked = multipart.checksum(data, sha256=self.checks_sha256)
            self.call("put_object", key, Key=key, Body=data, **checked, **facts)
            sent = size
            if progress:
                progress(size)
        else:
            content = multipart.Content(path, size, key, facts)
            sent = multipart.upload(self, content, sha256=self.checks_sha256, journal=journal, progress=progress)
        stored = self.head(key)
        if stored is None or (stored.size, stored.sha256) != (size, sha256):
            raise StorageError(f"the store does not show {key} as it was uploaded", "run the release again")
        return sent

    def _put(self, key: str, data: bytes, **condition: str) -> None:
        self.call(
            "put_object",
            key,
            Key=key,
            Body=data,
            ContentType=content_type(key),
            Metadata={SHA256_METADATA: hashlib.sha256(data).hexdigest()},
            **multipart.checksum(data, sha256=self.checks_sha256),
            **condition,
        )

    def call(self, operation: str, key: str, **arguments: Any) -> dict[str, Any]:
        """One operation of the S3 client on this bucket; `key` is for the error, which is one of Lading's."""
        try:
            answer: dict[str, Any] = getattr(self.client, operation)(Bucket=self.name, **arguments)
        except (ClientError, BotoCoreError) as error:
            raise _translate(error, key, self.name) from error
        return answer


def _translate(error: Exception, key: str, bucket: str) -> Exception:
    """The Lading error for a boto3 error."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        code = error.response.get("Error", {}).get("Code", "")
        if code == "NoSuchBucket":
            return StorageError(f"there is no bucket {bucket!r}", "create it or set LADING_S3_BUCKET")
        if status == 404:
            return NotFoundError(f"there is no object {key} in bucket {bucket!r}")
        if status in (409, 412):
            return ConflictError(f"{key} was written by somebody else", "look at it and try again")
        if status in (401, 403):
            return StorageError(
                f"the object store refused access to {key} ({code})", "check AWS_ACCESS_KEY_ID and its rights"
            )
    return StorageError(f"the object store failed on {key}: {error}", "check LADING_S3_ENDPOINT and try again")
