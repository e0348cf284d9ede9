from __future__ import annotations

from pathlib import Path

import pytest

from lading.errors import UsageError
from lading.settings import Settings


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = Settings.from_env({})
    assert settings.home == Path(".lading").absolute()
    assert settings.gateway_url is None
    assert settings.s3_bucket == "lading"
    assert settings.database_url == f"sqlite:///{settings.home}/issuer.db"
    assert (settings.token_min_ttl, settings.token_ttl, settings.token_max_ttl) == (30, 300, 3600)


def test_an_empty_value_counts_as_not_set() -> None:
    unset = Settings.from_env({})
    names = ("LADING_HOME", "LADING_GATEWAY_URL", "LADING_API_KEY", "LADING_TOKEN_TTL", "LADING_S3_BUCKET")
    assert Settings.from_env(dict.fromkeys(names, "")) == unset


def test_a_trailing_slash_of_a_url_is_dropped() -> None:
    assert Settings.from_env({"LADING_GATEWAY_URL": "https://g.example/"}).gateway_url == "https://g.example"


@pytest.mark.parametrize("name", ["LADING_GATEWAY_URL", "LADING_ISSUER_URL", "LADING_S3_ENDPOINT"])
@pytest.mark.parametrize("value", ["g.example", "ftp://g.example", "localhost:8787", "//g.example"])
def test_a_url_without_its_scheme_is_an_error_that_names_the_variable(name: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"{name} is") as caught:
        Settings.from_env({name: value})
    assert "http://" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["LADING_TOKEN_TTL", "LADING_TOKEN_MIN_TTL", "LADING_TOKEN_MAX_TTL"])
@pytest.mark.parametrize("value", ["0", "-1", "1.5", "5m", "٣", " "])
def test_seconds_that_are_no_whole_number_are_an_error_that_names_the_variable(name: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"{name} is"):
        Settings.from_env({name: value})


def test_repr_hides_secrets() -> None:
    secret = "do-not-show"
    settings = Settings.from_env(
        {
            "LADING_API_KEY": secret,
            "LADING_ISSUER_SECRET": secret,
            "LADING_DATABASE_URL": f"postgresql://user:{secret}@host/db",
        }
    )
    assert secret not in repr(settings)
    assert secret not in str(settings)


def test_a_missing_setting_is_an_error_that_names_its_variable() -> None:
    with pytest.raises(UsageError, match="LADING_ISSUER_URL is not set") as caught:
        Settings.from_env({}).require("issuer_url")
    assert "lading up" in str(caught.value.hint)


def test_a_home_folder_sign_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    settings = Settings.from_env({"LADING_HOME": "~/state", "LADING_PUBLISHER_KEY": "~/key.pem"})
    assert settings.home == Path("/home/someone/state")
    assert settings.publisher_key == Path("/home/someone/key.pem")
    assert settings.trust_store == Path("/home/someone/.config/lading/trust.json")
