"""`lading gc`."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from lading.errors import ConflictError
from lading.settings import Settings
from tasks.garbage import Collected, collect_all
from tasks.retention import GRACE_HOURS, make_policy

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def command(
    dataset: Annotated[str | None, typer.Argument(metavar="[DATASET]", help="Without it, every dataset.")] = None,
    keep_last: Annotated[int | None, typer.Option(help="Keep that many of the newest releases.")] = None,
    keep_days: Annotated[float | None, typer.Option(help="Keep the releases of that many days.")] = None,
    grace: Annotated[float, typer.Option(help="Hours for which what nobody needs is kept.")] = GRACE_HOURS,
    apply: Annotated[bool, typer.Option("--apply", help="Remove; without it only say what would go.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go: the default.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print every object as JSON on stdout.")] = False,
) -> None:
    """Remove releases that no rule keeps and objects that no release needs. Without a rule every release stays."""
    settings = Settings.from_env()
    policy = make_policy(settings, keep_last, keep_days, grace)
    results = collect_all(settings, dataset, policy, apply=apply and not dry_run)
    if as_json:
        print(json.dumps([result.document() for result in results]))
    else:
        for line in table(results):
            print(line)
    for result in results:
        print(f"lading: {summary(result, grace)}", file=sys.stderr)
    if any(result.plan.rows() and not result.applied for result in results):
        print("lading: nothing is removed yet; --apply does it", file=sys.stderr)
    skipped = [result for result in results if result.skipped]
    if skipped:
        raise ConflictError(
            f"{', '.join(result.plan.dataset for result in skipped)}: stopped before the end", "run it again to go on"
        )


def table(results: list[Collected]) -> list[str]:
    """What goes, in columns."""
    header = ("DATASET", "WHAT", "OBJECTS", "BYTES", "WHY")
    rows = [
        (
            row["dataset"],
            row["what"],
            f"{row['objects']:,}",
            "unknown" if row["bytes"] is None else f"{row['bytes']:,}",
            row["why"],
        )
        for result in results
        for row in result.plan.rows()
    ]
    if not rows:
        return []
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(4)]
    return [
        f"{name:<{widths[0]}}  {what:<{widths[1]}}  {objects:>{widths[2]}}  {size:>{widths[3]}}  {why}"
        for name, what, objects, size, why in [header, *rows]
    ]


def summary(result: Collected, grace_hours: float) -> str:
    """The result for one dataset in one line."""
    plan = result.plan
    if result.skipped and not result.applied:
        return f"{plan.dataset}: {result.skipped}"
    if result.applied:
        parts = [
            f"removed {len(result.expired)} releases and {result.swept_objects:,} objects of "
            f"{result.swept_bytes:,} bytes"
        ]
        if result.aborted_uploads:
            parts.append(f"aborted {result.aborted_uploads} uploads")
    else:
        parts = [
            f"would remove {len(plan.expire)} releases and {len(plan.sweep):,} objects of {plan.sweep_bytes:,} bytes"
        ]
    if plan.expire:
        later = sum(item.bytes for item in plan.expire)
        parts.append(f"{later:,} bytes of the releases are swept {grace_hours:g} hours after their removal")
    if plan.young:
        size = sum(item.size for item in plan.young)
        parts.append(f"{len(plan.young):,} objects of {size:,} bytes are needed by nobody but too young")
    if plan.foreign:
        parts.append(f"{len(plan.foreign):,} objects are not Lading's and stay, {plan.foreign[0]} for one")
    if plan.running and not result.applied:
        parts.append(f"a release of {', '.join(plan.running)} is running, and --apply would stop")
    if plan.uploads_unknown:
        parts.append("this store cannot list unfinished uploads")
    if result.skipped:
        parts.append(result.skipped)
    return f"{plan.dataset}: " + "; ".join(parts)
