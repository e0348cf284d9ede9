"""Administration of users, keys, grants, projects and signing keys. Every change leaves an audit event."""

from __future__ import annotations

import getpass
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from issuer import apikeys, revocations, signingkeys
from issuer.apikeys import ApiKey
from issuer.audit import Issuance, admin_event
from issuer.clock import utc_now
from issuer.database import Database
from issuer.models import ANY_DATASET, DEFAULT_PROJECT, ApiKeyRow, Grant, Project, SigningKey, User
from issuer.revocations import RevocationView
from issuer.sealing import Vault
from issuer.signingkeys import ROTATION_DELAY, KeyView, Signer
from lading.errors import BadNameError, ConflictError, NotFoundError, UsageError
from lading.names import check_dataset
from lading.settings import Settings
from lading.tokens import mint

LOCAL_USER = "local"

# Names of users and projects travel in tokens, logs and the path of the gateway's denylist route.
_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")
_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class UserView:
    """A user for lists."""

    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ProjectView:
    """A project for lists."""

    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ApiKeyView:
    """An API key for lists; `state` is valid, expired or revoked."""

    key_id: str
    user: str
    label: str | None
    state: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class GrantRow:
    """A grant for lists; `state` is valid or expired."""

    user: str
    dataset: str
    project: str
    state: str
    expires_at: datetime | None


