"""Access: what the issuer grants, and a token that is renewed in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import requests

from lading.errors import AccessError, TransferError
from lading.http import TIMEOUT, error_of
from lading.paths import printable
from lading.settings import Settings

RENEW_SHARE = 0.25
"""A token is renewed when less than this share of its lifetime is left."""

SKEW_S = 5.0
"""Clocks that differ by less count as the same: a Date header has whole seconds, and the answer takes its time."""

ATTEMPTS = 4
BACKOFF_S = 0.5


@dataclass(frozen=True, slots=True)
class Grant:
    """What the issuer granted: a token for one release, valid until `expires_at` (seconds since the epoch).

    `renew_at` is by this machine's monotonic clock: a clock that is wrong, or that jumps, changes nothing.
    `objects` maps each key to what the issuer knows of it. `yanked` says when and why it was yanked, if it was.
    """

    token: str = field(repr=False)
    dataset: str
    version: str
    gateway: str
    expires_at: float
    renew_at: float
    objects: dict[str, dict[str, Any]] = field(repr=False)
    yanked: str | None = None


class Access:
    """Access to one release. Thread-safe: all threads share one token."""

    def __init__(
        self,
        session: requests.Session,
        settings: Settings,
        dataset: str,
        version: str,
        ttl: int | None = None,
        note: Callable[[str], None] = lambda message: None,
    ) -> None:
        """Ask for a token at once, of `ttl` seconds or the issuer's default lifetime. `note` is told if the release was
        yanked.

        Raises UsageError without settings, AccessError, NotFoundError, TransferError."""
        self._session = session
        self._settings = settings
        self._gateway = settings.gateway_url
        self._lock = threading.Lock()
        self._body: dict[str, Any] = {"dataset": dataset, "version": version}
        if ttl is not None:
            self._body["ttl"] = ttl
        self.grant = self._ask()
        # Later tokens are for the version that the first one named: `latest` may move during a pull.
        self._body["version"] = self.grant.version
        if self.grant.yanked:
            note(
                f"{dataset}@{version} was yanked {self.grant.yanked}: it is kept, but no longer offered; "
                f"'lading ls {dataset}' lists what is"
            )

    def token(self) -> str:
        """A token with enough life left for a request to start."""
        with self._lock:
            if time.monotonic() > self.grant.renew_at:
                self.grant = self._ask()
            return self.grant.token

    def renew(self, refused: str) -> str:
        """A new token after the gateway refused `refused` as expired; one thread asks, the others get the same."""
        with self._lock:
            if self.grant.token == refused:
                self.grant = self._ask()
            return self.grant.token

    def url(self, key: str) -> str:
        """URL of an object at the gateway, without the token."""
        return f"{self._gateway or self.grant.gateway}/d/{quote(key, safe='/')}"

    def file_url(self, path: str) -> str:
        """URL at the gateway of one file of the release, without the token."""
        grant = self.grant
        return f"{self._gateway or grant.gateway}/f/{grant.dataset}/{grant.version}/{quote(path, safe='/')}"

    def _ask(self) -> Grant:
        asked_at = time.monotonic()
        what = f"asking for access to {self._body['dataset']}@{self._body['version']}"
        response = ask(self._session, self._settings, "POST", "/v1/tokens", what, self._body)
        try:
            document = response.json()
            expires_at = _seconds(document["expires_at"])
            lifetime = max(0.0, expires_at - _server_time(response))
            return Grant(
                token=document["token"],
                dataset=document["dataset"],
                version=document["version"],
                gateway=document["gateway"].rstrip("/"),
                expires_at=expires_at,
                renew_at=asked_at + (1 - RENEW_SHARE) * lifetime,
                objects={entry["key"]: entry for entry in document["files"]},
                yanked=_yanked(document.get("yanked")),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise TransferError(
                f"the issuer at {self._settings.issuer_url} answered in an unknown form", "check LADING_ISSUER_URL"
            ) from error


def ask(
    session: requests.Session,
    settings: Settings,
    method: str,
    path: str,
    what: str,
    body: dict[str, Any] | None = None,
) -> requests.Response:
    """A successful answer of the issuer, after retries. `what` is what is asked for, for messages.

    Asking twice does no harm: at most it makes one more short-lived token. Raises UsageError, AccessError,
    NotFoundError, TransferError.
    """
    issuer = settings.require("issuer_url")
    url = issuer + path
    headers = {"Authorization": f"Bearer {settings.require('api_key')}"}
    for attempt in range(ATTEMPTS):
        try:
            response = session.request(method, url, json=body, headers=headers, timeout=TIMEOUT)
            if response.status_code == 200:
                return response
            if response.status_code not in (429, 500, 502, 503, 504) or attempt == ATTEMPTS - 1:
                raise error_of(response, what)
        except requests.exceptions.InvalidHeader:
            raise AccessError("the API key has characters that no key has", "check LADING_API_KEY") from None
        except requests.RequestException as error:
            if attempt == ATTEMPTS - 1:
                raise TransferError(
                    f"{what}: the issuer at {url} cannot be reached",
                    "check LADING_ISSUER_URL and the network",
                ) from error
        time.sleep(BACKOFF_S * 2**attempt)
    raise AssertionError("unreachable")


def _yanked(mark: dict[str, Any] | None) -> str | None:
    """When and why, in words; an issuer older than this client says nothing of it."""
    if not mark:
        return None
    reason = mark.get("reason")
    return printable(f"at {mark['yanked_at']}" + (f" ({reason})" if reason else ""))


def _server_time(response: requests.Response) -> float:
    """The server's clock when it answered, seconds since the epoch; this machine's where the two agree."""
    here = time.time()
    try:
        there = parsedate_to_datetime(response.headers["Date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return here
    return here if abs(here - there) < SKEW_S else there


def _seconds(moment: str | float) -> float:
    """RFC 3339 text or a number of seconds as seconds since the epoch."""
    if isinstance(moment, int | float):
        return float(moment)
    from datetime import datetime

    return datetime.fromisoformat(moment).timestamp()
