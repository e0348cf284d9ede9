"""Flow `smoke`: check that a release is served as it should be, and that nobody gets it who should not."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact

from lading.settings import Settings
from tasks.steps import smoke_task


@flow(name="smoke", flow_run_name="smoke-{dataset}-{version}")
def smoke(dataset: str, version: str = "latest", expiry_ttl: int | None = 30) -> list[dict[str, Any]]:
    """Fetch a small range, break a transfer off and resume it, fetch a file alone, compare hashes; check that requests
    without a token and with a tampered, a wrong-key or an expired token are refused, and that 416 and If-Range behave.

    Args:
        dataset: Name of the dataset.
        version: Version to check.
        expiry_ttl: Lifetime in seconds of a token whose expiry is waited for; empty leaves that check out.
    """
    checks = smoke_task(Settings.from_env(), dataset, version, expiry_ttl)
    table = [{"check": check.name, "passed": check.passed, "seen": check.seen} for check in checks]
    create_table_artifact(table, key=f"smoke-{_slug(dataset)}", description=f"Smoke test of {dataset}@{version}")
    return table


def _slug(name: str) -> str:
    """An artifact key has only small letters, digits and dashes."""
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower())