class Admin:
    """Acts of an operator on the issuer's database. `actor` is who the audit trail names."""

    def __init__(self, settings: Settings, actor: str | None = None) -> None:
        self._settings = settings
        self._database = Database(settings.database_url)
        self._actor = actor or _operator()

    def __enter__(self) -> Admin:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def bootstrap(self, local_key: ApiKey | None) -> dict[str, list[dict[str, Any]]]:
        """Bring the schema up to date, make a signing key if there is none; returns the JWK Set. Safe to repeat.

        With `local_key`, the user `local` gets exactly this API key and a grant on every dataset. Raises ConflictError
        if the key belongs to somebody else.
        """
        vault = Vault.open(self._settings)
        self._database.migrate()
        now = utc_now()
        with self._database.write() as session:
            signer = signingkeys.current(session, now)
            if signer is None:
                signer = signingkeys.create(session, vault, now)
                self._audit(session, now, "signing_key.create", kid=signer.kid)
            vault.unseal(signer.sealed, signer.kid)  # a wrong secret is to fail here, not at the first token
            if local_key is not None:
                self._ensure_local(session, vault, local_key, now)
            return signingkeys.jwks(session)

    def add_user(self, name: str) -> UserView:
        """Add a user. Raises BadNameError, ConflictError."""
        _check(_USER, "user", name)
        with self._write() as (session, now):
            if _find_user(session, name) is not None:
                raise ConflictError(f"there is a user {name} already", "choose another name")
            session.add(User(name=name, created_at=now))
            self._audit(session, now, "user.add", user=name)
        return UserView(name, now)

    def users(self) -> list[UserView]:
        """All users by name."""
        with self._read() as session:
            return [UserView(row.name, row.created_at) for row in session.scalars(select(User).order_by(User.name))]

    def add_project(self, name: str) -> ProjectView:
        """Add a project. Raises BadNameError, ConflictError."""
        _check(_PROJECT, "project", name)
        with self._write() as (session, now):
            if _find_project(session, name) is not None:
                raise ConflictError(f"there is a project {name} already", "choose another name")
            session.add(Project(name=name, created_at=now))
            self._audit(session, now, "project.add", project=name)
        return ProjectView(name, now)

    def projects(self) -> list[ProjectView]:
        """All projects by name."""
        with self._read() as session:
            rows = session.scalars(select(Project).order_by(Project.name))
            return [ProjectView(row.name, row.created_at) for row in rows]

    def create_key(self, user: str, label: str | None = None, lifetime: timedelta | None = None) -> ApiKey:
        """Make an API key for a user; the answer is the only time that it is in the clear. Raises NotFoundError."""
        vault = Vault.open(self._settings)
        key = apikeys.generate()
        with self._write() as (session, now):
            owner = _require_user(session, user)
            expires_at = now + lifetime if lifetime else None
            session.add(_key_row(key, vault, owner, label, now, expires_at))
            self._audit(session, now, "key.create", user=user, key_id=key.key_id)
        return key

    def api_keys(self, user: str | None = None) -> list[ApiKeyView]:
        """API keys, oldest first, of one user or of all. Raises NotFoundError."""
        now = utc_now()
        with self._read() as session:
            query = select(ApiKeyRow).options(joinedload(ApiKeyRow.user)).order_by(ApiKeyRow.created_at)
            if user is not None:
                query = query.where(ApiKeyRow.user_id == _require_user(session, user).id)
            return [
                ApiKeyView(
                    row.key_id,
                    row.user.name,
                    row.label,
                    _key_state(row, now),
                    row.created_at,
                    row.expires_at,
                    row.last_used_at,
                )
                for row in session.scalars(query)
            ]

    def revoke_key(self, key_id: str) -> None:
        """Revoke an API key by its public id; tokens that it got live on until they expire. Raises NotFoundError."""
        with self._write() as (session, now):
            row = session.get(ApiKeyRow, key_id)
            if row is None:
                raise NotFoundError(f"there is no API key {key_id}", "see 'lading admin key list'")
            if row.revoked_at is None:
                row.revoked_at = now
                self._audit(session, now, "key.revoke", key_id=key_id)

    def add_grant(
        self, user: str, dataset: str, project: str = DEFAULT_PROJECT, lifetime: timedelta | None = None
    ) -> GrantRow:
        """Grant a dataset, or `*` for every one, to a user; a grant that is there gets the new end.

        Raises NotFoundError for the user or the project, BadNameError for the dataset, which need not exist yet.
        """
        if dataset != ANY_DATASET:
            check_dataset(dataset)
        with self._write() as (session, now):
            owner, payer = _require_user(session, user), _require_project(session, project)
            expires_at = now + lifetime if lifetime else None
            _put_grant(session, owner, dataset, payer, now, expires_at)
            self._audit(session, now, "grant.add", user=user, dataset=dataset, project=project)
        return GrantRow(user, dataset, project, "valid", expires_at)

    def grants(self, user: str | None = None, dataset: str | None = None) -> list[GrantRow]:
        """Grants, of one user or dataset or of all. Raises NotFoundError."""
        now = utc_now()
        with self._read() as session:
            query = select(Grant).join(Grant.user).join(Grant.project).order_by(User.name, Grant.dataset, Project.name)
            query = query.options(joinedload(Grant.user), joinedload(Grant.project))
            if user is not None:
                query = query.where(Grant.user_id == _require_user(session, user).id)
            if dataset is not None:
                query = query.where(Grant.dataset == dataset)
            return [
                GrantRow(
                    row.user.name,
                    row.dataset,
                    row.project.name,
                    "expired" if row.expires_at is not None and row.expires_at <= now else "valid",
                    row.expires_at,
                )
                for row in session.scalars(query)
            ]

    def remove_grant(self, user: str, dataset: str, project: str | None = None) -> int:
        """Take a user's grants on a dataset away, of one project or of all; returns how many. Raises NotFoundError."""
        with self._write() as (session, now):
            query = select(Grant).where(Grant.user_id == _require_user(session, user).id, Grant.dataset == dataset)
            if project is not None:
                query = query.where(Grant.project_id == _require_project(session, project).id)
            rows = session.scalars(query).all()
            if not rows:
                raise NotFoundError(
                    f"{user} has no such grant on {dataset}", f"see 'lading admin grant list --user {user}'"
                )
            for row in rows:
                session.delete(row)
            self._audit(session, now, "grant.remove", user=user, dataset=dataset, project=project)
            return len(rows)

    def signing_keys(self) -> list[KeyView]:
        """Signing keys, newest first."""
        with self._read() as session:
            return signingkeys.views(session, utc_now())

    def rotate_signing_key(self, delay: int = ROTATION_DELAY) -> SigningKey:
        """Make a signing key that is published now and signs after `delay` seconds."""
        vault = Vault.open(self._settings)
        with self._write() as (session, now):
            row = signingkeys.create(session, vault, now, delay)
            self._audit(session, now, "signing_key.rotate", kid=row.kid, delay_s=delay)
            return row

    def retire_signing_key(self, kid: str, force: bool = False) -> None:
        """Take a signing key out of the JWK Set. Raises what issuer.signingkeys.retire does."""
        with self._write() as (session, now):
            signingkeys.retire(session, kid, now, self._settings.token_max_ttl, force)
            self._audit(session, now, "signing_key.retire", kid=kid, force=force)

    def revoke(self, kind: str, value: str) -> bool:
        """Revoke by `jti`, `sub` or `kid`; the running issuer tells the gateway. Raises what revocations.put does.

        Returns whether anything of this name is known: what is not may be revoked too.
        """
        with self._write() as (session, now):
            revocations.put(session, kind, value, self._actor, now)
            self._audit(session, now, "revocation.add", kind=kind, value=value)
            return revocations.is_known(session, kind, value, now, self._settings.token_max_ttl)

    def lift_revocation(self, kind: str, value: str) -> None:
        """Take a revocation back. Raises NotFoundError."""
        with self._write() as (session, now):
            revocations.put(session, kind, value, self._actor, now, lifted=True)
            self._audit(session, now, "revocation.remove", kind=kind, value=value)

    def revocations(self) -> list[RevocationView]:
        """All revocations, the last change first."""
        with self._read() as session:
            return revocations.views(session)

    def jwks(self) -> dict[str, list[dict[str, Any]]]:
        """The published signing keys."""
        with self._read() as session:
            return signingkeys.jwks(session)

    def mint_token(
        self,
        scope: Sequence[str],
        ttl: int,
        subject: str,
        project: str | None = None,
        ip: str | None = None,
        max_bytes: int | None = None,
    ) -> str:
        """Sign a token directly, for an operator's own tests, whatever the grants. `ttl` in seconds.

        Raises UsageError for a lifetime or scope that no token may have.
        """
        if not 1 <= ttl <= self._settings.token_max_ttl:
            raise UsageError(
                f"ttl is {ttl} seconds", f"give 1 to {self._settings.token_max_ttl} (LADING_TOKEN_MAX_TTL)"
            )
        if not scope or any(not entry.strip("/") or not entry.isprintable() for entry in scope):
            raise UsageError("an empty scope", "give a key, or a prefix that ends in '/'")
        _check(_USER, "user", subject)
        signer = Signer(Vault.open(self._settings))
        with self._write() as (session, now):
            kid, key = signer.current(session, now)
            token, claims = mint(
                key,
                kid=kid,
                issuer=self._settings.token_issuer,
                audience=self._settings.token_audience,
                subject=subject,
                scope=scope,
                issued_at=int(now.timestamp()),
                ttl=ttl,
                project=project,
                ip=ip,
                max_bytes=max_bytes,
            )
            event = Issuance(
                ts=now,
                granted=True,
                code="ok",
                reason=f"minted by operator {self._actor}",
                jti=claims["jti"],
                sub=subject,
                prj=project,
                kid=kid,
                keys=scope,
                ttl=ttl,
            )
            session.add(event.row())
        return token

    @contextmanager
    def _read(self) -> Iterator[Session]:
        self._database.require_current()
        with self._database.read() as session:
            yield session

    @contextmanager
    def _write(self) -> Iterator[tuple[Session, datetime]]:
        self._database.require_current()
        with self._database.write() as session:
            yield session, utc_now()

    def _audit(self, session: Session, now: datetime, action: str, **target: object) -> None:
        session.add(admin_event(now, self._actor, action, target))

    def _ensure_local(self, session: Session, vault: Vault, key: ApiKey, now: datetime) -> None:
        user = _find_user(session, LOCAL_USER)
        if user is None:
            user = User(name=LOCAL_USER, created_at=now)
            session.add(user)
            self._audit(session, now, "user.add", user=LOCAL_USER)
        session.flush()
        row = session.get(ApiKeyRow, key.key_id)
        if row is None:
            session.add(_key_row(key, vault, user, "bootstrap", now, None))
            self._audit(session, now, "key.create", user=LOCAL_USER, key_id=key.key_id)
        elif (row.user_id, row.digest) != (user.id, key.digest(vault.api_key_hash_key)) or row.revoked_at:
            raise ConflictError(
                f"API key {key.key_id} of LADING_BOOTSTRAP_API_KEY has another owner or secret, or is revoked",
                "make another one with 'python -m issuer new-key'",
            )
        payer = _find_project(session, DEFAULT_PROJECT)
        if payer is None:
            payer = Project(name=DEFAULT_PROJECT, created_at=now)
            session.add(payer)
            session.flush()
        if _find_grant(session, user, ANY_DATASET, payer) is None:
            _put_grant(session, user, ANY_DATASET, payer, now, None)
            self._audit(session, now, "grant.add", user=LOCAL_USER, dataset=ANY_DATASET, project=DEFAULT_PROJECT)


