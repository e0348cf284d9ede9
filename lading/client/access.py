"""Access: what the issuer grants, and a token that is renewed in time."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import requests

from lading.errors import AccessError, TransferError
from lading.http import TIMEOUT, error_of
from lading.settings import Settings

RENEW_SHARE = 0.25
"""A token is renewed when less than this share of its lifetime is left."""

ATTEMPTS = 4
BACKOFF_S = 0.5


@dataclass(frozen=True, slots=True)
class Grant:
    """What the issuer granted: a token for one release, valid until `expires_at` (seconds since the epoch).

    `objects` maps each key to what the issuer knows of it.
    """

    token: str = field(repr=False)
    dataset: str
    version: str
    gateway: str
    issued_at: float
    expires_at: float
    objects: dict[str, dict[str, Any]] = field(repr=False)


class Access:
    """Access to one release. Thread-safe: all threads share one token."""

    def __init__(
        self, session: requests.Session, settings: Settings, dataset: str, version: str, ttl: int | None = None
    ) -> None:
        """Ask for a token at once, of `ttl` seconds or the issuer's default lifetime.

        Raises UsageError without settings, AccessError, NotFoundError, TransferError."""
        self._session = session
        self._url = settings.require("issuer_url") + "/v1/tokens"
        self._api_key = settings.require("api_key")
        self._gateway = settings.gateway_url
        self._lock = threading.Lock()
        self._body: dict[str, Any] = {"dataset": dataset, "version": version}
        if ttl is not None:
            self._body["ttl"] = ttl
        self.grant = self._ask()
        # Later tokens are for the version that the first one named: `latest` may move during a pull.
        self._body["version"] = self.grant.version

    def token(self) -> str:
        """A token with enough life left for a request to start."""
        with self._lock:
            lifetime = self.grant.expires_at - self.grant.issued_at
            if time.time() > self.grant.expires_at - RENEW_SHARE * lifetime:
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

    def _ask(self) -> Grant:
        asked_at = time.time()
        what = f"asking for access to {self._body['dataset']}@{self._body['version']}"
        response = self._post(what)
        if response.status_code != 200:
            raise error_of(response, what)
        try:
            document = response.json()
            return Grant(
                token=document["token"],
                dataset=document["dataset"],
                version=document["version"],
                gateway=document["gateway"].rstrip("/"),
                issued_at=asked_at,
                expires_at=_seconds(document["expires_at"]),
                objects={entry["key"]: entry for entry in document["files"]},
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise TransferError(
                f"the issuer at {self._url} answered in an unknown form", "check LADING_ISSUER_URL"
            ) from error

    def _post(self, what: str) -> requests.Response:
        """Post with retries. Asking twice does no harm: it makes one more short-lived token."""
        headers = {"Authorization": f"Bearer {self._api_key}"}
        for attempt in range(ATTEMPTS):
            try:
                response = self._session.post(self._url, json=self._body, headers=headers, timeout=TIMEOUT)
                if response.status_code not in (429, 500, 502, 503, 504) or attempt == ATTEMPTS - 1:
                    return response
            except requests.exceptions.InvalidHeader:
                raise AccessError("the API key has characters that no key has", "check LADING_API_KEY") from None
            except requests.RequestException as error:
                if attempt == ATTEMPTS - 1:
                    raise TransferError(
                        f"{what}: the issuer at {self._url} cannot be reached",
                        "check LADING_ISSUER_URL and the network",
                    ) from error
            time.sleep(BACKOFF_S * 2**attempt)
        raise AssertionError("unreachable")


def _seconds(moment: str | float) -> float:
    """RFC 3339 text or a number of seconds as seconds since the epoch."""
    if isinstance(moment, int | float):
        return float(moment)
    from datetime import datetime

    return datetime.fromisoformat(moment).timestamp()
