"""The decision: who may read what, on whose account, for how long. Pure: no clock, no database, no network."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from issuer.models import ANY_DATASET
from lading.errors import AccessError, BadNameError
from lading.names import LATEST, check_dataset, check_version, release_prefix, shard_prefix

MAX_KEYS = 64
"""Keys in one token: it travels in URLs, and proxies commonly refuse those above 16 KB."""

MAX_KEY_BYTES = 1024
"""Longest object key, bytes: the limit of S3 and R2."""


@dataclass(frozen=True, slots=True)
class GrantView:
    """A grant as the decision sees it: dataset name or `*`, project that pays, end (None: for good)."""

    dataset: str
    project: str
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What a caller asks for.

    dataset   name of the dataset
    version   version name or 'latest'
    keys      exact object keys, or None for the whole release
    ttl       lifetime in seconds, or None for the default
    project   project that pays, or None for the grant's
    bind_ip   address or CIDR that the token is bound to, or None
    """

    dataset: str
    version: str = LATEST
    keys: tuple[str, ...] | None = None
    ttl: int | None = None
    project: str | None = None
    bind_ip: str | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Lifetimes in seconds: the default, the longest, and the shortest (less, and clocks that differ refuse good
    tokens)."""

    ttl: int
    max_ttl: int
    min_ttl: int = 30


class RefusedError(AccessError):
    """A request is refused with an HTTP `status`.

    `code` is for programs, `detail` tells the caller what to do, `reason` is for the audit trail only.
    """

    def __init__(self, status: int, code: str, detail: str, reason: str | None = None) -> None:
        super().__init__(f"{code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Approval:
    """The decision in favour: the project that pays and the lifetime in seconds."""

    project: str
    ttl: int


def check_request(request: TokenRequest, limits: Limits) -> TokenRequest:
    """Return the request with its lifetime set and `bind_ip` in canonical form. Raises RefusedError (422)."""
    try:
        check_dataset(request.dataset)
        if request.version != LATEST:
            check_version(request.version)
    except BadNameError as error:
        raise bad_request(str(error)) from error
    ttl = limits.ttl if request.ttl is None else request.ttl
    if not limits.min_ttl <= ttl <= limits.max_ttl:
        raise bad_request(f"ttl is {ttl} seconds; ask for {limits.min_ttl} to {limits.max_ttl}")
    if request.keys is not None:
        if not 1 <= len(request.keys) <= MAX_KEYS:
            raise bad_request(
                f"keys has {len(request.keys)} entries; give 1 to {MAX_KEYS}, or leave it out for the release"
            )
        for key in request.keys:
            _check_key(request.dataset, key)
    bind_ip = None if request.bind_ip is None else _canonical_network(request.bind_ip)
    return TokenRequest(request.dataset, request.version, request.keys, ttl, request.project, bind_ip)


def decide(request: TokenRequest, grants: Sequence[GrantView], now: datetime, limits: Limits) -> Approval:
    """Decide on a checked request by the caller's grants at `now`.

    Of several grants the one for this very dataset goes before `*`, then the one that lasts longest, then the first
    project by name. A token never outlives its grant. Raises RefusedError (403), in the same words whether the dataset
    exists or not.
    """
    usable = readable(request.dataset, grants, now)
    if not usable:
        had_one = any(grant.dataset in (request.dataset, ANY_DATASET) for grant in grants)
        raise no_grant(request.dataset, reason="every grant for it has expired" if had_one else None)
    if request.project is not None:
        wanted = [grant for grant in usable if grant.project == request.project]
        if not wanted:
            projects = ", ".join(sorted({grant.project for grant in usable}))
            raise RefusedError(
                403,
                "project_not_granted",
                f"you may not read {request.dataset} on the account of project {request.project!r}; "
                f"leave project out or use one of: {projects}",
            )
        usable = wanted
    best = min(usable, key=lambda grant: (grant.dataset == ANY_DATASET, _ends(grant, now), grant.project))
    ttl = limits.ttl if request.ttl is None else request.ttl
    if best.expires_at is not None:
        ttl = min(ttl, max(1, int((best.expires_at - now).total_seconds())))
    return Approval(best.project, ttl)


def readable(dataset: str, grants: Sequence[GrantView], now: datetime) -> list[GrantView]:
    """The grants by which a dataset may be read at `now`."""
    return [
        grant
        for grant in grants
        if grant.dataset in (dataset, ANY_DATASET) and (grant.expires_at is None or grant.expires_at > now)
    ]


def scope(dataset: str, version: str, keys: Sequence[str] | None) -> list[str]:
    """The token's `scp`: the given keys, or all shards of the dataset and all objects of the release."""
    return list(keys) if keys is not None else [shard_prefix(dataset), release_prefix(dataset, version)]


def bad_request(detail: str) -> RefusedError:
    """Refusal of a request that is malformed."""
    return RefusedError(422, "bad_request", detail)


def no_grant(dataset: str, reason: str | None = None) -> RefusedError:
    """Refusal for want of a grant; it tells nothing about whether the dataset exists."""
    return RefusedError(
        403,
        "no_grant",
        f"you have no grant for dataset {dataset}; check its name, or ask its owner for a grant "
        f"('lading admin grant add USER {dataset}')",
        reason,
    )


def _ends(grant: GrantView, now: datetime) -> float:
    """Sorts the grant that lasts longest first."""
    return float("-inf") if grant.expires_at is None else -(grant.expires_at - now) / timedelta(seconds=1)


def _check_key(dataset: str, key: str) -> None:
    if not key.startswith(f"{dataset}/"):
        raise bad_request(f"key {key!r} does not belong to dataset {dataset}; ask for one dataset at a time")
    if len(key.encode(errors="replace")) > MAX_KEY_BYTES:
        raise bad_request(f"a key is longer than {MAX_KEY_BYTES} bytes")
    # An entry that ends in '/' would be a prefix to the gateway, and the others are no names of stored objects.
    if any(part in ("", ".", "..") for part in key.split("/")) or not key.isprintable() or "\\" in key:
        raise bad_request(f"key {key!r} is not the exact key of an object; take keys from a release's 'files'")


def _canonical_network(text: str) -> str:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise bad_request(f"bind_ip {text!r} is no IP address or CIDR range") from error
    return str(network.network_address) if network.num_addresses == 1 else str(network)
