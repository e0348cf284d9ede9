from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from issuer import signingkeys
from issuer.database import Database
from issuer.sealing import Vault
from lading.errors import ConflictError, LadingError, NotFoundError
from lading.settings import Settings
from lading.signing import public_jwk, thumbprint

from_bootstrap = timedelta(seconds=1)


@pytest.fixture
def vault(settings: Settings) -> Vault:
    return Vault.open(settings)


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC) + from_bootstrap


def test_the_key_id_is_the_thumbprint_of_the_key_that_signs(database: Database, vault: Vault, now: datetime) -> None:
    with database.read() as session:
        kid, key = signingkeys.Signer(vault).current(session, now)
    assert thumbprint(public_jwk(key.public_key())) == kid


def test_the_published_keys_hold_no_private_part(database: Database) -> None:
    with database.read() as session:
        (jwk,) = signingkeys.jwks(session)["keys"]
    assert set(jwk) == {"kty", "crv", "x", "kid", "alg", "use"}


def test_a_rotated_key_is_published_before_it_signs(database: Database, vault: Vault, now: datetime) -> None:
    with database.write() as session:
        old = signingkeys.current(session, now)
        new = signingkeys.create(session, vault, now, delay=600)
        assert {key["kid"] for key in signingkeys.jwks(session)["keys"]} == {old.kid, new.kid}
        assert signingkeys.current(session, now + timedelta(seconds=599)) is old
        assert signingkeys.current(session, now + timedelta(seconds=600)) is new
        states = {view.kid: view.state for view in signingkeys.views(session, now)}
        assert states == {old.kid: "signing", new.kid: "pending"}
        states = {view.kid: view.state for view in signingkeys.views(session, now + timedelta(seconds=600))}
        assert states == {old.kid: "verifying", new.kid: "signing"}


def test_a_key_is_retired_only_when_its_tokens_are_gone(database: Database, vault: Vault, now: datetime) -> None:
    with database.write() as session:
        old = signingkeys.current(session, now)
        with pytest.raises(ConflictError, match="is the key that signs"):
            signingkeys.retire(session, old.kid, now, max_ttl=3600, force=True)
        new = signingkeys.create(session, vault, now)
        with pytest.raises(ConflictError, match="are valid until"):
            signingkeys.retire(session, old.kid, now + timedelta(seconds=3599), max_ttl=3600)
        signingkeys.retire(session, old.kid, now + timedelta(seconds=3600), max_ttl=3600)
        assert [key["kid"] for key in signingkeys.jwks(session)["keys"]] == [new.kid]


def test_force_retires_a_compromised_key_at_once(database: Database, vault: Vault, now: datetime) -> None:
    with database.write() as session:
        old = signingkeys.current(session, now)
        signingkeys.create(session, vault, now)
        assert signingkeys.retire(session, old.kid, now, max_ttl=3600, force=True).retired_at == now


def test_an_unknown_key_cannot_be_retired(database: Database, now: datetime) -> None:
    with database.write() as session, pytest.raises(NotFoundError):
        signingkeys.retire(session, "nope", now, max_ttl=3600)


def test_a_key_that_is_not_active_yet_does_not_sign(database: Database, vault: Vault, now: datetime) -> None:
    with database.read() as session, pytest.raises(LadingError, match="no active signing key"):
        signingkeys.Signer(vault).current(session, now - timedelta(days=1))
