"""The audit trail: one event per token request, granted or refused, and one per act of administration."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from issuer.models import AuditEvent

ISSUE = "issue"
ADMIN = "admin"

MAX_USER_AGENT = 256


@dataclass(frozen=True, slots=True)
class Issuance:
    """A token request and what became of it. Times in UTC, `ttl` in seconds; never holds a key's secret or a token."""

    ts: datetime
    granted: bool
    code: str
    reason: str | None = None
    jti: str | None = None
    sub: str | None = None
    prj: str | None = None
    kid: str | None = None
    dataset: str | None = None
    version: str | None = None
    keys: Sequence[str] | None = None
    ttl: int | None = None
    ip: str | None = None
    user_agent: str | None = None

    def row(self) -> AuditEvent:
        """The event as a row of the audit trail, in the shape of the design's issuance event."""
        return _row(
            ISSUE,
            self.ts,
            {
                "jti": self.jti,
                "sub": self.sub,
                "prj": self.prj,
                "kid": self.kid,
                "dataset": self.dataset,
                "version": self.version,
                "keys": None if self.keys is None else list(self.keys),
                "ttl_s": self.ttl,
                "granted": self.granted,
                "code": self.code,
                "reason": self.reason,
                "ip": self.ip,
                "user_agent": None if self.user_agent is None else self.user_agent[:MAX_USER_AGENT],
            },
        )


def admin_event(ts: datetime, actor: str, action: str, target: dict[str, Any]) -> AuditEvent:
    """The row for an act of administration, such as `grant.add`; it stays in the database."""
    return _row(ADMIN, ts, {"actor": actor, "action": action, "target": target})


def _row(kind: str, ts: datetime, fields: dict[str, Any]) -> AuditEvent:
    event_id = uuid.uuid4().hex
    stamp = ts.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return AuditEvent(id=event_id, type=kind, ts=ts, body={"v": 1, "type": kind, "id": event_id, "ts": stamp, **fields})
