"""Revocations: what tokens the gateway must refuse before they expire, and telling it so.

A revocation is a row first, and then a change of the gateway's denylist. A gateway that cannot be reached only delays:
a thread tells it again and again until it has taken the change. Telling it twice does no harm.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, get_args
from urllib.parse import quote

import requests
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from issuer.audit import ISSUE
from issuer.clock import utc_now
from issuer.database import Database
from issuer.models import AuditEvent, RevocationRow, SigningKey, User
from issuer.sealing import Vault
from issuer.signingkeys import Signer, current
from lading.errors import ConflictError, LadingError, NotFoundError, UsageError
from lading.http import session as http_session
from lading.settings import Settings
from lading.tokens import mint

Kind = Literal["jti", "sub", "kid"]
KINDS: tuple[Kind, ...] = get_args(Kind)

MAX_VALUE_LENGTH = 256
"""Longest id or name that the gateway's denylist takes."""

ADMIN_SCOPE = "admin:denylist"
SUBJECT = "issuer:revocations"
"""`sub` of the issuer's own admin tokens. No user can have this name: revoking a user never shuts the issuer out."""

ADMIN_TOKEN_TTL_S = 60
POLL_S = 1.0
"""How often new revocations are looked for: the gateway takes up to 8 s more, of 10 s that are promised."""

MAX_BACKOFF_S = 30.0
TIMEOUT_S = 5.0
STOP_S = 7.0
LEEWAY = timedelta(minutes=1)
"""A token that is revoked so shortly after its end may still be in use by the gateway's clock."""

_log = logging.getLogger("issuer.revocations")


@dataclass(frozen=True, slots=True)
class RevocationView:
    """A revocation for lists. `state` is pending or delivered; `lifted` if it was taken back; `error`: why it waits."""

    kind: str
    value: str
    state: str
    lifted: bool
    changed_by: str
    changed_at: datetime
    delivered_at: datetime | None
    error: str | None


def put(session: Session, kind: str, value: str, actor: str, now: datetime, *, lifted: bool = False) -> RevocationRow:
    """Revoke, or take a revocation back with `lifted`; doing the same twice tells the gateway again and is fine.

    Raises UsageError for what cannot be revoked, ConflictError for the key that signs, NotFoundError for taking back
    what was never revoked.
    """
    if kind not in KINDS:
        raise UsageError(f"{kind!r} cannot be revoked", f"give one of {', '.join(KINDS)}")
    if not value or len(value) > MAX_VALUE_LENGTH or not value.isprintable():
        raise UsageError(
            f"the {kind} is empty, longer than {MAX_VALUE_LENGTH} characters or not printable", "copy it from the log"
        )
    signer = current(session, now)
    if kind == "kid" and not lifted and signer is not None and signer.kid == value:
        raise ConflictError(
            f"{value} is the key that signs", "run 'lading admin signing-key rotate' and wait until the new key signs"
        )
    row = session.get(RevocationRow, (kind, value))
    if row is None:
        if lifted:
            raise NotFoundError(f"{kind} {value} was never revoked", "see 'lading admin revocation list'")
        row = RevocationRow(kind=kind, value=value)
        session.add(row)
    row.lifted = lifted
    row.changed_by = actor
    row.changed_at = now
    row.delivered_at = None
    row.error = None
    session.flush()
    return row


def views(session: Session) -> list[RevocationView]:
    """All revocations, the last change first."""
    return [view(row) for row in session.scalars(select(RevocationRow).order_by(RevocationRow.changed_at.desc()))]


def view(row: RevocationRow) -> RevocationView:
    """A row as it is shown."""
    return RevocationView(
        kind=row.kind,
        value=row.value,
        state="pending" if row.delivered_at is None else "delivered",
        lifted=row.lifted,
        changed_by=row.changed_by,
        changed_at=row.changed_at,
        delivered_at=row.delivered_at,
        error=row.error,
    )