def _operator() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return "unknown"


def _check(pattern: re.Pattern[str], kind: str, name: str) -> None:
    if not pattern.fullmatch(name):
        raise BadNameError(
            f"{kind} name {name!r} is not valid", f"use letters, digits and punctuation that match {pattern.pattern}"
        )


def _find_user(session: Session, name: str) -> User | None:
    return session.scalars(select(User).where(User.name == name)).first()


def _require_user(session: Session, name: str) -> User:
    user = _find_user(session, name)
    if user is None:
        raise NotFoundError(f"there is no user {name}", f"add it with 'lading admin user add {name}'")
    return user


def _find_project(session: Session, name: str) -> Project | None:
    return session.scalars(select(Project).where(Project.name == name)).first()


def _require_project(session: Session, name: str) -> Project:
    project = _find_project(session, name)
    if project is None:
        raise NotFoundError(f"there is no project {name}", f"add it with 'lading admin project add {name}'")
    return project


def _find_grant(session: Session, user: User, dataset: str, project: Project) -> Grant | None:
    return session.scalars(
        select(Grant).where(Grant.user_id == user.id, Grant.dataset == dataset, Grant.project_id == project.id)
    ).first()


def _put_grant(
    session: Session, user: User, dataset: str, project: Project, now: datetime, expires_at: datetime | None
) -> None:
    grant = _find_grant(session, user, dataset, project)
    if grant is None:
        session.add(
            Grant(user_id=user.id, dataset=dataset, project_id=project.id, created_at=now, expires_at=expires_at)
        )
    else:
        grant.expires_at = expires_at


def _key_row(
    key: ApiKey, vault: Vault, user: User, label: str | None, now: datetime, expires_at: datetime | None
) -> ApiKeyRow:
    return ApiKeyRow(
        key_id=key.key_id,
        user_id=user.id,
        digest=key.digest(vault.api_key_hash_key),
        label=label,
        created_at=now,
        expires_at=expires_at,
    )


def _key_state(row: ApiKeyRow, now: datetime) -> str:
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if row.expires_at is not None and row.expires_at <= now else "valid"
