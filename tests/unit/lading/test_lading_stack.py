from __future__ import annotations

import json
import os
import socket
import stat
from pathlib import Path

import pytest

from lading.errors import UsageError
from lading.settings import Settings
from lading.signing import load_key
from lading.stack import config as config_module
from lading.stack.config import prepare, read_jsonc, recall, remember, worker_config, write_private

WORKER = Path(__file__).parents[3] / "gateway_worker"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env({"LADING_HOME": str(tmp_path / "home")})


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_secrets_are_made_once_and_private_whatever_the_umask(settings: Settings) -> None:
    before = os.umask(0)
    try:
        first = prepare(settings, 0, 0)
    finally:
        os.umask(before)
    again = prepare(settings, 0, 0)
    assert first.secrets == again.secrets
    assert set(first.secrets) == {"api_key", "issuer_secret", "s3_access_key_id", "s3_secret_access_key"}
    assert len(set(first.secrets.values())) == 4
    assert mode(settings.home) == 0o700
    assert mode(settings.home / "secrets.json") == 0o600
    assert mode(first.publisher_key) == 0o600
    assert load_key(first.publisher_key).private_bytes_raw() == load_key(again.publisher_key).private_bytes_raw()


def test_a_new_kind_of_secret_joins_an_old_file(settings: Settings) -> None:
    known = prepare(settings, 0, 0).secrets
    old = {name: value for name, value in known.items() if name != "issuer_secret"}
    (settings.home / "secrets.json").write_text(json.dumps(old))
    renewed = prepare(settings, 0, 0).secrets
    assert {name: renewed[name] for name in old} == old
    assert renewed["issuer_secret"] != known["issuer_secret"]


@pytest.mark.parametrize("part", ["gateway", "issuer"])
def test_a_taken_port_is_an_error_that_names_it_and_the_option(settings: Settings, part: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ports = (port, 0) if part == "gateway" else (0, port)
        with pytest.raises(UsageError, match=f"port {port} for the {part} is taken") as caught:
            prepare(settings, *ports)
    assert f"--{part}-port" in str(caught.value.hint)


def test_port_zero_is_any_free_one(settings: Settings) -> None:
    config = prepare(settings, 0, 0)
    assert config.gateway_port != config.issuer_port
    assert min(config.gateway_port, config.issuer_port) > 1024


def test_the_last_stack_is_recalled(settings: Settings) -> None:
    config = prepare(settings, 0, 0)
    remember(config)
    assert recall(settings) == config


def test_without_a_stack_there_is_nothing_to_recall(settings: Settings) -> None:
    with pytest.raises(UsageError, match="no local stack") as caught:
        recall(settings)
    assert "lading up" in str(caught.value.hint)


def test_the_environment_of_a_stack_is_read_back_as_its_settings(settings: Settings) -> None:
    config = prepare(settings, 0, 0)
    read = Settings.from_env(config.environment())
    assert (read.home, read.gateway_url, read.issuer_url) == (config.home, config.gateway_url, config.issuer_url)
    assert (read.api_key, read.publisher_key) == (config.secrets["api_key"], config.publisher_key)
    assert read.s3_endpoint == config.gateway_url + "/cdn-cgi/local/r2/s3"
    assert read.issuer_secret is None
    assert Settings.from_env(config.issuer_environment()).issuer_secret == config.secrets["issuer_secret"]


def test_the_workers_configuration_is_the_committed_one_with_local_credentials(settings: Settings) -> None:
    config = prepare(settings, 0, 0)
    committed = read_jsonc(WORKER / "wrangler.jsonc")
    made = worker_config(config, WORKER, '{"keys": []}')
    assert Path(made["main"]).is_file()
    assert made["vars"]["TOKEN_KEYRING"] == '{"keys": []}'
    assert made["compatibility_date"] == committed["compatibility_date"]
    assert [bucket["binding"] for bucket in made["r2_buckets"]] == [b["binding"] for b in committed["r2_buckets"]]
    for bucket in made["r2_buckets"]:
        credentials = bucket["local_dev"]["experimental_s3_credentials"]
        assert credentials["accessKeyId"] == config.secrets["s3_access_key_id"]
        assert credentials["secretAccessKey"] == config.secrets["s3_secret_access_key"]
    assert config.secrets["issuer_secret"] not in json.dumps(made)


def test_a_private_file_replaces_an_open_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "secret"
    write_private(path, "one")
    path.chmod(0o644)
    write_private(path, "two")
    assert (path.read_text(), mode(path)) == ("two", 0o600)
    assert [child.name for child in path.parent.iterdir()] == ["secret"]


def test_comments_are_taken_out_of_jsonc_but_not_out_of_texts(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonc"
    path.write_text('// top\n{\n  // inside\n  "url": "http://a"\n}\n')
    assert config_module.read_jsonc(path) == {"url": "http://a"}
