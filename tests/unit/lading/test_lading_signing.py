from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from lading.errors import IntegrityError, UsageError
from lading.signing import generate_key, load_key, public_jwk, sign, signer, thumbprint, verify

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
OTHER = Ed25519PrivateKey.from_private_bytes(b"o" * 32)
JWK = public_jwk(KEY.public_key())
PAYLOAD = b'{"a":"\xc3\xa9"}\n'
SIGNATURE = sign(PAYLOAD, KEY)


def check(payload: bytes, signature: bytes, jwk: dict[str, str] = JWK) -> None:
    """What a client does: look who signed, insist on the trusted key, verify."""
    if thumbprint(signer(signature)) != thumbprint(jwk):
        raise IntegrityError("another key")
    verify(payload, signature, jwk)


def test_a_signature_may_name_the_lookup_and_holds_all_the_same() -> None:
    signature = sign(PAYLOAD, KEY, "lookup.0123456789abcdef.bin")
    check(PAYLOAD, signature)
    head = signature.split(b".")[0]
    assert json.loads(base64.urlsafe_b64decode(head + b"=="))["lookup"] == "lookup.0123456789abcdef.bin"
    assert b"lookup" not in base64.urlsafe_b64decode(SIGNATURE.split(b".")[0] + b"==")


def with_header(**changes: object) -> bytes:
    """The signature with another header, signed by nobody."""
    head, _, tail = SIGNATURE.split(b".")
    header = json.loads(base64.urlsafe_b64decode(head + b"=" * (-len(head) % 4)))
    header |= changes
    return base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=") + b".." + tail


def test_a_signature_holds_over_exactly_its_payload() -> None:
    check(PAYLOAD, SIGNATURE)
    assert signer(SIGNATURE) == JWK


def test_a_signature_is_a_detached_compact_jws_with_an_unencoded_payload() -> None:
    head, body, _ = SIGNATURE.split(b".")
    header = json.loads(base64.urlsafe_b64decode(head + b"=" * (-len(head) % 4)))
    assert body == b""
    assert (header["alg"], header["b64"], header["crit"]) == ("EdDSA", False, ["b64"])
    assert header["kid"] == thumbprint(JWK)
    assert SIGNATURE.isascii()
    assert SIGNATURE.endswith(b"\n")


def test_signing_twice_gives_the_same_bytes() -> None:
    assert sign(PAYLOAD, KEY) == SIGNATURE


def test_the_thumbprint_is_that_of_rfc_8037() -> None:
    # RFC 8037 appendix A.3.
    jwk = {"crv": "Ed25519", "kty": "OKP", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert thumbprint(jwk) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@given(payload=st.binary(min_size=1, max_size=200), where=st.integers(0), change=st.integers(1, 255))
@settings(deadline=None)
def test_any_change_of_one_payload_byte_is_refused(payload: bytes, where: int, change: int) -> None:
    where %= len(payload)
    damaged = payload[:where] + bytes([payload[where] ^ change]) + payload[where + 1 :]
    with pytest.raises(IntegrityError):
        check(damaged, sign(payload, KEY))


@given(where=st.integers(0, len(SIGNATURE) - 1), change=st.integers(1, 255))
@settings(max_examples=500, deadline=None)
def test_any_change_of_one_signature_byte_is_refused(where: int, change: int) -> None:
    damaged = SIGNATURE[:where] + bytes([SIGNATURE[where] ^ change]) + SIGNATURE[where + 1 :]
    with pytest.raises(IntegrityError):
        check(PAYLOAD, damaged)


@pytest.mark.parametrize("where", range(1, 12))
def test_no_byte_at_the_end_of_a_signature_can_be_respelled(where: int) -> None:
    """The last base64url digit has bits that carry nothing; and white space must not be waved through."""
    for value in set(range(256)) - {SIGNATURE[-where]}:
        damaged = SIGNATURE[: len(SIGNATURE) - where] + bytes([value]) + SIGNATURE[len(SIGNATURE) - where + 1 :]
        with pytest.raises(IntegrityError):
            check(PAYLOAD, damaged)


@given(signature=st.binary(max_size=300))
@settings(deadline=None)
def test_garbage_is_an_integrity_error(signature: bytes) -> None:
    with pytest.raises(IntegrityError):
        check(PAYLOAD, signature)


def test_the_signature_of_another_key_is_refused() -> None:
    with pytest.raises(IntegrityError):
        verify(PAYLOAD, sign(PAYLOAD, OTHER), JWK)
    with pytest.raises(IntegrityError):
        check(PAYLOAD, sign(PAYLOAD, OTHER))


def test_a_key_id_that_is_not_the_keys_thumbprint_is_refused() -> None:
    with pytest.raises(IntegrityError, match="does not carry"):
        signer(with_header(jwk=public_jwk(OTHER.public_key())))
    with pytest.raises(IntegrityError, match="does not carry"):
        signer(with_header(kid=thumbprint(public_jwk(OTHER.public_key()))))


def test_a_signature_of_another_type_is_refused() -> None:
    with pytest.raises(IntegrityError):
        signer(with_header(typ="dl+jwt"))


@pytest.mark.parametrize("changes", [{"alg": "none"}, {"alg": "HS256"}, {"b64": True}, {"crit": []}, {"jwk": None}])
def test_a_changed_header_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(IntegrityError):
        check(PAYLOAD, with_header(**changes))


def test_a_key_file_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        key = generate_key(tmp_path / "new" / "key.pem")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new" / "key.pem").stat().st_mode) == 0o600
    assert load_key(tmp_path / "new" / "key.pem").private_bytes_raw() == key.private_bytes_raw()


def test_a_key_file_is_never_overwritten(tmp_path: Path) -> None:
    generate_key(tmp_path / "key.pem")
    before = (tmp_path / "key.pem").read_bytes()
    with pytest.raises(FileExistsError):
        generate_key(tmp_path / "key.pem")
    assert (tmp_path / "key.pem").read_bytes() == before


def test_a_missing_malformed_encrypted_or_foreign_key_file_is_a_usage_error(tmp_path: Path) -> None:
    pkcs8 = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    files = {
        "malformed.pem": b"no key",
        "encrypted.pem": KEY.private_bytes(*pkcs8, serialization.BestAvailableEncryption(b"word")),
        "p256.pem": ec.generate_private_key(ec.SECP256R1()).private_bytes(*pkcs8, serialization.NoEncryption()),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    for name in ("missing.pem", *files):
        with pytest.raises(UsageError, match=name):
            load_key(tmp_path / name)
