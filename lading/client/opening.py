"""Opening: what a release begins with, access to it and its signed manifest, fetched with few round trips.

Nothing here needs DuckDB or the manifest's model: a pull imports them while it waits for these bytes.
"""

from __future__ import annotations

from typing import NamedTuple

from lading.client.access import Access
from lading.client.transfer import Transfer
from lading.names import MANIFEST, SIGNATURE, release_key
from lading.parallel import Ahead

MANIFEST_LIMIT = 64 * 1024 * 1024
SIGNATURE_LIMIT = 64 * 1024


class Signed(NamedTuple):
    """The bytes of a manifest and of its detached signature, as they came: nothing is verified yet."""

    manifest: bytes
    signature: bytes


class Opened(NamedTuple):
    """Access to a release, a transfer that uses it, and its manifest."""

    access: Access
    transfer: Transfer
    signed: Signed


def fetch_signed(access: Access, transfer: Transfer) -> Signed:
    """Manifest and signature of the release that `access` is for, both at once."""
    signature = Ahead(lambda: fetch_signature(access, transfer))
    key = release_key(access.grant.dataset, access.grant.version, MANIFEST)
    return Signed(transfer.whole(key, MANIFEST_LIMIT), signature.result())


def fetch_signature(access: Access, transfer: Transfer) -> bytes:
    """The detached signature of the release that `access` is for."""
    return transfer.whole(release_key(access.grant.dataset, access.grant.version, SIGNATURE), SIGNATURE_LIMIT)
