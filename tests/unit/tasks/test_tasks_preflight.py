from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lading.errors import BadNameError, SourceError, UsageError
from lading.settings import Settings
from lading.signing import generate_key
from tasks.preflight import check_release, check_source


def test_the_source_is_returned_as_an_absolute_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_bytes(b"")
    (tmp_path / "alias").symlink_to("real")
    assert check_source(Path("alias")) == (tmp_path / "real").resolve()


def test_a_missing_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no folder"):
        check_source(tmp_path / "missing")


def test_a_file_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SourceError, match="not a folder"):
        check_source(tmp_path / "file")


def test_a_folder_without_files_is_refused_whatever_else_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "sub" / "empty").mkdir(parents=True)
    (tmp_path / "link").symlink_to("sub")
    with pytest.raises(SourceError, match="no files in"):
        check_source(tmp_path)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"dataset": "Bad"}, BadNameError),
        ({"version": "latest"}, BadNameError),
        ({"source": "missing"}, SourceError),
        ({"source": "empty"}, SourceError),
        ({"labels": "missing.csv"}, UsageError),
        ({"labels": "source/file"}, UsageError),
        ({"labels": "nopath.csv"}, SourceError),
        ({"labels": "twice.csv"}, SourceError),
        ({"card": "missing.toml"}, UsageError),
        ({"key": "missing.pem"}, UsageError),
        ({"key": ""}, UsageError),
        ({"key": "source/file"}, UsageError),
        ({"smoke": True}, UsageError),
    ],
)
def test_what_is_wrong_is_refused_before_the_store_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], error: type[Exception]
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("source", "empty"):
        (tmp_path / folder).mkdir()
    (tmp_path / "source" / "file").write_bytes(b"no key")
    (tmp_path / "nopath.csv").write_text("name,label\na,1\n")
    (tmp_path / "twice.csv").write_text("path,label\na,1\na,2\n")
    generate_key(tmp_path / "key.pem")
    given: dict[str, Any] = {
        "source": "source",
        "dataset": "data",
        "version": "v1",
        "labels": None,
        "card": None,
        "key": "key.pem",
    }
    given |= change
    settings = Settings.from_env({"LADING_HOME": str(tmp_path), "LADING_PUBLISHER_KEY": given.pop("key") or ""})
    with pytest.raises(error):
        check_release(settings, **given)
