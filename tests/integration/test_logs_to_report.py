"""What clients do becomes events in the log bucket, rows in DuckDB and figures in the report."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from running_stack import RunningStack

from lading.client.pull import pull

ARRIVAL_S = 20


def test_the_report_has_exactly_the_bytes_that_a_pull_fetched(
    stack: RunningStack, dataset: str, make_tree: Callable[..., Path], tmp_path: Path
) -> None:
    from flows.load_logs import load_logs
    from flows.release import release
    from flows.weekly_report import weekly_report

    source = make_tree("source", {"a.bin": random.Random(1).randbytes(1_000_000), "b.txt": b"b"})
    release(source=str(source), dataset=dataset, version="v1", smoke=False)
    result = pull(dataset, tmp_path / "dest", stack.settings)
    refused = requests.get(f"{stack.settings.gateway_url}/d/{dataset}/latest.json", timeout=10)
    assert refused.status_code == 401
    database = tmp_path / "analytics.duckdb"

    page, figures = Path(), {}
    deadline = time.monotonic() + ARRIVAL_S
    while time.monotonic() < deadline:
        load_logs(database=database)
        page = Path(weekly_report(week="current", database=database, output_dir=tmp_path / "reports"))
        figures = json.loads(page.with_suffix(".json").read_text())
        mine = [row for row in figures["datasets"] if row["dataset"] == dataset]
        if mine and mine[0]["bytes_sent"] >= result.fetched_bytes and mine[0]["refused"]:
            break
        time.sleep(1)

    sent = result.fetched_bytes + len(refused.content)
    assert [(row["bytes_sent"], row["refused"]) for row in mine] == [(sent, 1)]
    versions = [row for row in figures["versions"] if row["dataset"] == dataset and row["version"] == "v1"]
    assert [row["bytes_sent"] for row in versions] == [result.fetched_bytes]
    local = next(row for row in figures["users"] if row["user"] == "local")
    assert local["bytes_sent"] >= result.fetched_bytes
    assert dataset in page.read_text()
    load_logs(database=database)
    again = json.loads(
        Path(weekly_report(week="current", database=database, output_dir=tmp_path / "again"))
        .with_suffix(".json")
        .read_text()
    )
    assert [row["bytes_sent"] for row in again["datasets"] if row["dataset"] == dataset] == [sent]


@pytest.mark.parametrize("flag", ["--json", "--out"])
def test_the_report_command_prints_data_on_stdout(stack: RunningStack, tmp_path: Path, flag: str) -> None:
    arguments = ["--database", str(tmp_path / "a.duckdb"), "--out", str(tmp_path / "out")]
    done = stack.lading("report", *arguments, *(["--json"] if flag == "--json" else []))
    assert done.returncode == 0, done.stderr
    if flag == "--json":
        assert "datasets" in json.loads(done.stdout)
    else:
        assert Path(done.stdout.strip()).read_text().startswith("<!")
