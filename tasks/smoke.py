"""Smoke test of one release through the gateway, as a client would use it and as an attacker would."""

from __future__ import annotations

import base64
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lading.client.access import Access
from lading.client.remote import fetch_index
from lading.client.transfer import Transfer
from lading.errors import LadingError
from lading.http import TIMEOUT, USER_AGENT, problem
from lading.http import session as http_session
from lading.manifest import parse
from lading.names import INDEX_FILES, MANIFEST, release_key, shard_prefix
from lading.settings import Settings
from lading.tables import Tables
from lading.tokens import TOKEN_TYPE

CLOCK_LEEWAY_S = 10
"""How long past its expiry the gateway still takes a token (design: section 5)."""

SMALL_RANGE_BYTES = 100

MANIFEST_BYTES = 64 * 1024 * 1024
"""No manifest is larger."""

SAMPLE_BYTES = 64 * 1024
MAX_SAMPLE_BYTES = 4 * 1024 * 1024
"""The file that comes nearest to SAMPLE_BYTES is fetched alone: quickly there, and more than one range of it."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check: what should hold, whether it did, and what was seen."""

    name: str
    passed: bool
    seen: str


class SmokeFailedError(LadingError):
    """A release is not served as it should be. `checks` holds all results."""

    def __init__(self, message: str, hint: str | None = None, checks: tuple[Check, ...] = ()) -> None:
        super().__init__(message, hint)
        self.checks = checks


def smoke_release(
    settings: Settings, dataset: str, version: str = "latest", expiry_ttl: int | None = None
) -> list[Check]:
    """Check how a release is served; returns all checks, or raises SmokeFailedError if one did not hold.

    `expiry_ttl` asks for a token of that lifetime in seconds and waits until it has expired; None leaves this out.
    """
    with http_session() as session, _as_failure(dataset, version):
        access = Access(session, settings, dataset, version)
        short = Access(session, settings, dataset, version, ttl=expiry_ttl) if expiry_ttl else None
        # What is refused on purpose is to be known as such in the log, by the id of a token that was issued for this
        # release: nobody else knows it, and it names the user (analytics/sql/views.sql).
        claims = jwt.decode(access.grant.token, options={"verify_signature": False})
        session.headers["User-Agent"] = f"{USER_AGENT} smoke/{claims['jti']}"
        smoke = _Smoke(session, access)
        checks = [*smoke.transfers(), *smoke.single_files(), *smoke.refusals()]
        if short is not None:
            time.sleep(max(0.0, short.grant.expires_at + CLOCK_LEEWAY_S + 1 - time.time()))
            checks.append(smoke.refused("an expired token is refused", short.grant.token, 403, "token_expired"))
    failed = [check for check in checks if not check.passed]
    if failed:
        raise SmokeFailedError(
            f"the smoke test of {dataset}@{access.grant.version} failed: "
            + "; ".join(f"{check.name}: saw {check.seen}" for check in failed),
            "the release is stored but not promoted; look at the gateway's log",
            tuple(checks),
        )
    return checks


@contextmanager
def _as_failure(dataset: str, version: str) -> Iterator[None]:
    """A request that breaks is a failed smoke test, not a crash."""
    try:
        yield
    except requests.RequestException as error:
        raise SmokeFailedError(
            f"the smoke test of {dataset}@{version} failed: a request broke off ({error})",
            "the release is stored but not promoted; look at the gateway's log, and run it again",
        ) from error


