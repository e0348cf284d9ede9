"""The HTTP interface over a real socket: all that needs no object store."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
import requests
from sqlalchemy import select

from issuer import apikeys
from issuer.admin import Admin
from issuer.app import create_app
from issuer.database import Database
from issuer.models import AuditEvent
from lading.errors import UsageError
from lading.settings import Settings


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def problem(response: requests.Response) -> tuple[int, str]:
    """Status and code, once the response is a complete problem."""
    assert response.headers["Content-Type"] == "application/problem+json"
    body = response.json()
    assert set(body) == {"type", "title", "status", "detail", "code", "request_id"}
    assert body["status"] == response.status_code
    assert body["request_id"] == response.headers["X-Request-Id"]
    return response.status_code, body["code"]


def events(database: Database) -> list[dict[str, Any]]:
    with database.read() as session:
        rows = session.scalars(select(AuditEvent).where(AuditEvent.type == "issue").order_by(AuditEvent.seq))
        return [row.body for row in rows]


@pytest.fixture
def key(admin: Admin) -> str:
    """The API key of a user who may read `cats`."""
    admin.add_user("ann")
    admin.add_grant("ann", "cats")
    return admin.create_key("ann").text


def ask(url: str, key: str | None, **body: Any) -> requests.Response:
    return requests.post(f"{url}/v1/tokens", json=body, headers=bearer(key) if key else {}, timeout=30)


def test_health_keys_and_documentation_are_public(issuer_url: str, admin: Admin) -> None:
    assert requests.get(f"{issuer_url}/healthz", timeout=10).json() == {"status": "ok"}
    keys = requests.get(f"{issuer_url}/.well-known/jwks.json", timeout=10)
    assert keys.json() == admin.jwks()
    assert keys.headers["Cache-Control"] == "public, max-age=300"
    assert keys.headers["Content-Type"] == "application/jwk-set+json"
    assert "/v1/tokens" in requests.get(f"{issuer_url}/openapi.json", timeout=10).json()["paths"]
    assert requests.get(f"{issuer_url}/docs", timeout=10).ok


def test_a_missing_key_is_refused(issuer_url: str) -> None:
    for header in (None, "", "Bearer", "Bearer ", "Basic bGFkOg==", "lad_x"):
        headers = {} if header is None else {"Authorization": header}
        for path in ("/v1/datasets", "/v1/datasets/cats", "/v1/datasets/cats/releases"):
            response = requests.get(issuer_url + path, headers=headers, timeout=10)
            assert problem(response) == (401, "api_key_missing")
            assert response.headers["WWW-Authenticate"].startswith("Bearer")


def test_wrong_revoked_and_expired_keys_get_one_answer(issuer_url: str, admin: Admin, key: str) -> None:
    revoked = admin.create_key("ann")
    admin.revoke_key(revoked.key_id)
    expired = admin.create_key("ann", lifetime=timedelta(microseconds=1))
    wrong_secret = key[:-1] + ("a" if key[-1] != "a" else "b")
    bad = [revoked.text, expired.text, wrong_secret, apikeys.generate().text, apikeys.DECOY.text, "lad_x", "eyJ.e.s"]
    answers = [ask(issuer_url, text, dataset="cats") for text in bad]
    assert {problem(answer) for answer in answers} == {(401, "api_key_invalid")}
    assert len({answer.json()["detail"] for answer in answers}) == 1


def test_a_refused_key_leaves_an_event_that_holds_no_part_of_its_secret(
    issuer_url: str, database: Database, key: str
) -> None:
    wrong = apikeys.generate().text
    ask(issuer_url, wrong, dataset="cats")
    ask(issuer_url, None, dataset="cats")
    ask(issuer_url, wrong, dataset="No Name\n")
    first, second, third = events(database)
    assert (first["code"], first["granted"], first["sub"], first["dataset"]) == ("api_key_invalid", False, None, "cats")
    assert first["reason"] == "unknown key id"
    assert first["ip"] == "127.0.0.1"
    assert first["user_agent"].startswith("python-requests")
    assert second["code"] == "api_key_missing"
    assert third["dataset"] is None
    assert wrong.rsplit("_")[-1] not in str(events(database))


def test_the_key_is_checked_before_the_body(issuer_url: str) -> None:
    assert problem(ask(issuer_url, None, nonsense=1)) == (401, "api_key_missing")


def test_a_bad_request_says_what_to_do(issuer_url: str, key: str) -> None:
    bodies: list[dict[str, Any]] = [
        {},
        {"dataset": 1},
        {"dataset": "Cats"},
        {"dataset": "cats", "version": "../v1"},
        {"dataset": "cats", "ttl": 29},
        {"dataset": "cats", "ttl": 10**9},
        {"dataset": "cats", "keys": []},
        {"dataset": "cats", "keys": ["dogs/shards/a"]},
        {"dataset": "cats", "keys": ["cats/shards/"]},
        {"dataset": "cats", "bind_ip": "nowhere"},
        {"dataset": "cats", "surprise": True},
    ]
    for body in bodies:
        assert problem(ask(issuer_url, key, **body)) == (422, "bad_request"), body


def test_a_body_that_is_no_json_object_is_a_bad_request(issuer_url: str, key: str) -> None:
    headers = {**bearer(key), "Content-Type": "application/json"}
    for data in (b"", b"{", b"\xff", b"[]", b"[" * 5000):
        status, code = problem(requests.post(f"{issuer_url}/v1/tokens", data=data, headers=headers, timeout=10))
        assert code == "bad_request", data
        assert status in (400, 422), data


def test_large_and_unmeasured_bodies_are_refused(issuer_url: str, key: str) -> None:
    url, headers = f"{issuer_url}/v1/tokens", bearer(key)
    assert problem(requests.post(url, data=b" " * 200_000, headers=headers, timeout=10))[0] == 413
    assert problem(requests.post(url, data=iter([b"{}"]), headers=headers, timeout=10))[0] == 411


def test_without_a_grant_nothing_tells_whether_a_dataset_exists(
    issuer_url: str, admin: Admin, database: Database, key: str
) -> None:
    # The object store is down in this test: an answer other than 503 shows that it was not even asked.
    assert problem(ask(issuer_url, key, dataset="dogs")) == (403, "no_grant")
    for path in ("/v1/datasets/dogs", "/v1/datasets/dogs/releases"):
        response = requests.get(issuer_url + path, headers=bearer(key), timeout=10)
        assert problem(response) == (403, "no_grant")
    (event,) = events(database)
    assert (event["sub"], event["dataset"], event["code"], event["jti"]) == ("ann", "dogs", "no_grant", None)


def test_a_store_that_is_down_is_a_503_and_an_event(issuer_url: str, database: Database, key: str) -> None:
    response = ask(issuer_url, key, dataset="cats", ttl=60)
    assert problem(response) == (503, "store_unavailable")
    assert int(response.headers["Retry-After"]) > 0
    assert "127.0.0.1:9" not in response.text
    (event,) = events(database)
    assert (event["granted"], event["code"], event["ttl_s"], event["prj"]) == (
        False,
        "store_unavailable",
        60,
        "default",
    )
    assert problem(requests.get(f"{issuer_url}/v1/datasets", headers=bearer(key), timeout=30))[0] == 503


def test_the_last_use_of_a_key_is_recorded(issuer_url: str, admin: Admin, key: str) -> None:
    assert admin.api_keys()[0].last_used_at is None
    ask(issuer_url, key, dataset="dogs")
    assert admin.api_keys()[0].last_used_at is not None


def test_many_at_once_leave_every_event(issuer_url: str, database: Database, key: str) -> None:
    def many() -> None:
        for _ in range(10):
            assert ask(issuer_url, key, dataset="dogs").status_code == 403

    threads = [threading.Thread(target=many) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({event["id"] for event in events(database)}) == 80


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/none?token=x", 404), ("DELETE", "/healthz", 405)])
def test_framework_errors_are_problems_too(issuer_url: str, method: str, path: str, status: int) -> None:
    response = requests.request(method, issuer_url + path, timeout=10)
    assert problem(response)[0] == status
    assert "token=x" not in response.text


def test_a_database_that_is_gone_is_a_503(issuer_url: str, database: Database, key: str) -> None:
    database.migrate("base")
    assert problem(requests.get(f"{issuer_url}/healthz", timeout=10)) == (503, "database_unavailable")
    response = ask(issuer_url, key, dataset="cats")
    assert problem(response) == (503, "database_unavailable")
    assert "SELECT" not in response.text


def test_an_empty_database_stops_the_start(settings: Settings) -> None:
    with pytest.raises(UsageError, match="bootstrap"):
        create_app(settings)
