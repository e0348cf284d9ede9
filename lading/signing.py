"""Ed25519 keys and detached signatures over manifests.

A signature is a detached JWS in compact form (RFC 7515 appendix F) with an unencoded payload (RFC 7797), so it is
made over the manifest's exact bytes. Its header carries the public key (`jwk`) and the key id (`kid`), which is the
key's RFC 7638 thumbprint: whoever trusts the key id trusts exactly this key.

The header may also name the release's lookup object (`lookup`, a file name). The gateway serves a release only if the
signature is there, and this small object so tells it all that it needs of a manifest of any size.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from jwt.api_jws import PyJWS
from jwt.exceptions import InvalidTokenError

from lading.errors import IntegrityError, UsageError

_JWS = PyJWS(algorithms=["EdDSA"])
_TYPE = "lading-manifest+jws"


def public_jwk(key: Ed25519PublicKey) -> dict[str, str]:
    """The public key as a JWK of type OKP (RFC 8037)."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return {"crv": "Ed25519", "kty": "OKP", "x": base64.urlsafe_b64encode(raw).rstrip(b"=").decode()}


def thumbprint(jwk: dict[str, str]) -> str:
    """RFC 7638 thumbprint of an OKP key: base64url of the SHA-256 of its required members."""
    required = {name: jwk[name] for name in ("crv", "kty", "x")}
    digest = hashlib.sha256(json.dumps(required, sort_keys=True, separators=(",", ":")).encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def generate_key(path: Path) -> Ed25519PrivateKey:
    """Make a new key and write it to `path` as PEM PKCS #8 with mode 0600. An existing file is an error."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
    return key


def load_key(path: Path) -> Ed25519PrivateKey:
    """Read an Ed25519 private key in PEM PKCS #8. Raises UsageError if it is missing or of another kind."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError:
        raise UsageError(f"there is no publisher key at {path}", f"make one with 'lading keygen {path}'") from None
    except (ValueError, TypeError) as error:
        raise UsageError(f"{path} is no unencrypted PEM private key", "give an Ed25519 key, PKCS #8") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"{path} is not an Ed25519 key", "make one with 'lading keygen'")
    return key


def sign(payload: bytes, key: Ed25519PrivateKey, lookup: str | None = None) -> bytes:
    """Sign `payload`; returns the detached JWS as ASCII with a newline at the end.

    `lookup` is the file name of the release's lookup object, if it has one.
    """
    jwk = public_jwk(key.public_key())
    headers: dict[str, Any] = {"typ": _TYPE, "kid": thumbprint(jwk), "jwk": jwk}
    if lookup is not None:
        headers["lookup"] = lookup
    token = _JWS.encode(payload, key, algorithm="EdDSA", headers=headers, is_payload_detached=True)
    return token.encode() + b"\n"


def signer(signature: bytes) -> dict[str, str]:
    """The public JWK that a signature names, unverified: for looking up trust before `verify`.

    Raises IntegrityError if the signature is malformed or its key id is not the key's thumbprint.
    """
    try:
        header = jwt.get_unverified_header(signature.removesuffix(b"\n"))
        jwk = {name: str(header["jwk"][name]) for name in ("crv", "kty", "x")}
    except (InvalidTokenError, KeyError, TypeError, ValueError) as error:
        raise IntegrityError("the manifest's signature is malformed", "ask the publisher to release again") from error
    if header.get("typ") != _TYPE or header.get("kid") != thumbprint(jwk):
        raise IntegrityError(
            "the manifest's signature names a key that it does not carry", "ask the publisher to release again"
        )
    return jwk


def verify(payload: bytes, signature: bytes, jwk: dict[str, str]) -> None:
    """Check `signature` over `payload` with the trusted public key `jwk`. Raises IntegrityError if it does not hold."""
    try:
        _JWS.decode_complete(
            signature.removesuffix(b"\n"),
            jwt.PyJWK.from_dict({**jwk, "alg": "EdDSA"}),
            algorithms=["EdDSA"],
            detached_payload=payload,
        )
    except (InvalidTokenError, ValueError) as error:
        raise IntegrityError(
            "the manifest's signature does not match its bytes", "do not use this release; tell its publisher"
        ) from error
