from __future__ import annotations

from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lading.tokens import mint

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
ARGUMENTS: dict[str, Any] = {
    "kid": "k1",
    "issuer": "lading",
    "audience": "gateway",
    "subject": "ann",
    "scope": ["data/"],
    "issued_at": 1000,
    "ttl": 60,
}


def test_an_ed25519_key_signs_eddsa() -> None:
    token, claims = mint(KEY, **ARGUMENTS)
    header = jwt.get_unverified_header(token)
    assert header == {"alg": "EdDSA", "kid": "k1", "typ": "dl+jwt"}
    read = jwt.decode(token, KEY.public_key(), algorithms=["EdDSA"], audience="gateway", options={"verify_exp": False})
    assert read == claims
    assert claims == {
        "iss": "lading",
        "aud": "gateway",
        "sub": "ann",
        "jti": claims["jti"],
        "iat": 1000,
        "exp": 1060,
        "scp": ["data/"],
    }


def test_a_shared_secret_signs_hs256() -> None:
    secret = b"s" * 32
    token, _ = mint(secret, **ARGUMENTS)
    assert jwt.get_unverified_header(token)["alg"] == "HS256"
    jwt.decode(token, secret, algorithms=["HS256"], audience="gateway", options={"verify_exp": False})


def test_a_short_secret_and_an_empty_scope_are_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        mint(b"s" * 31, **ARGUMENTS)
    with pytest.raises(ValueError, match="scope"):
        mint(KEY, **{**ARGUMENTS, "scope": []})


def test_optional_claims_are_there_only_when_given() -> None:
    _, claims = mint(KEY, **ARGUMENTS, project="p", ip="10.0.0.0/8", max_bytes=0, jti="j")
    assert {name: claims[name] for name in ("prj", "ip", "max", "jti")} == {
        "prj": "p",
        "ip": "10.0.0.0/8",
        "max": 0,
        "jti": "j",
    }


def test_every_token_has_an_id_of_its_own() -> None:
    assert mint(KEY, **ARGUMENTS)[1]["jti"] != mint(KEY, **ARGUMENTS)[1]["jti"]
