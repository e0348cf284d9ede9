"""Make a tree of many tiny files: `python -m benchmarks.many_files FOLDER COUNT`. For `benchmarks.engine`."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

FILES_IN_FOLDER = 1000


def make(root: Path, count: int) -> None:
    """`count` files of 20 to 400 bytes, in folders of FILES_IN_FOLDER, the same for the same count."""
    chosen = random.Random(count)
    words = [bytes(chosen.choices(b"abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(1000)]
    for number in range(count):
        folder = root / f"{number // FILES_IN_FOLDER:05d}"
        if number % FILES_IN_FOLDER == 0:
            folder.mkdir(parents=True)
        data = b"%d " % number + b" ".join(chosen.choices(words, k=chosen.randrange(2, 50)))
        descriptor = os.open(f"{folder}/{number}.txt", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.write(descriptor, data)
        os.close(descriptor)


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]))
