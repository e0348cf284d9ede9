"""Keys derived from the issuer's one secret (LADING_ISSUER_SECRET), and sealing of private keys at rest.

Each use has its own key by HKDF-SHA256 (RFC 5869) with a distinct `info`, so that no use can be played against another.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from lading.errors import UsageError
from lading.settings import Settings

MIN_SECRET_CHARACTERS = 32
_KEY_BYTES = 32
_NONCE_BYTES = 12  # NIST SP 800-38D, 8.2: the length that AES-GCM is made for


class Vault:
    """The issuer's derived keys. `api_key_hash_key` keys the hashes of API keys."""

    def __init__(self, secret: str) -> None:
        if len(secret) < MIN_SECRET_CHARACTERS:
            raise UsageError(
                f"LADING_ISSUER_SECRET has {len(secret)} characters, which is too short",
                f"set {MIN_SECRET_CHARACTERS} random characters or more, for example from 'openssl rand -hex 32'",
            )
        self.api_key_hash_key = _derive(secret, b"lading issuer: api key hash v1")
        self._cipher = AESGCM(_derive(secret, b"lading issuer: signing key seal v1"))

    @classmethod
    def open(cls, settings: Settings) -> Vault:
        """The vault of these settings. Raises UsageError if the secret is missing or too short."""
        return cls(settings.require("issuer_secret"))

    def seal(self, plaintext: bytes, context: str) -> bytes:
        """Encrypt with AES-256-GCM, bound to `context`: a sealed value moved to another row does not open."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plaintext, context.encode())

    def unseal(self, sealed: bytes, context: str) -> bytes:
        """Decrypt what `seal` made. Raises UsageError if the secret is another one or the bytes were changed."""
        nonce, ciphertext = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, ciphertext, context.encode())
        except (InvalidTag, ValueError) as error:
            raise UsageError(
                f"signing key {context} cannot be opened with this LADING_ISSUER_SECRET",
                "set the secret that the database was made with, or run 'lading admin signing-key rotate --delay 0'",
            ) from error


def _derive(secret: str, info: bytes) -> bytes:
    return HKDF(hashes.SHA256(), _KEY_BYTES, salt=None, info=info).derive(secret.encode())
