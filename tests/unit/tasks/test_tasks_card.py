from __future__ import annotations

from pathlib import Path

import pytest

from lading.errors import UsageError
from tasks.card import DatasetCard, read_card


def card(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "card.toml"
    path.write_text(text)
    return path


def test_without_a_card_everything_is_empty() -> None:
    assert read_card(None) == DatasetCard()


def test_a_card_is_read(tmp_path: Path) -> None:
    text = """
        title = "Größe"
        license = "CC-BY-4.0"
        labels = {task = "classification"}
        [[sources]]
        name = "one"
        share = 0.25
        [[sources]]
        name = "two"
        url = "https://two.example"
        share = 0.75
    """
    read = read_card(card(tmp_path, text))
    assert (read.title, read.license, read.labels) == ("Größe", "CC-BY-4.0", {"task": "classification"})
    assert [(source.name, source.share) for source in read.sources] == [("one", 0.25), ("two", 0.75)]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("licence = 'CC0'", "licence"),
        ("title = 1", "title"),
        ("[labels]\ntask = 1", r"labels\.task"),
        ("[[sources]]\nname = 'a'\n[[sources]]\nshare = 0.1", r"sources\.1\.name"),
        ("[[sources]]\nname = 'a'\nshare = 2.0", r"sources\.0\.share"),
        ("[[sources]]\nname = 'a'\n[[sources]]\nname = 'b'", "add up to more than 1"),
    ],
)
def test_an_error_names_the_field(tmp_path: Path, text: str, field: str) -> None:
    with pytest.raises(UsageError, match=field):
        read_card(card(tmp_path, text))


@pytest.mark.parametrize("text", ["title =", "title = 'a'\ntitle = 'b'"])
def test_what_is_not_toml_is_an_error_that_names_the_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"card\.toml is not TOML"):
        read_card(card(tmp_path, text))


def test_a_card_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "card.toml").write_bytes(b"title = '\xff'")
    with pytest.raises(UsageError, match="not TOML"):
        read_card(tmp_path / "card.toml")


def test_a_missing_card_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no dataset card"):
        read_card(tmp_path / "card.toml")
