"""The smoke test: it holds for a release that is served as it should be, and fails for one that is not."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from running_stack import RunningStack

from analytics.periods import Period
from analytics.store import open_store
from analytics.usage import PeriodUsage
from lading.manifest import parse
from lading.names import MANIFEST, release_key
from lading.objectstore import bucket
from tasks.smoke import SmokeFailedError, smoke_release

ARRIVAL_S = 20

SINGLE_FILE = "a single file is served with its SHA-256"
SINGLE_RANGE = "a range of a single file is served"


def release(source: Path, dataset: str, **options: object) -> None:
    from flows.release import release as flow

    flow(source=str(source), dataset=dataset, version="v1", smoke=False, **options)


@pytest.fixture
def source(make_tree: Callable[..., Path]) -> Path:
    return make_tree("source", {"empty": b"", "sub/of 3 kB.txt": b"abc" * 1000, "large": b"x" * 20_000_000})


def test_a_release_passes_with_one_of_its_files_fetched_alone(stack: RunningStack, source: Path, dataset: str) -> None:
    release(source, dataset)
    checks = smoke_release(stack.settings, dataset, "v1")
    assert all(check.passed for check in checks)
    seen = {check.name: check.seen for check in checks}
    assert seen[SINGLE_RANGE] == "206, bytes 1500-1599/3000, its bytes"


@pytest.mark.parametrize("files", [{"empty": b""}, {"large": b"x" * 20_000_000}], ids=["empty", "large"])
def test_a_release_without_a_small_file_passes_too(
    stack: RunningStack, make_tree: Callable[..., Path], dataset: str, files: dict[str, bytes]
) -> None:
    release(make_tree("source", files), dataset)
    assert SINGLE_FILE not in [check.name for check in smoke_release(stack.settings, dataset, "v1")]


def test_a_release_without_a_lookup_passes_too(stack: RunningStack, source: Path, dataset: str) -> None:
    release(source, dataset, lookup=False)
    assert SINGLE_FILE not in [check.name for check in smoke_release(stack.settings, dataset, "v1")]


def test_a_release_whose_single_files_are_not_served_fails(stack: RunningStack, source: Path, dataset: str) -> None:
    release(source, dataset)
    store = bucket(stack.settings)
    lookup = parse(store.get(release_key(dataset, "v1", MANIFEST))).index.lookup
    assert lookup is not None
    store.put(lookup.key, bytes(lookup.size))
    with pytest.raises(SmokeFailedError) as failed:
        smoke_release(stack.settings, dataset, "v1")
    assert [check.name for check in failed.value.checks if not check.passed] == [SINGLE_FILE, SINGLE_RANGE]


def test_the_report_tells_what_it_made_the_gateway_refuse_from_other_refusals(
    stack: RunningStack, source: Path, dataset: str, tmp_path: Path
) -> None:
    from flows.load_logs import load_logs

    release(source, dataset)
    checks = smoke_release(stack.settings, dataset, "v1")
    refusals = sum("refused" in check.name or "416" in check.name for check in checks)
    assert requests.get(f"{stack.settings.gateway_url}/d/{dataset}/latest.json", timeout=10).status_code == 401
    database = tmp_path / "analytics.duckdb"

    def counted() -> Counter[tuple[str, str]]:
        load_logs(database=database)
        with open_store(database, read_only=True) as connection:
            PeriodUsage(connection, Period.week("current"))
            rows = connection.execute(
                "SELECT code, \"user\" FROM period_requests WHERE outcome = 'refused' AND dataset = ?", [dataset]
            )
            return Counter((code, user) for code, user in rows.fetchall())

    expected = Counter({("smoke_test", "local"): refusals, ("token_missing", "unknown"): 1})
    deadline = time.monotonic() + ARRIVAL_S
    while counted() != expected and time.monotonic() < deadline:
        time.sleep(1)
    assert counted() == expected
