"""One log object -> one file of clean text lines that DuckDB reads without surprises.

Clean means: decompressed, UTF-8, no line above `MAX_LINE_BYTES`, and none of the three control bytes that would
change how DuckDB's CSV reader cuts lines. What cannot be a line is handed back as a bad line, so nothing is lost.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAX_LINE_BYTES = 1024 * 1024
"""A request event has about 600 bytes; Workers cut logs at 16 KiB."""

KEPT_CHARACTERS = 2000
"""How much of a bad line is kept."""

_BLOCK_BYTES = 1024 * 1024
_INPUT_BYTES = 64 * 1024
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW = 31  # zlib: 15 bits of window, and 16 for the gzip header and its checksum

# A carriage return is white space to JSON but a line end to CSV. Bytes 0 to 2 are forbidden in JSON, and 1 and 2 are
# the column separator and the NULL text of our CSV reading: 3 is as forbidden, and means nothing.
_TRANSLATION = bytes.maketrans(b"\r\x00\x01\x02", b" \x03\x03\x03")


@dataclass(frozen=True, slots=True)
class BadLine:
    """A piece of a log object that is no event: why, and the beginning of its text."""

    reason: str
    line: str


@dataclass(frozen=True, slots=True)
class StagedObject:
    """The outcome of staging: bytes of text written, and the pieces that were no line."""

    text_bytes: int
    bad_lines: tuple[BadLine, ...]


def stage_object(data: bytes, path: Path) -> StagedObject:
    """Write the lines of a log object (gzip with one or more members, or plain text) to `path`.

    Of a truncated or damaged object, the whole lines before the damage are kept.
    """
    bad: list[BadLine] = []
    written = 0
    carry = b""
    overlong = False  # inside a line that is too long already
    damage: str | None = None
    with path.open("wb") as file:
        blocks = _text_blocks(data)
        while True:
            try:
                block = next(blocks, None)
            except _DamagedObjectError as error:
                damage = str(error)
                break
            if block is None:
                break
            head, newline, tail = block.rpartition(b"\n")
            if not newline:
                if not overlong:
                    carry += block
            else:
                if overlong:
                    head = head.partition(b"\n")[2] if b"\n" in head else b""
                    overlong = False
                text = _clean(carry + head + b"\n")
                written += file.write(text)
                carry = tail
            if len(carry) > MAX_LINE_BYTES:
                bad.append(BadLine("line too long", _excerpt(carry)))
                carry, overlong = b"", True
        if damage is not None:
            bad.append(BadLine(damage, _excerpt(carry)))
        elif carry:
            written += file.write(_clean(carry + b"\n"))
    return StagedObject(written, tuple(bad))


class _DamagedObjectError(Exception):
    """The object ends too early, or is no valid gzip. The message becomes the reason of a bad line."""


def _text_blocks(data: bytes) -> Iterator[bytes]:
    """The decompressed content, in blocks of at most 1 MiB, so that a gzip bomb does not fill the memory."""
    view = memoryview(data)
    if data[:2] != _GZIP_MAGIC:
        for start in range(0, len(data), _BLOCK_BYTES):
            yield bytes(view[start : start + _BLOCK_BYTES])
        return
    member = zlib.decompressobj(_GZIP_WINDOW)
    started = False  # the member has seen input
    for start in range(0, len(data), _INPUT_BYTES):
        rest = bytes(view[start : start + _INPUT_BYTES])
        while rest:
            if not started and not rest.strip(b"\0"):  # padding between and after members is allowed (gzip manual)
                break
            started = True
            try:
                block = member.decompress(rest, _BLOCK_BYTES)
            except zlib.error as error:
                raise _DamagedObjectError("damaged gzip object") from error
            if block:
                yield block
            rest = member.unconsumed_tail
            if member.eof:
                rest = member.unused_data
                member, started = zlib.decompressobj(_GZIP_WINDOW), False
    if started:
        raise _DamagedObjectError("truncated gzip object")


def _clean(text: bytes) -> bytes:
    text = text.translate(_TRANSLATION)
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode("utf-8", "replace").encode("utf-8")
    return text


def _excerpt(raw: bytes) -> str:
    return raw[: 4 * KEPT_CHARACTERS].decode("utf-8", "replace")[:KEPT_CHARACTERS]
