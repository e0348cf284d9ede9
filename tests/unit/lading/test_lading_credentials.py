from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from lading.credentials import Credentials, config_folder, load, remove, store
from lading.errors import UsageError
from lading.settings import Settings

ISSUER, OTHER = "https://issuer.example", "https://other.example"
KEPT = Credentials(ISSUER, "lad_secret", "https://gateway.example")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    store(tmp_path / "lading/credentials.json", KEPT)
    return tmp_path / "lading/credentials.json"


def test_what_is_kept_comes_back_and_is_its_owners_alone(path: Path) -> None:
    assert load(path) == KEPT
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "lad_secret" not in repr(KEPT)
    store(path, Credentials(OTHER, "lad_other"))
    assert load(path) == Credentials(OTHER, "lad_other", None)
    assert remove(path)
    assert not remove(path)
    assert load(path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"issuer_url": "https://x"}', "null"])
def test_a_malformed_file_is_an_error_without_its_content(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(UsageError, match="malformed") as caught:
        load(path)
    assert "lading login" in str(caught.value.hint)


@pytest.mark.skipif(os.name == "nt", reason="permission bits")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_that_others_may_use_is_refused(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(UsageError, match="may be read by others"):
        load(path)


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, (ISSUER, "lad_secret", KEPT.gateway_url)),
        ({"LADING_ISSUER_URL": ISSUER + "/"}, (ISSUER, "lad_secret", KEPT.gateway_url)),
        ({"LADING_API_KEY": "lad_env"}, (ISSUER, "lad_env", KEPT.gateway_url)),
        ({"LADING_GATEWAY_URL": OTHER}, (ISSUER, "lad_secret", OTHER)),
        ({"LADING_ISSUER_URL": OTHER}, (OTHER, None, None)),
        ({"LADING_ISSUER_URL": OTHER, "LADING_API_KEY": "lad_env"}, (OTHER, "lad_env", None)),
    ],
)
def test_the_environment_wins_and_a_key_goes_to_its_own_issuer_only(
    path: Path, env: dict[str, str], expected: tuple[str | None, ...]
) -> None:
    settings = Settings.from_env({"LADING_CREDENTIALS": str(path), **env})
    assert (settings.issuer_url, settings.api_key, settings.gateway_url) == expected


def test_another_environment_than_the_process_has_nothing_kept(path: Path) -> None:
    assert Settings.from_env({"XDG_CONFIG_HOME": str(path.parents[1])}).api_key is None
    assert Settings.from_env({"LADING_CREDENTIALS": str(path)}, kept=False).api_key is None


@pytest.mark.skipif(os.name == "nt", reason="XDG")
def test_the_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert config_folder({}) == Path("/home/someone/.config/lading")
    assert config_folder({"XDG_CONFIG_HOME": "/etc/mine"}) == Path("/etc/mine/lading")
