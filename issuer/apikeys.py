"""API keys: `lad_<id>_<secret>`, all letters and digits so that a double click selects the whole.

`id` (12 characters) is public and finds the row; `secret` (43 characters of base 62, 256 bits) proves possession. Only
an HMAC-SHA256 of the whole key is stored, keyed outside the database: a stolen table allows neither use nor guessing.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
from dataclasses import dataclass, field

PREFIX = "lad_"
ID_LENGTH = 12
SECRET_LENGTH = 43

_ALPHABET = string.ascii_letters + string.digits
_PATTERN = re.compile(rf"{PREFIX}([A-Za-z0-9]{{{ID_LENGTH}}})_([A-Za-z0-9]{{{SECRET_LENGTH}}})")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key in the clear. `text` is the whole key; `key_id` is its public part."""

    key_id: str
    text: str = field(repr=False)

    def digest(self, hash_key: bytes) -> bytes:
        """The keyed hash that the database holds."""
        return hmac.digest(hash_key, self.text.encode(), hashlib.sha256)


def generate() -> ApiKey:
    """A new random API key."""
    key_id = _random(ID_LENGTH)
    return ApiKey(key_id, f"{PREFIX}{key_id}_{_random(SECRET_LENGTH)}")


def parse(text: str) -> ApiKey | None:
    """The API key in `text`, or None if it does not have the form of one."""
    match = _PATTERN.fullmatch(text)
    return ApiKey(match[1], text) if match else None


DECOY = ApiKey("0" * ID_LENGTH, f"{PREFIX}{'0' * ID_LENGTH}_{'0' * SECRET_LENGTH}")
"""Stands in for a malformed key, so that refusing one takes the same steps as refusing a wrong one."""


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
