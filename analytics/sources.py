"""Where log objects come from: the log bucket, or a folder with copies of its objects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Protocol

from lading.errors import NotFoundError
from lading.objectstore import Bucket

S3_PREFIXES = ("logs/gateway/", "logs/issuer/")
"""Where the gateway's log consumer and the issuer write."""

FILE_SUFFIXES = (".ndjson.gz", ".ndjson", ".jsonl.gz", ".jsonl")


@dataclass(frozen=True, slots=True)
class LogObject:
    """A log object as listed. `size` in bytes as stored; `etag` changes whenever the content does."""

    key: str
    etag: str
    size: int


class LogSource(Protocol):
    """A place that lists and hands out log objects. `read` is called from several threads."""

    @property
    def name(self) -> str:
        """A URL that names the place; loaded objects are remembered per name."""

    def list(self) -> Iterator[LogObject]:
        """All log objects, in key order."""

    def read(self, item: LogObject) -> bytes | None:
        """The bytes of an object, as stored. None if it is gone since it was listed."""


class S3LogSource:
    """The log objects of a bucket, `logs/{gateway,issuer}/dt=YYYY-MM-DD/…`."""

    def __init__(self, bucket: Bucket, *, since: date | None = None) -> None:
        """`since`: leave out what lies in partitions before this UTC day, so that old logs are not listed for ever."""
        self._bucket = bucket
        self._since = since

    @property
    def name(self) -> str:
        return f"s3://{self._bucket.name}"

    def list(self) -> Iterator[LogObject]:
        for prefix in S3_PREFIXES:
            first = f"{prefix}dt={self._since.isoformat()}/" if self._since else prefix
            for item in self._bucket.list(prefix):
                if item.key >= first and not item.key.endswith("/"):
                    yield LogObject(item.key, item.etag.strip('"'), item.size)

    def read(self, item: LogObject) -> bytes | None:
        try:
            return self._bucket.get(item.key)
        except NotFoundError:  # a lifecycle rule of the bucket took it away
            return None


class DirectoryLogSource:
    """The log files (`*.ndjson`, `*.jsonl`, with or without `.gz`) below a folder, at any depth."""

    def __init__(self, folder: Path) -> None:
        """Raises NotFoundError if `folder` is not a folder."""
        if not folder.is_dir():
            raise NotFoundError(f"there is no folder {folder}", "give the folder that holds the log files")
        self._folder = folder.absolute()

    @property
    def name(self) -> str:
        return self._folder.as_uri()

    def list(self) -> Iterator[LogObject]:
        for path in sorted(self._folder.rglob("*")):
            if path.is_file() and path.name.endswith(FILE_SUFFIXES):
                facts = path.stat()
                etag = f"{facts.st_size}-{facts.st_mtime_ns}"
                yield LogObject(path.relative_to(self._folder).as_posix(), etag, facts.st_size)

    def read(self, item: LogObject) -> bytes | None:
        try:
            return (self._folder / item.key).read_bytes()
        except FileNotFoundError:
            return None
