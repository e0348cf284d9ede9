"""Memory of the release engine does not grow with a file, and little with their number. Larger figures:
docs/performance.md."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import huge_file, many_files

REPOSITORY = Path(__file__).parents[3]


def engine(source: Path, work: Path) -> dict[str, int]:
    """The engine in a process of its own: files, bytes, peak_rss_mib."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.engine", str(source), str(work), "0"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, int] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_a_large_file_takes_no_more_memory_than_a_part_of_it(tmp_path: Path) -> None:
    huge_file.make(tmp_path / "source", 1)
    found = engine(tmp_path / "source", tmp_path / "work")
    assert found["bytes"] == 1024**3
    assert found["peak_rss_mib"] < 300


@pytest.mark.slow
def test_a_file_more_takes_little_memory(tmp_path: Path) -> None:
    peaks = []
    for count in (20_000, 120_000):
        many_files.make(tmp_path / str(count), count)
        found = engine(tmp_path / str(count), tmp_path / f"work-{count}")
        assert found["files"] == count
        peaks.append(found["peak_rss_mib"])
    # At this rate two million files take less than 4 GiB; a row held in Python would take several times as much.
    assert (peaks[1] - peaks[0]) * 1024 / 100_000 < 2, f"{peaks} MiB"
