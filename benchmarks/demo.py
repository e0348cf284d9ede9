"""`make demo`: the main job, end to end, on real data and on this machine. Exit code 0 only if every step held."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.dataset import CARD, Release, prepare
from lading.errors import LadingError
from lading.settings import Settings
from lading.stack.config import StackConfig
from lading.stack.config import prepare as prepare_stack
from lading.stack.supervisor import Stack

DATASET = "world-places"
LOG_TIMEOUT_S = 20.0
SMOKE_TOKEN_S = 1
"""Lifetime of the token whose expiry the smoke test waits for."""


@dataclass
class Outcome:
    """What the demo shows at its end."""

    steps: list[tuple[str, float, int]] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def require(self, what: str, held: bool) -> None:
        """Note a claim of the demo; one that does not hold fails it."""
        if not held:
            self.failures.append(what)

    def timed(self, name: str, work: Callable[[], Any], size: Callable[[Any], int] = lambda _: 0) -> Any:
        """Run a step and note its time, and the bytes that it handled."""
        print(f"demo: {name} …", file=sys.stderr, flush=True)
        started = time.monotonic()
        result = work()
        self.steps.append((name, time.monotonic() - started, size(result)))
        return result

    def released(self, name: str, work: Callable[[], Any]) -> Any:
        """Run a release, and note each of its steps."""
        result = self.timed(name, work, lambda released: released["totals"]["bytes"])
        self.steps += [(f"  {step['step']}", step["seconds"], step["bytes"]) for step in result["steps"]]
        return result


def main() -> int:
    """Run the demo; returns the exit code."""
    console = Console(stderr=False, highlight=False)
    home = Settings.from_env().home
    demo_home = home / "demo"
    outcome = Outcome()
    try:
        v1, v2 = outcome.timed("fetch and unpack the demo's data", lambda: prepare(home / "cache" / "demo"))
        shutil.rmtree(demo_home, ignore_errors=True)
        config = prepare_stack(Settings(home=demo_home), gateway_port=0, issuer_port=0)
        _configure(config, home)
        with Stack(config):
            report = _run(config, v1, v2, outcome)
    except LadingError as error:
        print(f"demo: failed: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        return 130
    _show(console, outcome, report)
    for failure in outcome.failures:
        print(f"demo: FAILED: {failure}", file=sys.stderr)
    return 1 if outcome.failures else 0


def _configure(config: StackConfig, home: Path) -> None:
    """Settings for this process and its children. Prefect reads its own when it is imported, so that comes later."""
    os.environ.update(config.environment())
    os.environ.update(
        {
            "LADING_TOKEN_MIN_TTL": str(SMOKE_TOKEN_S),
            "PREFECT_HOME": str(home / "prefect"),
            "PREFECT_LOGGING_LEVEL": "ERROR",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",
            "DO_NOT_TRACK": "1",
        }
    )
    for name in ("PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_PROFILE"):
        os.environ.pop(name, None)


def _run(config: StackConfig, v1: Release, v2: Release, outcome: Outcome) -> Path:
    """The main job; returns the path of the report."""
    release, smoke, load_logs, weekly_report = outcome.timed("start Prefect", _flows)
    first = outcome.released("release v1", lambda: _release(release, v1))
    dest = config.home / "pulled"
    killed_at = outcome.timed("pull v1, killed half way", lambda: _pull_and_kill(dest, first["totals"]["bytes"]))
    resumed = outcome.timed("pull v1, resumed", lambda: _pull(f"{DATASET}@v1", dest), lambda r: r["bytes"])
    outcome.require("the resumed pull equals v1", _same_tree(v1.source, dest))
    second = outcome.released("release v2", lambda: _release(release, v2))
    update = outcome.timed("update to v2 by delta", lambda: _pull(DATASET, dest), lambda r: r["bytes"])
    outcome.require("the updated pull equals v2", update["version"] == "v2" and _same_tree(v2.source, dest))
    checks = outcome.timed("smoke test, with expiry", lambda: smoke(DATASET, "v2", expiry_ttl=SMOKE_TOKEN_S))
    passed = sum(check["passed"] for check in checks)
    outcome.require("all smoke checks passed", passed == len(checks))
    events = outcome.timed("load the logs", lambda: _load(load_logs, config))
    outcome.require("events of the demo are in the log bucket", events > 0)
    report = Path(outcome.timed("weekly report", lambda: weekly_report(week="current", with_storage=True)))
    outcome.require("the report is there", report.exists())
    figures = json.loads(report.with_suffix(".json").read_text())
    already = resumed["already_bytes"] + resumed["resumed_bytes"]
    outcome.require("the resumed pull kept what was there", already >= 0.8 * killed_at)
    outcome.require("the update fetched less than the release", update["fetched_bytes"] < first["new_stored_bytes"] / 2)
    outcome.facts += [
        ("v1", _release_line(first)),
        ("v2", _release_line(second)),
        ("first pull, killed", f"{_mb(killed_at)} of {_mb(first['totals']['bytes'])} written"),
        ("resumed pull", f"kept {_mb(already)}, fetched {_mb(resumed['fetched_bytes'])}"),
        ("update v1 → v2", f"fetched {_mb(update['fetched_bytes'])} for {_mb(update['bytes'])}"),
        ("smoke checks passed", f"{passed} of {len(checks)}, and {len(second['smoke_checks'])} in each release"),
        ("log events loaded", f"{events:,}"),
        ("cost estimate", _cost(figures)),
    ]
    return report


def _flows() -> tuple[Any, Any, Any, Any]:
    """Import the flows, and with them Prefect, and start its ephemeral server."""
    from prefect.client.orchestration import get_client

    from flows.load_logs import load_logs
    from flows.release import release
    from flows.smoke import smoke
    from flows.weekly_report import weekly_report

    with get_client(sync_client=True) as client:
        client.hello()
    return release, smoke, load_logs, weekly_report


def _release(release: Any, what: Release) -> Any:
    return release(
        source=str(what.source), dataset=DATASET, version=what.version, labels=str(what.labels), card=str(CARD)
    )


def _pull_command(reference: str, dest: Path) -> list[str]:
    return [sys.executable, "-m", "lading", "pull", reference, str(dest), "--json", "--quiet"]


def _pull(reference: str, dest: Path) -> Any:
    """Run the client as a user would."""
    done = subprocess.run(_pull_command(reference, dest), capture_output=True, text=True, check=False)
    if done.returncode:
        raise LadingError(f"lading pull failed: {done.stderr.strip()}", "look at the gateway's log")
    return json.loads(done.stdout)


def _pull_and_kill(dest: Path, total: int) -> int:
    """Start a pull and kill it when a third of the bytes are written; returns how many were."""
    process = subprocess.Popen(_pull_command(f"{DATASET}@v1", dest), stdout=subprocess.DEVNULL)
    try:
        while process.poll() is None and _written(dest) < total / 3:
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return _written(dest)


def _written(dest: Path) -> int:
    """Bytes on disk below a pulled folder, holes left out."""
    total = 0
    for path in dest.rglob("*"):
        try:
            if path.is_file() and path.suffix != ".ndjson" and path.parent.name not in ("index", "spill"):
                total += min(path.stat().st_size, path.stat().st_blocks * 512)
        except FileNotFoundError:
            continue
    return total


def _same_tree(source: Path, dest: Path) -> bool:
    """Whether two trees hold the same files with the same bytes, Lading's own folder left out."""
    done = subprocess.run(
        ["diff", "-rq", "--exclude=.lading", str(source), str(dest)], capture_output=True, check=False
    )
    return done.returncode == 0


