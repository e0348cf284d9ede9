"""A revocation by the issuer, from the request to the refusal at the gateway."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

import jwt
import requests
from running_stack import RunningStack

WITHIN_S = 10.0
"""A revocation takes effect within this long (design, section 6)."""


def _bearer(credential: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {credential}"}


def _seconds_until(stack: RunningStack, token: str, status: int) -> float:
    """How long the gateway takes to answer the token with `status`."""
    started = time.monotonic()
    while True:
        answer = requests.get(f"{stack.settings.gateway_url}/d/anything/x", headers=_bearer(token), timeout=10)
        elapsed = time.monotonic() - started
        if answer.status_code == status:
            return elapsed
        assert elapsed < WITHIN_S, answer.text
        time.sleep(0.2)


def _minted(stack: RunningStack, subject: str) -> str:
    done = stack.lading("admin", "token", "--ttl", "300", "--sub", subject, "--scp", "anything/")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _revoke(stack: RunningStack, key: str, kind: str, value: str) -> requests.Response:
    return requests.post(
        f"{stack.settings.issuer_url}/v1/revocations",
        json={"kind": kind, "value": value},
        headers=_bearer(key),
        timeout=20,
    )


def test_a_token_that_is_revoked_over_http_is_refused_within_seconds(stack: RunningStack) -> None:
    token = _minted(stack, "ann")
    assert _seconds_until(stack, token, 404) < WITHIN_S
    jti = jwt.decode(token, options={"verify_signature": False})["jti"]
    for _ in range(2):
        answer = _revoke(stack, str(stack.settings.api_key), "jti", jti)
        assert (answer.status_code, answer.json()["state"]) == (200, "delivered")
    assert _seconds_until(stack, token, 403) < WITHIN_S


def test_a_user_whom_the_operator_revokes_is_refused_until_allowed_again(stack: RunningStack) -> None:
    subject = f"user-{secrets.token_hex(4)}"
    token = _minted(stack, subject)
    assert _seconds_until(stack, token, 404) < WITHIN_S
    assert stack.lading("admin", "revocation", "add", "sub", subject).returncode == 0
    assert _seconds_until(stack, token, 403) < WITHIN_S
    assert stack.lading("admin", "revocation", "remove", "sub", subject).returncode == 0
    assert _seconds_until(stack, token, 404) < WITHIN_S
    assert subject in stack.lading("admin", "revocation", "list").stdout


def test_users_may_revoke_the_tokens_that_they_got(stack: RunningStack, dataset: str, tmp_path: Path) -> None:
    from flows.release import release

    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a").write_bytes(b"a")
    release(source=str(tmp_path / "source"), dataset=dataset, version="v1", smoke=False)
    user = f"user-{secrets.token_hex(4)}"
    for command in (["user", "add", user], ["grant", "add", user, dataset]):
        assert stack.lading("admin", *command).returncode == 0
    key = stack.lading("admin", "key", "create", user).stdout.strip()
    token = requests.post(
        f"{stack.settings.issuer_url}/v1/tokens", json={"dataset": dataset}, headers=_bearer(key), timeout=10
    ).json()["token"]
    jti = jwt.decode(token, options={"verify_signature": False})["jti"]
    assert _revoke(stack, key, "jti", jti).status_code == 200
    assert _revoke(stack, key, "sub", "local").status_code == 403
    assert _seconds_until(stack, token, 403) < WITHIN_S
