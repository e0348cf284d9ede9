"""The tables. Their history is issuer/migrations; a test holds the two together."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

DEFAULT_PROJECT = "default"
ANY_DATASET = "*"


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime; SQLite has no zones and keeps it naive."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a datetime without a zone; use lading's UTC times only")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Base of all tables; constraint names are fixed so that migrations can refer to them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcDateTime, dict[str, Any]: JSON}  # noqa: RUF012 - SQLAlchemy's own form


class User(Base):
    """Somebody who may ask for tokens. `name` becomes the token's `sub`."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(128), unique=True)
    created_at: Mapped[datetime]


class Project(Base):
    """Who pays. `name` becomes the token's `prj`."""

    __tablename__ = "projects"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime]


class ApiKeyRow(Base):
    """An API key: its public id and the keyed hash of the whole (issuer.apikeys)."""

    __tablename__ = "api_keys"

    key_id: Mapped[str] = mapped_column(String(12), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    digest: Mapped[bytes]
    label: Mapped[str | None] = mapped_column(String(128))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]

    user: Mapped[User] = relationship()


class Grant(Base):
    """A user may read a dataset (`*`: every one) on a project's account until `expires_at` (None: for good)."""

    __tablename__ = "grants"
    __table_args__ = (UniqueConstraint("user_id", "dataset", "project_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    dataset: Mapped[str] = mapped_column(String(63))
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="RESTRICT"), index=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]

    user: Mapped[User] = relationship()
    project: Mapped[Project] = relationship()


class SigningKey(Base):
    """An Ed25519 key that signs tokens, sealed. `kid` is its RFC 7638 thumbprint.

    It is published in the JWKS from `created_at`, signs from `activates_at` until a newer key does, and is published
    until `retired_at`.
    """

    __tablename__ = "signing_keys"

    kid: Mapped[str] = mapped_column(String(43), primary_key=True)
    algorithm: Mapped[str] = mapped_column(String(16))
    sealed: Mapped[bytes]
    public_x: Mapped[str] = mapped_column(String(43))
    created_at: Mapped[datetime]
    activates_at: Mapped[datetime]
    retired_at: Mapped[datetime | None]

    __table_args__ = (CheckConstraint("algorithm = 'EdDSA'", name="algorithm"),)


class RevocationRow(Base):
    """Tokens that the gateway must refuse: those of this `jti`, `sub` or `kid`, unless that is `lifted` again.

    `delivered_at` is set once the gateway has taken the last change; until then `error` says what hindered it.
    """

    __tablename__ = "revocations"

    kind: Mapped[str] = mapped_column(String(3), primary_key=True)
    value: Mapped[str] = mapped_column(String(256), primary_key=True)
    lifted: Mapped[bool]
    changed_by: Mapped[str] = mapped_column(String(128))
    changed_at: Mapped[datetime]
    delivered_at: Mapped[datetime | None]
    error: Mapped[str | None] = mapped_column(Text)


class AuditEvent(Base):
    """One line of the audit trail. Events of type `issue` are also the outbox of the log exporter.

    `exported_at` is set once the log bucket has the event.
    """

    __tablename__ = "audit_events"
    __table_args__ = (
        Index(
            "ix_audit_events_outbox",
            "seq",
            sqlite_where=text("exported_at IS NULL AND type = 'issue'"),
            postgresql_where=text("exported_at IS NULL AND type = 'issue'"),
        ),
    )

    seq: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    id: Mapped[str] = mapped_column(String(32), unique=True)
    type: Mapped[str] = mapped_column(String(16))
    ts: Mapped[datetime] = mapped_column(index=True)
    body: Mapped[dict[str, Any]]
    exported_at: Mapped[datetime | None]
