"""Source trees that have everything a release has to deal with, and their comparison."""

from __future__ import annotations

import os
import random
import stat
from pathlib import Path

LARGE_BYTES = 12 * 1024 * 1024
"""More than a whole-file chunk: such a file is cut by content."""


def text(seed: int, size: int) -> bytes:
    """Compressible text, the same for the same seed."""
    words = [bytes(random.Random(n).choices(b"abcdefghijklmnopqrstuvwxyz", k=4 + n % 6)) for n in range(500)]
    chosen = random.Random(seed)
    data = b" ".join(chosen.choices(words, k=size // 6))
    return (data * (size // len(data) + 1))[:size]


def varied(root: Path, seed: int = 1) -> Path:
    """Small and large files, duplicates, empty ones, links, names that are long or not ASCII, executables."""
    chosen = random.Random(seed)
    files = {f"small/{n:03d}.txt": text(seed * 1000 + n, chosen.randrange(1, 40_000)) for n in range(120)}
    files |= {
        "large.bin": chosen.randbytes(LARGE_BYTES),
        "deep/down/here/large.txt": text(seed, LARGE_BYTES),
        "duplicate of 000.txt": files["small/000.txt"],
        "empty.txt": b"",
        "naïve/ünïcode-名前.txt": b"not ASCII",
        f"long/{'x' * 120}/{'y' * 120}.txt": b"a long name",
        "bin/run.sh": b"#!/bin/sh\necho hello\n",
    }
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    (root / "bin/run.sh").chmod(0o755)
    (root / "empty folder").mkdir()
    (root / "link.txt").symlink_to("small/000.txt")
    (root / "deep/up.txt").symlink_to("../empty.txt")
    for number, path in enumerate(sorted(root.rglob("*"))):
        if path.is_file() and not path.is_symlink():
            os.utime(path, (1_600_000_000 + number, 1_600_000_000 + number))
    return root


def changed(root: Path) -> Path:
    """The next version of `varied`: an insertion at the front of a large file, an edit, a move, a removal."""
    large = root / "large.bin"
    large.write_bytes(b"inserted" * 100 + large.read_bytes())
    (root / "small/007.txt").write_bytes(b"edited")
    (root / "small/008.txt").rename(root / "moved.txt")
    (root / "small/009.txt").unlink()
    (root / "added.txt").write_bytes(b"added")
    (root / "link.txt").unlink()
    (root / "link.txt").symlink_to("added.txt")
    return root


def listing(root: Path, *, mtimes: bool = True) -> dict[str, tuple[object, ...]]:
    """Everything below `root` but Lading's own folder, in a form that can be compared."""
    found: dict[str, tuple[object, ...]] = {}
    for folder, folders, files in os.walk(root):
        if Path(folder) == root and ".lading" in folders:
            folders.remove(".lading")
        for name in files + [name for name in folders if (Path(folder) / name).is_symlink()]:
            path = Path(folder) / name
            status = path.lstat()
            key = path.relative_to(root).as_posix()
            if path.is_symlink():
                found[key] = ("link", str(path.readlink()))
            else:
                mode = stat.S_IMODE(status.st_mode)
                found[key] = ("file", path.read_bytes(), mode, int(status.st_mtime) if mtimes else 0)
        if not files and not folders:
            found[Path(folder).relative_to(root).as_posix()] = ("folder",)
    return found
