"""Access tokens: short-lived JWTs of type `dl+jwt` that the gateway verifies."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

TOKEN_TYPE = "dl+jwt"  # noqa: S105 - a media type, not a secret


def mint(
    key: Ed25519PrivateKey | bytes,
    *,
    kid: str,
    issuer: str,
    audience: str,
    subject: str,
    scope: Sequence[str],
    issued_at: int,
    ttl: int,
    project: str | None = None,
    ip: str | None = None,
    max_bytes: int | None = None,
    jti: str | None = None,
) -> tuple[str, dict[str, Any]]:
    """Sign an access token; returns it with its claims.

    `key` decides the algorithm: an Ed25519 key signs EdDSA, bytes (32 or more) sign HS256. `scope` lists key prefixes
    that end in '/' or exact keys. `issued_at` is in seconds since the epoch, `ttl` in seconds. Raises ValueError for a
    short secret or an empty scope.
    """
    if not scope:
        raise ValueError("a token needs at least one scope entry")
    if isinstance(key, bytes) and len(key) < 32:
        raise ValueError("an HS256 secret needs 32 bytes or more")
    claims: dict[str, Any] = {
        "iss": issuer,
        "aud": audience,
        "sub": subject,
        "jti": jti or secrets.token_urlsafe(16),
        "iat": issued_at,
        "exp": issued_at + ttl,
        "scp": list(scope),
    }
    optional = {"prj": project, "ip": ip, "max": max_bytes}
    claims.update({name: value for name, value in optional.items() if value is not None})
    algorithm = "HS256" if isinstance(key, bytes) else "EdDSA"
    token = jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid, "typ": TOKEN_TYPE})
    return token, claims
