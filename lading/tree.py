"""Walking a folder tree without following links."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def walk(root: Path, skip: frozenset[str] = frozenset()) -> Iterator[tuple[str, os.DirEntry[str] | None]]:
    """Yield (relative POSIX path, entry) for everything below `root` that is no folder, and (path, None) for each empty
    folder. `skip` names top-level entries to leave out. Raises OSError for a folder that cannot be read.
    """
    pending = [""]
    while pending:
        prefix = pending.pop()
        with os.scandir(root / prefix) as found:
            children = [child for child in found if prefix or child.name not in skip]
        if not children and prefix:
            yield prefix, None
        for child in children:
            path = f"{prefix}/{child.name}" if prefix else child.name
            if child.is_dir(follow_symlinks=False):
                pending.append(path)
            else:
                yield path, child