def _load(load_logs: Any, config: StackConfig) -> int:
    """Load the logs until nothing new has come for a while: events reach the bucket by a queue."""
    total = 0
    deadline = time.monotonic() + LOG_TIMEOUT_S
    quiet = 0
    while quiet < 2 and time.monotonic() < deadline:
        time.sleep(1.5)
        new = load_logs(database=config.home / "analytics.duckdb")["events"]
        total += new
        quiet = 0 if new or not total else quiet + 1
    return total


def _release_line(result: dict[str, Any]) -> str:
    totals = result["totals"]
    return (
        f"{totals['files']:,} files, {_mb(totals['bytes'])}, stored {_mb(totals['stored_bytes'])} "
        f"(ratio {totals['bytes'] / totals['stored_bytes']:.1f}), uploaded {_mb(result['uploaded_bytes'])}"
    )


def _cost(figures: dict[str, Any]) -> str:
    cost = figures["cost"]
    return f"${cost['total_usd']:.6f} for this week's traffic"


def _mb(count: float) -> str:
    return f"{count / 1e6:,.1f} MB"


def _show(console: Console, outcome: Outcome, report: Path) -> None:
    steps = Table("step", "seconds", "MB/s", title="Steps", title_justify="left")
    for column in steps.columns[1:]:
        column.justify = "right"
    for name, seconds, size in outcome.steps:
        steps.add_row(name, f"{seconds:.2f}", f"{size / 1e6 / seconds:,.0f}" if size else "")
    facts = Table("what", "result", title="What happened", title_justify="left")
    for row in outcome.facts:
        facts.add_row(*row)
    console.print(steps, facts)
    print(f"report: {report}")


if __name__ == "__main__":
    sys.exit(main())
