"""The Python interface: what `import lading` offers. Its names are re-exported there, and loaded when they are used."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal, overload

from lading.client import pull as _pull
from lading.client.progress import Progress
from lading.client.pull import JOBS, PullResult
from lading.client.reader import FileInfo, Reader, split_path
from lading.client.selection import EVERYTHING, Selection
from lading.errors import UsageError
from lading.settings import Settings

BUFFER_BYTES = 256 * 1024


def pull(
    reference: str,
    dest: str | Path,
    *,
    include: str | tuple[str, ...] | list[str] = (),
    exclude: str | tuple[str, ...] | list[str] = (),
    paths: list[str] | tuple[str, ...] | None = None,
    where: str | None = None,
    jobs: int = JOBS,
    rate_limit: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    settings: Settings | None = None,
) -> PullResult:
    """Bring the folder `dest` to the state of `DATASET[@VERSION]`, or of a part of it; every byte is verified.

    include, exclude  globs, as `lading pull` takes them
    paths             paths of files or folders
    where             one SQL expression over the columns of files.parquet
    jobs              parallel requests
    rate_limit        bytes per second
    overwrite         replace files of `dest` that Lading did not write; without it they are a ConflictError
    progress          is told how it goes on
    settings          by default from the environment (LADING_*)

    Raises a subclass of `LadingError` that says what to do; the same call goes on where it stopped.
    """
    selection = Selection(_texts(include), _texts(exclude), None if paths is None else tuple(paths), where)
    return _pull.pull(
        reference,
        Path(dest),
        settings,
        selection=selection,
        jobs=jobs,
        rate_limit=rate_limit,
        overwrite=overwrite,
        progress=progress,
    )


@overload
def open(path: str, mode: Literal["rb"] = "rb", *, settings: Settings | None = None) -> io.BufferedReader: ...
@overload
def open(
    path: str,
    mode: Literal["r", "rt"],
    *,
    encoding: str = "utf-8",
    errors: str | None = None,
    newline: str | None = None,
    settings: Settings | None = None,
) -> io.TextIOWrapper: ...


def open(
    path: str,
    mode: str = "rb",
    *,
    encoding: str = "utf-8",
    errors: str | None = None,
    newline: str | None = None,
    settings: Settings | None = None,
) -> IO[Any]:
    """Open one file, `DATASET[@VERSION]/PATH`, for reading; it is seekable, and fetched by ranges as it is read.

    `mode` is "rb" for bytes or "r" for text. To read many files of one release, open it once: `lading.files(...)`.
    Raises a subclass of `LadingError`, ValueError for another mode.
    """
    if mode not in ("rb", "r", "rt"):
        raise ValueError(f"mode is {mode!r}: a release can be read only")
    reference, inside = split_path(path)
    if not inside:
        raise UsageError(f"{path!r} names no file", f"write {reference}/PATH")
    reader = Reader(reference, settings, _warn)
    try:
        raw = reader.open(inside)
    except BaseException:
        reader.close()
        raise
    raw.on_close = reader.close
    return _wrapped(raw, mode, encoding, errors, newline)


class Files:
    """Files of a release, narrowed step by step; nothing is read before they are iterated.

    Each narrowing returns a new object; all of them share one connection, until the first one is closed.

        with lading.files("photos@2026-01") as files:
            for file in files.where("split = 'train'").include("*.jpg"):
                print(file.path, file.labels["label"], len(files.read(file)))
    """

    def __init__(self, reader: Reader, selection: Selection = EVERYTHING) -> None:
        self._reader = reader
        self._selection = selection

    def __enter__(self) -> Files:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection that all narrowings share."""
        self._reader.close()

    @property
    def release(self) -> str:
        """`DATASET@VERSION`, with the version that `latest` stood for when it was opened."""
        return self._reader.name

    def where(self, expression: str) -> Files:
        """Those for which an SQL expression over the columns of files.parquet holds, labels included."""
        before = self._selection.where
        both = f"({before}\n) AND ({expression}\n)" if before is not None else expression
        return self._narrowed(where=both)

    def include(self, *globs: str) -> Files:
        """Those that match one of the globs; of several calls, the last one counts."""
        return self._narrowed(include=globs)

    def exclude(self, *globs: str) -> Files:
        """Those that match none of the globs."""
        return self._narrowed(exclude=(*self._selection.exclude, *globs))

    def __iter__(self) -> Iterator[FileInfo]:
        """Files, links and empty folders, by path. Raises NotFoundError if there are none."""
        return self._reader.files(self._selection)

    def open(self, file: str | FileInfo, mode: str = "rb", *, encoding: str = "utf-8") -> IO[Any]:
        """Open a file of the release, whether it is selected or not."""
        if mode not in ("rb", "r", "rt"):
            raise ValueError(f"mode is {mode!r}: a release can be read only")
        return _wrapped(self._reader.open(_path(file)), mode, encoding, None, None)

    def read(self, file: str | FileInfo) -> bytes:
        """All bytes of a file, verified."""
        with self._reader.open(_path(file)) as raw:
            return raw.readall()

    def _narrowed(self, **changes: Any) -> Files:
        from dataclasses import replace

        return Files(self._reader, replace(self._selection, **changes))


def files(reference: str, *, settings: Settings | None = None) -> Files:
    """The files of `DATASET[@VERSION]`, to be narrowed and read. Raises a subclass of `LadingError`."""
    return Files(Reader(reference, settings, _warn))


def _wrapped(raw: Any, mode: str, encoding: str, errors: str | None, newline: str | None) -> IO[Any]:
    buffered = io.BufferedReader(raw, BUFFER_BYTES)
    return buffered if mode == "rb" else io.TextIOWrapper(buffered, encoding, errors, newline)


def _path(file: str | FileInfo) -> str:
    return file if isinstance(file, str) else file.path


def _texts(value: str | tuple[str, ...] | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _warn(message: str) -> None:
    """What the command line would print: a key that is trusted on first use."""
    warnings.warn(message, stacklevel=3)
