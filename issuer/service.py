"""The token service: reads what the decision needs, decides, writes the audit event, signs."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, joinedload

from issuer import apikeys, revocations, signingkeys
from issuer.audit import Issuance, admin_event
from issuer.authorize import (
    Approval,
    GrantView,
    Limits,
    RefusedError,
    TokenRequest,
    check_request,
    decide,
    no_grant,
    readable,
    scope,
)
from issuer.catalog import FileFacts, Release, ReleaseCatalog
from issuer.clock import utc_now
from issuer.database import Database
from issuer.exporter import Exporter
from issuer.models import ApiKeyRow, Grant
from issuer.revocations import Deliverer, RevocationView
from issuer.sealing import Vault
from issuer.signingkeys import Signer
from lading import names
from lading.errors import BadNameError, ConflictError, IntegrityError, LadingError, TransferError, UsageError
from lading.names import LATEST, check_dataset
from lading.settings import Settings
from lading.tokens import mint
from lading.yank import Yank

LAST_USED_RESOLUTION = timedelta(minutes=1)
"""How exactly the last use of an API key is recorded: finer would be one more write per request."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request comes from: for the audit trail and for binding tokens."""

    ip: str | None = None
    user_agent: str | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller with every grant of theirs, expired ones too."""

    name: str
    key_id: str
    grants: tuple[GrantView, ...]
    key_last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A signed token and what it is for. `files` are the objects that it gives access to, with `url` beside each."""

    token: str
    jti: str
    expires_at: datetime
    dataset: str
    version: str
    gateway: str
    manifest_url: str
    files: tuple[FileFacts, ...]
    yanked: Yank | None


LOOKUPS = 16
"""Datasets that are looked up in the store at once for a list of them."""


