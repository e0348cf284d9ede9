"""Revocations while the gateway cannot be reached, and who may revoke what."""

from __future__ import annotations

from dataclasses import replace

import pytest
import requests

from issuer.admin import Admin
from lading.errors import ConflictError, NotFoundError, UsageError
from lading.settings import Settings


@pytest.fixture
def settings(settings: Settings) -> Settings:
    # Nothing listens on the discard port.
    return replace(settings, gateway_url="http://127.0.0.1:9", revokers=("operator",))


def key_of(admin: Admin, user: str) -> dict[str, str]:
    admin.add_user(user)
    return {"Authorization": f"Bearer {admin.create_key(user).text}"}


def test_a_gateway_that_does_not_listen_leaves_a_revocation_pending(issuer_url: str, admin: Admin) -> None:
    operator = key_of(admin, "operator")
    for _ in range(2):
        answer = requests.post(
            f"{issuer_url}/v1/revocations", json={"kind": "sub", "value": "mallory"}, headers=operator, timeout=10
        )
        assert answer.status_code == 202
        assert answer.json()["state"] == "pending"
        assert "cannot be reached" in answer.json()["error"]
    [waiting] = admin.revocations()
    assert (waiting.kind, waiting.value, waiting.state, waiting.changed_by) == ("sub", "mallory", "pending", "operator")


@pytest.mark.parametrize("body", [{"kind": "jti", "value": "another's"}, {"kind": "sub", "value": "ann"}])
def test_who_is_no_revoker_may_not_revoke_what_is_not_theirs(
    issuer_url: str, admin: Admin, body: dict[str, str]
) -> None:
    answer = requests.post(f"{issuer_url}/v1/revocations", json=body, headers=key_of(admin, "ann"), timeout=10)
    assert (answer.status_code, answer.json()["code"]) == (403, "not_a_revoker")
    assert admin.revocations() == []


def test_wrong_bodies_are_named(issuer_url: str, admin: Admin) -> None:
    operator = key_of(admin, "operator")
    signing = admin.signing_keys()[0].kid
    for body, status in [
        ({"kind": "colour", "value": "x"}, 422),
        ({"kind": "jti", "value": ""}, 422),
        ({"kind": "jti", "value": "x" * 257}, 422),
        ({"kind": "kid", "value": signing}, 409),
    ]:
        answer = requests.post(f"{issuer_url}/v1/revocations", json=body, headers=operator, timeout=10)
        assert answer.status_code == status, body
    assert requests.post(f"{issuer_url}/v1/revocations", json={}, timeout=10).status_code == 401


def test_the_operator_revokes_and_takes_back(admin: Admin) -> None:
    admin.revoke("jti", "j1")
    admin.lift_revocation("jti", "j1")
    assert [(row.value, row.lifted, row.state) for row in admin.revocations()] == [("j1", True, "pending")]
    with pytest.raises(NotFoundError, match="never revoked"):
        admin.lift_revocation("jti", "j2")
    with pytest.raises(ConflictError, match="signs"):
        admin.revoke("kid", admin.signing_keys()[0].kid)
    with pytest.raises(UsageError, match="one of jti, sub, kid"):
        admin.revoke("ip", "192.0.2.1")
