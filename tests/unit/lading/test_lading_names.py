from __future__ import annotations

import pytest

from lading import names
from lading.errors import BadNameError


@pytest.mark.parametrize("name", ["a", "0", "imagenet-mini", "a.b_c-d", "x" * 63])
def test_a_dataset_name_by_the_rules_is_returned(name: str) -> None:
    assert names.check_dataset(name) == name


@pytest.mark.parametrize("name", ["", "A", ".a", "-a", "_a", "a/b", "a b", "a\n", "ä", "x" * 64, "a..", "..", "a\0"])
def test_a_dataset_name_against_the_rules_is_refused(name: str) -> None:
    with pytest.raises(BadNameError, match="dataset name"):
        names.check_dataset(name)


@pytest.mark.parametrize("version", ["1", "v1.0", "2026-01-01", "A", "x" * 64])
def test_a_version_by_the_rules_is_returned(version: str) -> None:
    assert names.check_version(version) == version


@pytest.mark.parametrize("version", ["", ".1", "-1", "a/b", "1\n", "é", "x" * 65, "..", "1 2"])
def test_a_version_against_the_rules_is_refused(version: str) -> None:
    with pytest.raises(BadNameError, match="version name"):
        names.check_version(version)


def test_no_release_may_be_called_latest() -> None:
    with pytest.raises(BadNameError, match="cannot be called 'latest'"):
        names.check_version("latest")


@pytest.mark.parametrize(
    ("reference", "expected"),
    [("data", ("data", "latest")), ("data@latest", ("data", "latest")), ("data@V.1", ("data", "V.1"))],
)
def test_a_reference_is_split(reference: str, expected: tuple[str, str]) -> None:
    assert names.parse_reference(reference) == expected


@pytest.mark.parametrize("reference", ["", "@1", "data@", "Data@1", "data@1@2", "data@../1"])
def test_a_malformed_reference_is_refused(reference: str) -> None:
    with pytest.raises(BadNameError):
        names.parse_reference(reference)


def test_keys_are_laid_out_as_the_design_says() -> None:
    sha256 = "0" * 64
    assert names.shard_key("d", sha256) == f"d/shards/{sha256}.tar.zst"
    assert names.shard_key("d", sha256).startswith(names.shard_prefix("d"))
    assert names.release_key("d", "1", names.MANIFEST) == "d/releases/1/manifest.json"
    assert names.release_key("d", "1", names.SIGNATURE) == "d/releases/1/manifest.json.sig"
    assert names.release_prefix("d") == "d/releases/"
    assert names.latest_key("d") == "d/latest.json"