class IssuerService:
    """Everything that the HTTP routes do, without HTTP; thread-safe."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        catalog: ReleaseCatalog,
        vault: Vault,
        exporter: Exporter,
        deliverer: Deliverer,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._settings = settings
        self._gateway = settings.require("gateway_url")
        self._limits = Limits(settings.token_ttl, settings.token_max_ttl, settings.token_min_ttl)
        self._database = database
        self._catalog = catalog
        self._vault = vault
        self._exporter = exporter
        self._deliverer = deliverer
        self._signer = Signer(vault)
        self._clock = clock

    def authenticate(self, authorization: str | None) -> Caller:
        """The caller behind an `Authorization` header. Raises RefusedError (401).

        A malformed, unknown, wrong, revoked and expired key take the same steps and get the same answer.
        """
        scheme, _, credential = (authorization or "").partition(" ")
        credential = credential.strip()
        if scheme.lower() != "bearer" or not credential:
            raise RefusedError(401, "api_key_missing", "send your API key as 'Authorization: Bearer lad_…'")
        parsed = apikeys.parse(credential)
        key = parsed or apikeys.DECOY
        now = self._clock()
        with self._database.read() as session:
            row = session.get(ApiKeyRow, key.key_id, options=[joinedload(ApiKeyRow.user)])
            expected = row.digest if row else bytes(32)
            matches = hmac.compare_digest(key.digest(self._vault.api_key_hash_key), expected)
            reason = _key_fault(parsed is not None, row, matches, now)
            if reason is not None or row is None:
                raise RefusedError(
                    401,
                    "api_key_invalid",
                    "the API key is not known, or was revoked, or has expired; ask your administrator for a new one",
                    reason,
                )
            return Caller(row.user.name, row.key_id, _grants(session, row.user_id), row.last_used_at)

    def issue(self, caller: Caller, request: TokenRequest, origin: Origin) -> IssuedToken:
        """Sign a token for a request, and write the event, granted or refused, before anything is handed out.

        Raises RefusedError (403, 404, 422), StorageError, IntegrityError, LadingError.
        """
        event = Issuance(
            ts=self._clock(),
            granted=False,
            code="issuer_error",
            sub=caller.name,
            dataset=_valid_or_none(request.dataset),
            keys=request.keys,
            ttl=request.ttl,
            ip=origin.ip,
            user_agent=origin.user_agent,
        )
        try:
            request = check_request(request, self._limits)
            approval = decide(request, caller.grants, event.ts, self._limits)
            event = replace(event, prj=approval.project, ttl=approval.ttl)
            release = self._resolve(request.dataset, request.version)
            event = replace(event, version=release.manifest.version)
            issued, event = self._sign(caller, request, approval, release, event)
        except RefusedError as error:
            self._record(replace(event, code=error.code, reason=error.reason or error.detail), caller)
            raise
        except LadingError as error:
            self._record(replace(event, code=failure_code(error), reason=error.message), caller)
            raise
        self._record(event, caller)
        return issued

    def record_refusal(self, error: RefusedError, dataset: object, origin: Origin) -> None:
        """Write the event of a token request whose caller is not known."""
        name = _valid_or_none(dataset) if isinstance(dataset, str) else None
        self._record(
            Issuance(
                ts=self._clock(),
                granted=False,
                code=error.code,
                reason=error.reason or error.detail,
                dataset=name,
                ip=origin.ip,
                user_agent=origin.user_agent,
            ),
            None,
        )

    def revoke(self, caller: Caller, kind: str, value: str) -> RevocationView:
        """Revoke tokens, and tell the gateway at once; where it does not listen, the state is pending.

        Users may revoke tokens that were issued to them, those of LADING_REVOKERS any. Raises RefusedError.
        """
        now = self._clock()
        with self._database.write() as session:
            own = kind == "jti" and revocations.was_issued_to(
                session, value, caller.name, now, self._settings.token_max_ttl
            )
            if not own and caller.name not in self._settings.revokers:
                raise RefusedError(
                    403,
                    "not_a_revoker",
                    "you may revoke tokens that were issued to you, by their jti; for all others ask an operator",
                )
            try:
                revocations.put(session, kind, value, caller.name, now)
            except ConflictError as error:
                raise RefusedError(409, "key_in_use", str(error)) from error
            except UsageError as error:
                raise RefusedError(422, "bad_request", str(error)) from error
            session.add(admin_event(now, caller.name, "revocation.add", {"kind": kind, "value": value}))
        return self._deliverer.deliver(kind, value)

    def datasets(self, caller: Caller) -> list[str]:
        """Names of the datasets that the caller may read and that offer a release."""
        now = self._clock()
        found = [dataset for dataset in self._catalog.datasets() if readable(dataset, caller.grants, now)]
        with ThreadPoolExecutor(LOOKUPS, thread_name_prefix="catalog") as pool:
            offered = pool.map(self._catalog.offered, found)
            return [dataset for dataset, is_offered in zip(found, offered, strict=True) if is_offered]

    def dataset(self, caller: Caller, dataset: str) -> tuple[str | None, Release | None]:
        """The promoted version of a dataset and its release; both None if none is promoted. Raises RefusedError."""
        self._require_readable(caller, dataset)
        version = self._catalog.latest(dataset)
        if version is None:
            if not self._catalog.versions(dataset):
                raise _dataset_not_found(dataset)
            return None, None
        return version, self._catalog.release(dataset, version)

    def releases(self, caller: Caller, dataset: str) -> tuple[str | None, list[Release]]:
        """The promoted version and all releases of a dataset, newest first. Raises RefusedError."""
        self._require_readable(caller, dataset)
        found = (self._catalog.release(dataset, version) for version in self._catalog.versions(dataset))
        releases = [release for release in found if release is not None]
        if not releases:
            raise _dataset_not_found(dataset)
        releases.sort(key=lambda release: release.manifest.created_at, reverse=True)
        return self._catalog.latest(dataset), releases

    def jwks(self) -> dict[str, list[dict[str, Any]]]:
        """The published signing keys."""
        with self._database.read() as session:
            return signingkeys.jwks(session)

    def check_health(self) -> None:
        """Raise LadingError or SQLAlchemyError if tokens cannot be signed now."""
        with self._database.read() as session:
            self._signer.current(session, self._clock())

    def url(self, key: str) -> str:
        """The gateway's URL of an object, without a token."""
        return f"{self._gateway}/d/{quote(key, safe='/')}"

    def manifest_url(self, dataset: str, version: str) -> str:
        """The gateway's URL of a release's manifest."""
        return self.url(names.release_key(dataset, version, names.MANIFEST))

    def _require_readable(self, caller: Caller, dataset: str) -> None:
        try:
            check_dataset(dataset)
        except BadNameError as error:
            raise RefusedError(422, "bad_request", str(error)) from error
        if not readable(dataset, caller.grants, self._clock()):
            raise no_grant(dataset)

    def _resolve(self, dataset: str, wanted: str) -> Release:
        version = self._catalog.latest(dataset) if wanted == LATEST else wanted
        release = self._catalog.release(dataset, version) if version else None
        if release:
            return release
        available = self._catalog.versions(dataset)
        if not available:
            raise _dataset_not_found(dataset)
        if wanted == LATEST:
            detail = f"dataset {dataset} has no promoted release; name one of its versions, newest names last: "
        else:
            detail = f"dataset {dataset} has no version {wanted}; it has: "
        raise RefusedError(404, "version_not_found", detail + ", ".join(available[-5:]))

    def _sign(
        self, caller: Caller, request: TokenRequest, approval: Approval, release: Release, event: Issuance
    ) -> tuple[IssuedToken, Issuance]:
        dataset, version = release.manifest.dataset, release.manifest.version
        issued_at = int(event.ts.timestamp())
        with self._database.read() as session:
            kid, key = self._signer.current(session, event.ts)
        token, claims = mint(
            key,
            kid=kid,
            issuer=self._settings.token_issuer,
            audience=self._settings.token_audience,
            subject=caller.name,
            scope=scope(dataset, version, request.keys),
            issued_at=issued_at,
            ttl=approval.ttl,
            project=approval.project,
            ip=request.bind_ip,
        )
        issued = IssuedToken(
            token=token,
            jti=claims["jti"],
            expires_at=datetime.fromtimestamp(claims["exp"], UTC),
            dataset=dataset,
            version=version,
            gateway=self._gateway,
            manifest_url=self.manifest_url(dataset, version),
            files=_files(release, request.keys),
            yanked=release.yanked,
        )
        return issued, replace(event, granted=True, code="ok", jti=claims["jti"], kid=kid)

    def _record(self, event: Issuance, caller: Caller | None) -> None:
        """Write the event. A token whose event cannot be written is never handed out."""
        with self._database.write() as session:
            session.add(event.row())
            used = caller.key_last_used_at if caller else None
            if caller and (used is None or event.ts - used > LAST_USED_RESOLUTION):
                row = session.get(ApiKeyRow, caller.key_id)
                if row is not None:
                    row.last_used_at = event.ts
        self._exporter.notify()


