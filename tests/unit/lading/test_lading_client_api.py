"""What `import lading` offers, and what it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import lading

PUBLIC = {
    "AccessError",
    "ConflictError",
    "FileInfo",
    "Files",
    "IntegrityError",
    "LadingError",
    "NotFoundError",
    "PullResult",
    "Settings",
    "TransferError",
    "UsageError",
    "__version__",
    "files",
    "open",
    "pull",
}


def test_the_public_names_are_these() -> None:
    assert set(lading.__all__) == PUBLIC
    assert set(dir(lading)) == PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC - {"__version__"}))
def test_every_public_name_is_there_and_documented(name: str) -> None:
    assert getattr(lading, name).__doc__


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = lading.nonsense


def test_importing_lading_loads_nothing_heavy() -> None:
    """This keeps it within 50 ms; the time itself is no test on a machine that does other things."""
    code = "import sys; before = set(sys.modules); import lading; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert set(done.stdout.split()) <= {"lading", "__future__", "typing"} | set(sys.stdlib_module_names) | {
        name for name in done.stdout.split() if name.partition(".")[0] in sys.stdlib_module_names
    }
    assert len(done.stdout.split()) < 30
