"""Make one large file: `python -m benchmarks.huge_file FOLDER GIB`. For `benchmarks.engine`.

Half of it does not compress and half is text; nothing repeats and nothing is sparse.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

BLOCK_BYTES = 1024 * 1024
WORDS = 4096


def make(folder: Path, gib: int) -> Path:
    """A file of `gib` GiB, the same for the same size; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = random.Random(gib)
    words = [b"%x " % chosen.getrandbits(28) for _ in range(WORDS)]
    # A text of its own for every block would take minutes: each is the same words from another place.
    text = b"".join(chosen.choices(words, k=BLOCK_BYTES // 4))
    path = folder / f"{gib}-gib.bin"
    with path.open("wb") as file:
        for number in range(gib * 1024):
            if number % 2:
                file.write(chosen.randbytes(BLOCK_BYTES))
            else:
                start = number * 7919 % (len(text) - BLOCK_BYTES)
                file.write(b"%020d" % number + text[start : start + BLOCK_BYTES - 20])
    return path


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]))
