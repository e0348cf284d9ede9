"""`lading://DATASET[@VERSION]/PATH` for fsspec: pandas, DuckDB, PyArrow and others open files of a release by URL.

Registered by an entry point: `fsspec.open("lading://photos/readme.md")` works where `lading[fsspec]` is installed.
"""

from __future__ import annotations

import io
import threading
from datetime import UTC, datetime
from typing import Any

from fsspec.spec import AbstractFileSystem  # type: ignore[import-untyped]

from lading.client.reader import FileInfo, Reader, split_path
from lading.client.selection import EVERYTHING
from lading.errors import NotFoundError
from lading.sdk import BUFFER_BYTES
from lading.settings import Settings


class LadingFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """Releases as a read-only file system; the first part of a path is `DATASET[@VERSION]`.

    A release is opened once and its listing kept: `latest` stays what it was when it was first used.
    """

    protocol = "lading"
    root_marker = ""
    cachable = True

    def __init__(self, settings: Settings | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._settings = settings
        self._readers: dict[str, Reader] = {}
        self._trees: dict[str, dict[str, dict[str, dict[str, Any]]]] = {}
        self._lock = threading.RLock()

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(one) for one in path]
        return str(path).removeprefix("lading://").strip("/")

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """Entries of a folder, or a file itself. Raises FileNotFoundError."""
        path = self._strip_protocol(path)
        reference, inside = split_path(path)
        tree = self._tree(reference)
        if inside in tree:
            found = list(tree[inside].values())
        else:
            folder, _slash, name = inside.rpartition("/")
            if name not in tree.get(folder, {}):
                raise FileNotFoundError(path)
            found = [tree[folder][name]]
        return found if detail else [entry["name"] for entry in found]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Facts of a file or folder. Raises FileNotFoundError."""
        path = self._strip_protocol(path)
        reference, inside = split_path(path)
        tree = self._tree(reference)
        folder, _slash, name = inside.rpartition("/")
        if not inside or inside in tree:
            return {"name": path, "size": 0, "type": "directory"}
        entry = tree.get(folder, {}).get(name)
        if entry is None:
            raise FileNotFoundError(path)
        return entry

    def modified(self, path: str) -> datetime:
        """When a file was changed at its source, in UTC. DuckDB asks for it before it reads Parquet."""
        return datetime.fromtimestamp(self.info(path).get("mtime", 0), UTC)

    def checksum(self, path: str) -> str:
        """SHA-256 of a file in hex, as the release says; raises FileNotFoundError."""
        return str(self.info(path).get("sha256", ""))

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **_: Any) -> io.BufferedReader:
        if mode != "rb":
            raise ValueError(f"mode is {mode!r}: a release can be read only")
        reference, inside = split_path(path)
        try:
            return io.BufferedReader(self._reader(reference).open(inside), block_size or BUFFER_BYTES)
        except NotFoundError as error:
            raise FileNotFoundError(str(error)) from error

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """Bytes of a file from `start` to before `end`; negative ones count from its end."""
        with self._open(self._strip_protocol(path)) as file:
            size = file.seek(0, io.SEEK_END)
            first, last, _step = slice(start, end).indices(size)
            file.seek(first)
            return file.read(max(0, last - first))

    def _reader(self, reference: str) -> Reader:
        with self._lock:
            if reference not in self._readers:
                try:
                    self._readers[reference] = Reader(reference, self._settings)
                except NotFoundError as error:
                    raise FileNotFoundError(str(error)) from error
            return self._readers[reference]

    def _tree(self, reference: str) -> dict[str, dict[str, dict[str, Any]]]:
        """Folder to its entries by name."""
        with self._lock:
            if reference not in self._trees:
                tree: dict[str, dict[str, dict[str, Any]]] = {"": {}}
                for info in self._reader(reference).files(EVERYTHING):
                    _plant(tree, reference, info)
                self._trees[reference] = tree
            return self._trees[reference]


def _plant(tree: dict[str, dict[str, dict[str, Any]]], reference: str, info: FileInfo) -> None:
    """Add an entry and the folders above it."""
    folder, _, name = info.path.rpartition("/")
    if folder not in tree:
        _plant(tree, reference, FileInfo(folder, "dir", 0, None, 0, 0))
    if info.type == "dir":
        tree.setdefault(info.path, {})
    kind = {"dir": "directory", "symlink": "link"}.get(info.type, "file")
    entry = {"name": f"{reference}/{info.path}", "size": info.size, "type": kind}
    if info.type == "symlink":
        entry["islink"] = True
        entry["destination"] = info.target
    if info.type == "file":
        entry |= {"sha256": info.sha256, "mtime": info.mtime, **{f"label.{k}": v for k, v in info.labels.items()}}
    tree[folder][name] = entry
