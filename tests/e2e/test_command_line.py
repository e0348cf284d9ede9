"""The command line keeps its manners."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from lading.cli import COMMANDS

LADING = str(Path(sys.executable).with_name("lading"))
HELP_S = 0.3


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([LADING, *arguments], capture_output=True, text=True, check=False)


def test_help_imports_nothing_heavy() -> None:
    """This keeps `lading --help` within 0.3 seconds; the time itself is no test on a machine that does other things."""
    code = (
        "import atexit, sys, lading.cli; sys.argv = ['lading', '--help'];"
        "atexit.register(lambda: print(*sys.modules)); lading.cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "typer" in loaded
    assert not loaded & {"prefect", "duckdb", "boto3", "botocore", "requests", "pydantic", "fastapi", "sqlalchemy"}


@pytest.mark.slow
def test_help_is_quick() -> None:
    """The best of several, against a bare start of Python: what else the machine does must not matter."""

    def best(command: list[str]) -> float:
        times = []
        for _ in range(7):
            started = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            times.append(time.perf_counter() - started)
        return min(times)

    bare = best([sys.executable, "-c", "pass"])
    assert best([LADING, "--help"]) < max(HELP_S, 20 * bare)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage: lading " + command in done.stdout


def test_an_unknown_command_is_a_usage_error() -> None:
    done = run("pul")
    assert done.returncode == 2
    assert "No such command 'pul'" in done.stderr


def test_every_command_is_in_the_documentation() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text()
    missing = [command for command in COMMANDS if f"lading {command}" not in text]
    assert not missing
