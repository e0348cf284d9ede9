"""What an update costs on the wire: the new chunks and little more, and with patches about what zstd itself makes."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from running_stack import RunningStack
from test_patches import scatter
from trees import listing, text

from lading.client.pull import pull

CHUNKS_SHARE = 1.1
"""Bytes of an update, index and manifest included, as a share of the stored bytes of the new chunks."""

PATCHES_SHARE = 1.3
"""The same with patches, as a share of what `zstd --patch-from` makes of the files that changed."""


@pytest.mark.slow
def test_an_update_fetches_little_more_than_the_new_chunks(stack: RunningStack, dataset: str, tmp_path: Path) -> None:
    from flows.release import release

    source, dest = tmp_path / "source", tmp_path / "dest"
    chosen = random.Random(1)
    for number in range(1000):
        path = source / f"{number % 10}" / f"{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chosen.randbytes(chosen.randrange(1000, 30_000)))
    (source / "large.bin").write_bytes(chosen.randbytes(24_000_000))
    release(source=str(source), dataset=dataset, version="v1", smoke=False)
    pull(dataset, dest, stack.settings)
    for path in chosen.sample(sorted(source.glob("*/*.bin")), 50):
        path.write_bytes(chosen.randbytes(20_000))
    large = (source / "large.bin").read_bytes()
    (source / "large.bin").write_bytes(large[:5_000_000] + b"inserted" + large[5_000_000:])
    made = release(source=str(source), dataset=dataset, version="v2", smoke=False)

    result = pull(dataset, dest, stack.settings)

    assert listing(dest) == listing(source)
    assert made["new_stored_bytes"] > 1_000_000
    assert result.fetched_bytes <= CHUNKS_SHARE * made["new_stored_bytes"]


@pytest.mark.slow
def test_an_update_by_patches_fetches_little_more_than_zstd_makes(
    stack: RunningStack, dataset: str, tmp_path: Path, tool: Callable[[str], str]
) -> None:
    from flows.release import release

    source, dest = tmp_path / "source", tmp_path / "dest"
    source.mkdir()
    old = text(1, 20_000_000)
    (source / "large.txt").write_bytes(old)
    release(source=str(source), dataset=dataset, version="v1", smoke=False)
    pull(dataset, dest, stack.settings)
    (source / "large.txt").write_bytes(scatter(old, 5, 5000))
    release(source=str(source), dataset=dataset, version="v2", smoke=False, patches=True)
    peer = tmp_path / "peer.zst"
    options = [
        "-q",
        "-3",
        "--long=27",
        f"--patch-from={dest / 'large.txt'}",
        str(source / "large.txt"),
        "-o",
        str(peer),
    ]
    subprocess.run([tool("zstd"), *options], check=True)

    result = pull(dataset, dest, stack.settings)

    assert listing(dest) == listing(source)
    assert result.fetched_bytes <= PATCHES_SHARE * peer.stat().st_size
