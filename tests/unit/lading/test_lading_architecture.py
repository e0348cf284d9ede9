"""The arrows of the design's section 2, and what a light client may import."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

MAY_IMPORT = {
    "lading": set(),
    "tasks": {"lading"},
    "analytics": {"lading"},
    "issuer": {"lading"},
    "flows": {"tasks", "analytics", "lading"},
}
OURS = {*MAY_IMPORT, "tests", "benchmarks"}
MODULES = [path for folder in MAY_IMPORT for path in sorted((ROOT / folder).rglob("*.py"))]


def imports(path: Path) -> set[str]:
    """Top-level packages that a module imports anywhere, inside functions too."""
    package = path.relative_to(ROOT).parent.parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(package[0] if node.level else (node.module or "").partition(".")[0])
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_imports_only_what_its_folder_may(path: Path) -> None:
    folder = path.relative_to(ROOT).parts[0]
    assert imports(path) & OURS <= MAY_IMPORT[folder] | {folder}


@pytest.mark.parametrize(
    "path", [path for path in MODULES if path.is_relative_to(ROOT / "lading")], ids=lambda path: path.name
)
def test_the_library_does_not_import_prefect(path: Path) -> None:
    assert "prefect" not in imports(path)


def loaded_by(module: str) -> set[str]:
    """Top-level packages in memory after an import, in a process of its own."""
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    return set(done.stdout.split())


def test_the_command_line_starts_without_the_heavy_packages() -> None:
    heavy = {"prefect", "duckdb", "boto3", "requests", "pydantic", "zstandard", "cryptography", "fastapi"}
    assert loaded_by("lading.cli") & heavy == set()


def test_the_guard_needs_nothing_but_the_standard_library() -> None:
    assert loaded_by("lading.stack.guard") <= sys.stdlib_module_names | {"lading", "__main__"} | loaded_by("subprocess")


def test_a_pull_needs_only_what_the_plain_package_installs() -> None:
    extras = {"prefect", "boto3", "botocore", "pyfastcdc", "fastapi", "sqlalchemy", "uvicorn", "jinja2"}
    assert loaded_by("lading.cli.pull") & extras == set()


def test_every_folder_with_a_python_package_is_in_the_wheel() -> None:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(document["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == set(MAY_IMPORT)
