"""Flow `collect-garbage`: remove expired releases, and what no release needs."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact
from pydantic import Field

from lading.settings import Settings
from tasks.retention import GRACE_HOURS, make_policy
from tasks.steps import collect_task


@flow(name="collect-garbage")
def collect_garbage(
    dataset: str | None = None,
    keep_last: Annotated[int | None, Field(ge=1)] = None,
    keep_days: Annotated[float | None, Field(ge=0)] = None,
    grace_hours: Annotated[float, Field(gt=0)] = GRACE_HOURS,
    apply: bool = False,
) -> list[dict[str, Any]]:
    """Remove the releases that no rule keeps, and the objects that no release needs; returns what it did by dataset.

    Safe at any time and again: it gives way to running releases, and one that was killed is completed by the next.

    Args:
        dataset: Name of the dataset; empty means every one of the bucket.
        keep_last: Keep that many of the newest releases. Without this and keep_days no release is removed.
        keep_days: Keep the releases of that many days; a release that either rule keeps stays.
        grace_hours: Hours for which what nobody needs is kept; it must be longer than any token lives.
        apply: Remove; without it the run only says what would be removed.
    """
    settings = Settings.from_env()
    policy = make_policy(settings, keep_last, keep_days, grace_hours)
    results = collect_task(settings, dataset, policy, apply=apply)
    for result in results:
        if result.skipped:
            get_run_logger().warning(f"{result.plan.dataset}: {result.skipped}")
    create_table_artifact(
        [row for result in results for row in result.plan.rows()],
        key="collect-garbage",
        description="What was removed" if apply else "What would be removed",
    )
    return [result.document() for result in results]
