"""API keys and sealing."""

from __future__ import annotations

import pytest

from issuer import apikeys
from issuer.sealing import Vault
from lading.errors import UsageError

VAULT = Vault("x" * 32)


def test_a_generated_key_is_parsed_back_and_hides_in_repr() -> None:
    key = apikeys.generate()
    assert key.text.startswith("lad_")
    assert apikeys.parse(key.text) == key
    assert key.text not in repr(key)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-1],
        lambda text: text + "a",
        lambda text: text + "\n",
        lambda text: text.upper(),
        lambda text: text.replace("lad_", ""),
        lambda text: text[:-1] + "é",
        lambda text: " " + text,
    ],
)
def test_what_is_not_exactly_a_key_is_none(change) -> None:
    assert apikeys.parse(change(apikeys.generate().text)) is None


def test_the_digest_depends_on_the_whole_key_and_on_the_secret() -> None:
    key, other = apikeys.generate(), apikeys.generate()
    same_id = apikeys.ApiKey(key.key_id, key.text[: -apikeys.SECRET_LENGTH] + other.text[-apikeys.SECRET_LENGTH :])
    digests = {
        key.digest(VAULT.api_key_hash_key),
        other.digest(VAULT.api_key_hash_key),
        same_id.digest(VAULT.api_key_hash_key),
        key.digest(Vault("y" * 32).api_key_hash_key),
    }
    assert len(digests) == 4
    assert key.digest(VAULT.api_key_hash_key) == key.digest(Vault("x" * 32).api_key_hash_key)


def test_what_is_sealed_opens_only_in_its_place_with_its_secret() -> None:
    sealed = VAULT.seal(b"private", "kid-1")
    assert b"private" not in sealed
    assert VAULT.unseal(sealed, "kid-1") == b"private"
    for vault, bytes_, context in (
        (VAULT, sealed, "kid-2"),
        (Vault("y" * 32), sealed, "kid-1"),
        (VAULT, sealed[:-1] + bytes([sealed[-1] ^ 1]), "kid-1"),
        (VAULT, b"", "kid-1"),
    ):
        with pytest.raises(UsageError, match="cannot be opened"):
            vault.unseal(bytes_, context)


def test_sealing_twice_gives_different_bytes() -> None:
    assert VAULT.seal(b"a", "k") != VAULT.seal(b"a", "k")


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(UsageError, match="too short"):
        Vault("x" * 31)
