"""What the documentation says is what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lading import errors
from lading.manifest import Manifest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "gateway_worker" / "README.md",
    *(ROOT / "docs").glob("*.md"),
]


def test_the_manifest_schema_is_that_of_the_model() -> None:
    """Renew it with: python -m lading.manifest > docs/manifest.schema.json"""
    from lading.manifest import json_schema

    assert json.loads((ROOT / "docs" / "manifest.schema.json").read_text()) == json_schema()
    assert Manifest.model_config["extra"] == "forbid"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text())
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing


def test_every_exit_code_is_documented() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    codes = {
        value.exit_code
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.LadingError)
    }
    missing = [code for code in codes if f"| {code} |" not in page]
    assert not missing


def test_every_setting_is_documented() -> None:
    names = set(re.findall(r"LADING_[A-Z0-9_]+", (ROOT / "lading" / "settings.py").read_text()))
    page = (ROOT / "docs" / "cli.md").read_text()
    assert {name for name in names if f"`{name}`" not in page} == set()