def failure_code(error: LadingError | SQLAlchemyError) -> str:
    """The problem code for a failure that is not the caller's."""
    if isinstance(error, TransferError):
        return "store_unavailable"
    if isinstance(error, IntegrityError):
        return "release_invalid"
    if isinstance(error, SQLAlchemyError):
        return "database_unavailable"
    return "issuer_error"


def _key_fault(well_formed: bool, row: ApiKeyRow | None, matches: bool, now: datetime) -> str | None:
    """Why an API key is refused, for the audit trail, or None if it is good."""
    if not well_formed:
        return "malformed key"
    if row is None:
        return "unknown key id"
    if not matches:
        return f"wrong secret for key {row.key_id}"
    if row.revoked_at is not None:
        return f"key {row.key_id} of {row.user.name} is revoked"
    if row.expires_at is not None and row.expires_at <= now:
        return f"key {row.key_id} of {row.user.name} has expired"
    return None


def _grants(session: Session, user_id: int) -> tuple[GrantView, ...]:
    rows = session.scalars(select(Grant).where(Grant.user_id == user_id).options(joinedload(Grant.project)))
    return tuple(GrantView(row.dataset, row.project.name, row.expires_at) for row in rows)


def _files(release: Release, keys: Sequence[str] | None) -> tuple[FileFacts, ...]:
    if keys is None:
        return release.files
    known = {file.key: file for file in release.files}
    return tuple(known.get(key, FileFacts(key)) for key in keys)


def _dataset_not_found(dataset: str) -> RefusedError:
    return RefusedError(404, "dataset_not_found", f"dataset {dataset} has no release yet")


def _valid_or_none(dataset: str) -> str | None:
    """Names that break the rules stay out of the log, where they would be the caller's free text."""
    try:
        return check_dataset(dataset)
    except BadNameError:
        return None