class _Smoke:
    """The checks on one object, the release's smallest shard, or its manifest if it has none; and on one file."""

    def __init__(self, session: requests.Session, access: Access) -> None:
        self._session = session
        self._access = access
        objects = access.grant.objects
        shards = [o for o in objects.values() if o["key"].startswith(shard_prefix(access.grant.dataset))]
        known = shards or [o for o in objects.values() if o.get("sha256")]
        self._object = min(known, key=lambda entry: int(entry["size"]))
        self._size = int(self._object["size"])

    def transfers(self) -> Iterator[Check]:
        """What a well-behaved client does."""
        last = min(SMALL_RANGE_BYTES, self._size) - 1
        with self._get({"Range": f"bytes=0-{last}"}) as answer:
            expected = f"bytes 0-{last}/{self._size}"
            seen = f"{answer.status_code}, {answer.headers.get('Content-Range')}, {len(answer.content)} bytes"
            yield _check("a small range is served", seen, f"206, {expected}, {last + 1} bytes")
            etag = answer.headers.get("ETag", "")
        yield _check("the ETag is strong and names the content", etag, f'"{self._object["sha256"]}"')
        digest, seen_status = self._break_and_resume(etag)
        yield _check("a transfer that broke off in the middle is resumed", seen_status, "200 then 206")
        yield _check("the resumed object has its SHA-256", digest, self._object["sha256"])
        with self._get({"Range": "bytes=0-0", "If-Range": '"another"'}, stream=True) as answer:
            seen = f"{answer.status_code}, {answer.headers.get('Content-Length')} bytes"
            yield _check("a stale If-Range gives the whole object", seen, f"200, {self._size} bytes")
        with self._get({"Range": f"bytes={self._size}-"}) as answer:
            seen = f"{answer.status_code}, {answer.headers.get('Content-Range')}"
            yield _check("a range behind the end is a 416", seen, f"416, bytes */{self._size}")

    def single_files(self) -> Iterator[Check]:
        """What the gateway takes out of the shards. No checks without a lookup, or without a small file."""
        sample = self._sample()
        if sample is None:
            return
        path, size, sha256 = sample
        url = self._access.file_url(path)
        with self._get({}, url=url) as answer:
            data = answer.content
            seen = f"{answer.status_code}, {hashlib.sha256(data).hexdigest()}"
            yield _check("a single file is served with its SHA-256", seen, f"200, {sha256}")
        first = size // 2
        last = min(size, first + SMALL_RANGE_BYTES) - 1
        with self._get({"Range": f"bytes={first}-{last}"}, url=url) as answer:
            same = answer.content == data[first : last + 1]
            seen = f"{answer.status_code}, {answer.headers.get('Content-Range')}, {'its' if same else 'other'} bytes"
            yield _check("a range of a single file is served", seen, f"206, bytes {first}-{last}/{size}, its bytes")

    def _sample(self) -> tuple[str, int, str] | None:
        """Path, size and SHA-256 of a small file, as the index says."""
        transfer = Transfer(self._session, self._access)
        grant = self._access.grant
        index = parse(transfer.whole(release_key(grant.dataset, grant.version, MANIFEST), MANIFEST_BYTES)).index
        if index.lookup is None:
            return None
        with tempfile.TemporaryDirectory(prefix="lading-smoke-") as folder, Tables() as tables:
            files = Path(folder) / INDEX_FILES
            fetch_index(transfer, index.files, files)
            tables.view("files", files)
            found = tables.rows(
                "SELECT path, size, lower(hex(sha256)) FROM files WHERE type = 'file' AND size BETWEEN 1 AND ? "
                "ORDER BY abs(size - ?), path LIMIT 1",
                MAX_SAMPLE_BYTES,
                SAMPLE_BYTES,
            )
            return next(((path, size, sha256) for path, size, sha256 in found), None)

    def refusals(self) -> Iterator[Check]:
        """What nobody may do."""
        token = self._access.token()
        yield self.refused("a request without a token is refused", None, 401, "token_missing")
        yield self.refused("a tampered token is refused", _tampered(token), 403, "token_invalid")
        yield self.refused("a token of a wrong key is refused", _forged(token), 403, "token_invalid")

    def refused(self, name: str, token: str | None, status: int, code: str) -> Check:
        """A check that a token, or none, is refused in the right way."""
        with self._get({"Range": "bytes=0-0"}, token=token, authorize=False) as answer:
            return _check(name, f"{answer.status_code} {problem(answer).get('code')}", f"{status} {code}")

    def _break_and_resume(self, etag: str) -> tuple[str, str]:
        """Read half of the object, close the connection, and get the rest by If-Range."""
        digest = hashlib.sha256()
        half = self._size // 2
        with self._get({}, stream=True) as answer:
            first = answer.status_code
            got = answer.raw.read(half)
            digest.update(got)
        with self._get({"Range": f"bytes={len(got)}-", "If-Range": etag}, stream=True) as answer:
            for block in answer.iter_content(1024 * 1024):
                digest.update(block)
            return digest.hexdigest(), f"{first} then {answer.status_code}"

    def _get(
        self,
        headers: dict[str, str],
        *,
        url: str | None = None,
        token: str | None = None,
        authorize: bool = True,
        stream: bool = False,
    ) -> requests.Response:
        if authorize:
            token = self._access.token()
        bearer = {"Authorization": f"Bearer {token}"} if token else {}
        url = url or self._access.url(self._object["key"])
        return self._session.get(url, headers={**headers, **bearer}, timeout=TIMEOUT, stream=stream)


def _check(name: str, seen: str, expected: str) -> Check:
    return Check(name, seen == expected, seen)


def _tampered(token: str) -> str:
    """The same token with a wider scope under the old signature."""
    return _with_claims(token, lambda claims: {**claims, "scp": [*claims["scp"], "everything/"]}, None)


def _forged(token: str) -> str:
    """The same header and claims, signed by a key that nobody knows."""
    return _with_claims(token, lambda claims: claims, Ed25519PrivateKey.generate())


def _with_claims(token: str, change: Callable[[dict[str, Any]], dict[str, Any]], key: Ed25519PrivateKey | None) -> str:
    head, body, signature = token.split(".")
    claims = change(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))))
    if key is None:
        changed = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
        return f"{head}.{changed}.{signature}"
    header = jwt.get_unverified_header(token)
    return jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": header["kid"], "typ": TOKEN_TYPE})
