from __future__ import annotations

from pathlib import Path

import pytest
from analytics_events import request, write_log

from analytics.sources import DirectoryLogSource
from lading.errors import NotFoundError


def test_folder_lists_log_files_at_any_depth_and_nothing_else(logs: Path) -> None:
    write_log(logs, "a", [request()])
    (logs / "plain.jsonl").write_text("{}\n")
    (logs / "notes.txt").write_text("no log")
    source = DirectoryLogSource(logs)
    assert [item.key for item in source.list()] == ["logs/gateway/dt=2026-11-18/hh=12/a.ndjson.gz", "plain.jsonl"]
    assert source.name.startswith("file:///")


def test_etag_changes_with_the_file(logs: Path) -> None:
    path = logs / "a.ndjson"
    path.write_text("{}\n")
    [before] = DirectoryLogSource(logs).list()
    path.write_text("{}\n{}\n")
    [after] = DirectoryLogSource(logs).list()
    assert before.etag != after.etag


def test_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        DirectoryLogSource(tmp_path / "nowhere")
