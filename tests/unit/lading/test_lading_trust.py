from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lading.client.trust import TrustStore
from lading.errors import IntegrityError, UsageError
from lading.signing import public_jwk, sign, thumbprint

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
OTHER = Ed25519PrivateKey.from_private_bytes(b"o" * 32)
PAYLOAD = b"manifest\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config" / "trust.json"


def test_the_first_key_of_a_dataset_is_trusted_and_told(path: Path) -> None:
    notes: list[str] = []
    store = TrustStore(path, notes.append)
    store.check("data", PAYLOAD, sign(PAYLOAD, KEY))
    store.check("data", PAYLOAD, sign(PAYLOAD, KEY))
    assert len(notes) == 1
    assert thumbprint(public_jwk(KEY.public_key())) in notes[0]
    assert json.loads(path.read_text()) == {"data": public_jwk(KEY.public_key())}


def test_another_key_is_refused_and_the_message_names_both_and_what_to_run(path: Path) -> None:
    TrustStore(path).check("data", PAYLOAD, sign(PAYLOAD, KEY))
    before = path.read_bytes()
    with pytest.raises(IntegrityError, match="not by the trusted") as caught:
        TrustStore(path).check("data", PAYLOAD, sign(PAYLOAD, OTHER))
    other = thumbprint(public_jwk(OTHER.public_key()))
    assert f"lading trust data {other}" in str(caught.value.hint)
    assert path.read_bytes() == before


def test_datasets_have_keys_of_their_own(path: Path) -> None:
    TrustStore(path).check("data", PAYLOAD, sign(PAYLOAD, KEY))
    TrustStore(path).check("more", PAYLOAD, sign(PAYLOAD, OTHER))
    TrustStore(path).check("data", PAYLOAD, sign(PAYLOAD, KEY))


def test_a_signature_that_does_not_hold_makes_no_trust(path: Path) -> None:
    with pytest.raises(IntegrityError):
        TrustStore(path).check("data", b"other\n", sign(PAYLOAD, KEY))
    assert not path.exists()


def test_trust_can_be_changed_on_purpose(path: Path) -> None:
    store = TrustStore(path)
    store.check("data", PAYLOAD, sign(PAYLOAD, KEY))
    store.trust("data", public_jwk(OTHER.public_key()))
    store.check("data", PAYLOAD, sign(PAYLOAD, OTHER))
    with pytest.raises(IntegrityError):
        store.check("data", PAYLOAD, sign(PAYLOAD, KEY))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"data": 1}', '{"data": {"kty": "OKP"}}', '{"data": null}', "\xff"])
def test_a_malformed_store_is_an_error_and_never_first_use(path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_text(text, encoding="latin-1")
    with pytest.raises(UsageError, match="malformed"):
        TrustStore(path).check("data", PAYLOAD, sign(PAYLOAD, KEY))
    assert path.read_text(encoding="latin-1") == text