def was_issued_to(session: Session, jti: str, user: str, now: datetime, max_ttl_s: int) -> bool:
    """Whether a token that may still hold was issued to a user."""
    return _issued(session, now, max_ttl_s, jti=jti, sub=user)


def is_known(session: Session, kind: str, value: str, now: datetime, max_ttl_s: int) -> bool:
    """Whether there is such a user or signing key, or a token that may still hold and is theirs."""
    known = {"sub": User.name, "kid": SigningKey.kid}
    named = kind in known and session.scalar(select(known[kind]).where(known[kind] == value)) is not None
    return named or _issued(session, now, max_ttl_s, **{kind: value})


def _issued(session: Session, now: datetime, max_ttl_s: int, **claims: str) -> bool:
    """Whether a token with these claims that may still hold was issued."""
    since = now - timedelta(seconds=max_ttl_s) - LEEWAY
    rows = session.scalars(select(AuditEvent).where(AuditEvent.ts >= since, AuditEvent.type == ISSUE))
    return any(all(row.body.get(name) == value for name, value in claims.items()) for row in rows)


class Deliverer:
    """Tells the gateway what is revoked: at once when asked to, and in a thread until it has taken everything."""

    def __init__(
        self, settings: Settings, database: Database, vault: Vault, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._settings = settings
        self._gateway = settings.require("gateway_url")
        self._database = database
        self._signer = Signer(vault)
        self._clock = clock
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="revocations", daemon=True)

    def start(self) -> None:
        """Begin telling."""
        self._thread.start()

    def stop(self) -> None:
        """End; what waits is told after the next start."""
        self._stopping.set()
        self._thread.join(STOP_S)

    def deliver(self, kind: str, value: str) -> RevocationView:
        """Tell the gateway about one revocation now. Where it does not take it, it stays pending, with the reason."""
        with self._database.read() as session:
            row = session.get_one(RevocationRow, (kind, value))
            lifted, changed_at = row.lifted, row.changed_at
            kid, key = self._signer.current(session, self._clock())
        now = self._clock()
        token, _ = mint(
            key,
            kid=kid,
            issuer=self._settings.token_issuer,
            audience=self._settings.token_audience,
            subject=SUBJECT,
            scope=[ADMIN_SCOPE],
            issued_at=int(now.timestamp()),
            ttl=ADMIN_TOKEN_TTL_S,
        )
        error = self._tell("DELETE" if lifted else "PUT", f"/admin/denylist/{kind}/{quote(value, safe='')}", token)
        with self._database.write() as session:
            row = session.get_one(RevocationRow, (kind, value))
            # Another change may have come meanwhile, which the gateway does not know yet.
            if row.changed_at == changed_at:
                row.error = error
                row.delivered_at = self._clock() if error is None else None
            return view(row)

    def deliver_pending(self) -> int:
        """Tell the gateway about all that waits; returns how many still wait."""
        with self._database.read() as session:
            query = select(RevocationRow.kind, RevocationRow.value).where(RevocationRow.delivered_at.is_(None))
            names = [(row.kind, row.value) for row in session.execute(query)]
        return sum(self.deliver(kind, value).state == "pending" for kind, value in names)

    def _tell(self, method: str, path: str, token: str) -> str | None:
        """Returns why the gateway did not take it, None if it did."""
        try:
            with http_session() as session:
                answer = session.request(
                    method, self._gateway + path, headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT_S
                )
        except requests.RequestException as error:
            return f"the gateway cannot be reached: {type(error).__name__}"
        return None if answer.status_code == 204 else f"the gateway answered {answer.status_code}: {answer.text[:200]}"

    def _run(self) -> None:
        wait = POLL_S
        while not self._stopping.wait(wait):
            try:
                left = self.deliver_pending()
            except (LadingError, SQLAlchemyError) as error:
                left = 1
                _log.warning("revocations cannot be delivered: %s", error)
            wait = POLL_S if left == 0 else min(MAX_BACKOFF_S, wait * 2)
            if left:
                _log.warning("%d revocations wait for the gateway, next try in %.0f s", left, wait)
