"""The keys that sign tokens: making, rotating, retiring, publishing.

A key is published before it signs, so that every gateway has fetched it by then: `rotate` makes a key that begins to
sign after a delay, and the key before it stays published until it is retired.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select
from sqlalchemy.orm import Session

from issuer.models import SigningKey
from issuer.sealing import Vault
from lading.errors import ConflictError, LadingError, NotFoundError
from lading.signing import public_jwk, thumbprint

JWKS_MAX_AGE = 300
"""How long others may keep the published keys, seconds."""

ROTATION_DELAY = 2 * JWKS_MAX_AGE
"""From publishing a key to signing with it, seconds."""


@dataclass(frozen=True, slots=True)
class KeyView:
    """A signing key for lists; `state` is pending, signing, verifying or retired."""

    kid: str
    state: str
    created_at: datetime
    activates_at: datetime
    retired_at: datetime | None


class Signer:
    """Finds the key that signs now, and keeps opened keys in memory."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._opened: dict[str, Ed25519PrivateKey] = {}

    def current(self, session: Session, now: datetime) -> tuple[str, Ed25519PrivateKey]:
        """Key id and private key that sign at `now`. Raises LadingError if there is none."""
        row = current(session, now)
        if row is None:
            raise LadingError("the issuer has no active signing key", "run 'python -m issuer bootstrap'")
        key = self._opened.get(row.kid)
        if key is None:
            key = Ed25519PrivateKey.from_private_bytes(self._vault.unseal(row.sealed, row.kid))
            self._opened[row.kid] = key
        return row.kid, key


def current(session: Session, now: datetime) -> SigningKey | None:
    """The key that signs at `now`: the newest that is active and not retired."""
    return session.scalars(
        select(SigningKey)
        .where(SigningKey.retired_at.is_(None), SigningKey.activates_at <= now)
        .order_by(SigningKey.activates_at.desc(), SigningKey.created_at.desc(), SigningKey.kid)
        .limit(1)
    ).first()


def create(session: Session, vault: Vault, now: datetime, delay: int = 0) -> SigningKey:
    """Make a key that is published now and signs after `delay` seconds."""
    key = Ed25519PrivateKey.generate()
    jwk = public_jwk(key.public_key())
    kid = thumbprint(jwk)
    raw = key.private_bytes(serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption())
    row = SigningKey(
        kid=kid,
        algorithm="EdDSA",
        sealed=vault.seal(raw, kid),
        public_x=jwk["x"],
        created_at=now,
        activates_at=now + timedelta(seconds=delay),
    )
    session.add(row)
    session.flush()
    return row


def retire(session: Session, kid: str, now: datetime, max_ttl: int, force: bool = False) -> SigningKey:
    """Take a key out of the published set; gateways then refuse its tokens.

    Raises NotFoundError, and ConflictError if it is the one that signs or if its tokens may still be valid; `force`
    overrides the latter.
    """
    row = session.get(SigningKey, kid)
    if row is None:
        raise NotFoundError(f"there is no signing key {kid}", "see 'lading admin signing-key list'")
    if row.retired_at is not None:
        return row
    signer = current(session, now)
    if signer is row:
        raise ConflictError(
            f"{kid} is the key that signs",
            "run 'lading admin signing-key rotate' first and wait until the new key signs",
        )
    # It signed until its successor became active, and the last of those tokens lives `max_ttl` longer.
    if signer is not None and row.activates_at <= now and not force:
        valid_until = signer.activates_at + timedelta(seconds=max_ttl)
        if now < valid_until:
            raise ConflictError(
                f"tokens signed with {kid} are valid until {valid_until:%Y-%m-%dT%H:%M:%SZ}",
                "wait, or add --force to invalidate them",
            )
    row.retired_at = now
    return row


def views(session: Session, now: datetime) -> list[KeyView]:
    """All keys, newest first."""
    signer = current(session, now)
    rows = session.scalars(select(SigningKey).order_by(SigningKey.activates_at.desc(), SigningKey.kid))
    return [
        KeyView(row.kid, _state(row, signer, now), row.created_at, row.activates_at, row.retired_at) for row in rows
    ]


def jwks(session: Session) -> dict[str, list[dict[str, Any]]]:
    """The published keys as a JWK Set (RFC 7517), newest first."""
    rows = session.scalars(
        select(SigningKey)
        .where(SigningKey.retired_at.is_(None))
        .order_by(SigningKey.activates_at.desc(), SigningKey.kid)
    )
    return {
        "keys": [
            {"kty": "OKP", "crv": "Ed25519", "x": row.public_x, "kid": row.kid, "alg": row.algorithm, "use": "sig"}
            for row in rows
        ]
    }


def _state(row: SigningKey, signer: SigningKey | None, now: datetime) -> str:
    if row.retired_at is not None:
        return "retired"
    if row is signer:
        return "signing"
    return "pending" if row.activates_at > now else "verifying"
