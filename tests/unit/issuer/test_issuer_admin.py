"""Administration, by its functions and by `lading admin`."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import jwt
import pytest
from sqlalchemy import select
from typer.testing import CliRunner, Result

from issuer import apikeys
from issuer.admin import Admin
from issuer.cli import app
from issuer.database import Database
from issuer.models import AuditEvent
from lading.errors import BadNameError, ConflictError, LadingError, NotFoundError, UsageError
from lading.settings import Settings


@pytest.fixture
def run(settings: Settings, admin: Admin, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `lading admin ARGUMENTS`; errors come through."""
    monkeypatch.setenv("LADING_HOME", str(settings.home))
    monkeypatch.setenv("LADING_ISSUER_SECRET", str(settings.issuer_secret))
    monkeypatch.delenv("LADING_DATABASE_URL", raising=False)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, arguments, catch_exceptions=False, standalone_mode=False)

    return run


def test_bootstrap_is_idempotent(settings: Settings) -> None:
    key = apikeys.generate()
    with Admin(settings) as admin:
        first = admin.bootstrap(key)
        second = admin.bootstrap(key)
        assert first == second
        assert [view.name for view in admin.users()] == ["local"]
        assert [view.key_id for view in admin.api_keys()] == [key.key_id]
        assert [(grant.dataset, grant.project) for grant in admin.grants()] == [("*", "default")]
        another = apikeys.generate()
        admin.bootstrap(another)
        assert {view.key_id for view in admin.api_keys()} == {key.key_id, another.key_id}


def test_bootstrap_refuses_a_key_that_is_not_the_one_it_knows(settings: Settings) -> None:
    key, other = apikeys.generate(), apikeys.generate()
    same_id = apikeys.ApiKey(key.key_id, key.text[: -apikeys.SECRET_LENGTH] + other.text[-apikeys.SECRET_LENGTH :])
    with Admin(settings) as admin:
        admin.bootstrap(key)
        with pytest.raises(ConflictError):
            admin.bootstrap(same_id)
        admin.revoke_key(key.key_id)
        with pytest.raises(ConflictError):
            admin.bootstrap(key)


def test_bootstrap_with_another_secret_fails_at_once(settings: Settings, admin: Admin) -> None:
    changed = Settings.from_env({"LADING_HOME": str(settings.home), "LADING_ISSUER_SECRET": "another secret" * 3})
    with Admin(changed) as other, pytest.raises(UsageError, match="cannot be opened"):
        other.bootstrap(None)


def test_users_keys_and_grants_by_the_command_line(run: Any) -> None:
    run("user", "add", "ann@example.org")
    run("project", "add", "vision")
    key = run("key", "create", "ann@example.org", "--label", "laptop", "--days", "30").stdout.strip()
    parsed = apikeys.parse(key)
    assert parsed is not None
    run("grant", "add", "ann@example.org", "cats", "--project", "vision")
    run("grant", "add", "ann@example.org", "*")
    (listed,) = json.loads(run("key", "list", "--json").stdout)
    assert (listed["key_id"], listed["state"], listed["label"]) == (parsed.key_id, "valid", "laptop")
    assert listed["expires_at"].endswith("Z")
    grants = json.loads(run("grant", "list", "--user", "ann@example.org", "--json").stdout)
    assert [(grant["dataset"], grant["project"]) for grant in grants] == [("*", "default"), ("cats", "vision")]
    run("grant", "remove", "ann@example.org", "cats")
    assert len(json.loads(run("grant", "list", "--json").stdout)) == 1
    run("key", "revoke", parsed.key_id)
    table = run("key", "list").stdout
    assert "revoked" in table
    assert key not in table
    assert json.loads(run("user", "list", "--json").stdout)[0]["name"] == "ann@example.org"


def test_a_table_shows_ids_whole(run: Any, admin: Admin) -> None:
    (key,) = admin.signing_keys()
    header, row = run("signing-key", "list").stdout.splitlines()
    assert header.split()[:2] == ["kid", "state"]
    assert row.split()[:2] == [key.kid, "signing"]


def test_messages_go_to_stderr(run: Any) -> None:
    result = run("user", "add", "ann")
    assert result.stdout == ""
    assert "added user ann" in result.stderr


def test_revoking_what_nobody_knows_is_done_and_warned_of(run: Any, admin: Admin) -> None:
    admin.add_user("ada")
    admin.rotate_signing_key(0)
    token = admin.mint_token(["ds/"], 60, "ada")
    jti = jwt.decode(token, options={"verify_signature": False})["jti"]
    known = [("sub", "ada"), ("jti", jti), ("kid", next(k.kid for k in admin.signing_keys() if k.state == "verifying"))]
    for kind, value in known:
        assert "warning" not in run("revocation", "add", kind, value).stderr
    for kind, what in (("sub", "user"), ("jti", "token"), ("kid", "signing key")):
        assert f"warning: no {what}" in run("revocation", "add", kind, "typo").stderr
    assert len(admin.revocations()) == 6


def test_granting_again_sets_a_new_end(admin: Admin) -> None:
    admin.add_user("ann")
    admin.add_grant("ann", "cats", lifetime=timedelta(microseconds=1))
    assert admin.grants()[0].state == "expired"
    admin.add_grant("ann", "cats")
    (grant,) = admin.grants()
    assert (grant.state, grant.expires_at) == ("valid", None)


def test_what_does_not_exist_is_named(admin: Admin) -> None:
    admin.add_user("ann")
    for act in (
        lambda: admin.create_key("bob"),
        lambda: admin.add_grant("bob", "cats"),
        lambda: admin.add_grant("ann", "cats", "nobody-pays"),
        lambda: admin.remove_grant("ann", "cats"),
        lambda: admin.revoke_key("000000000000"),
        lambda: admin.api_keys("bob"),
        lambda: admin.retire_signing_key("nope"),
    ):
        with pytest.raises(NotFoundError) as caught:
            act()
        assert caught.value.hint


def test_names_that_break_the_rules_are_refused(admin: Admin) -> None:
    admin.add_user("ann")
    for act in (
        lambda: admin.add_user("a/b"),
        lambda: admin.add_user(""),
        lambda: admin.add_project("a b"),
        lambda: admin.add_grant("ann", "Cats"),
        lambda: admin.add_grant("ann", "cats*"),
    ):
        with pytest.raises(BadNameError):
            act()
    with pytest.raises(ConflictError):
        admin.add_user("ann")
    with pytest.raises(ConflictError):
        admin.add_project("default")


def test_signing_keys_are_rotated_and_retired(run: Any, admin: Admin) -> None:
    (old,) = admin.signing_keys()
    new = run("signing-key", "rotate", "--delay", "0").stdout.strip()
    states = {row["kid"]: row["state"] for row in json.loads(run("signing-key", "list", "--json").stdout)}
    assert states == {old.kid: "verifying", new: "signing"}
    with pytest.raises(LadingError, match="are valid until"):
        run("signing-key", "retire", old.kid)
    run("signing-key", "retire", old.kid, "--force")
    assert [key["kid"] for key in json.loads(run("jwks").stdout)["keys"]] == [new]


def test_a_minted_token_is_verified_by_the_published_key_and_audited(
    run: Any, settings: Settings, database: Database
) -> None:
    options = ["--scp", "cats/shards/", "--scp", "admin:denylist", "--ttl", "5", "--sub", "ann", "--max-bytes", "10"]
    token = run("token", *options).stdout.strip()
    key = jwt.PyJWKSet.from_dict(json.loads(run("jwks").stdout)).keys[0]
    header = jwt.get_unverified_header(token)
    assert (header["kid"], header["typ"], header["alg"]) == (key.key_id, "dl+jwt", "EdDSA")
    claims = jwt.decode(
        token, key, algorithms=["EdDSA"], audience=settings.token_audience, issuer=settings.token_issuer
    )
    assert (claims["scp"], claims["sub"], claims["max"]) == (["cats/shards/", "admin:denylist"], "ann", 10)
    assert claims["exp"] - claims["iat"] == 5
    with database.read() as session:
        event = session.scalars(select(AuditEvent).where(AuditEvent.type == "issue")).one().body
    assert (event["jti"], event["granted"], event["keys"]) == (claims["jti"], True, claims["scp"])
    assert "minted by operator" in event["reason"]
    assert token not in json.dumps(event)


@pytest.mark.parametrize("arguments", [["--scp", "/"], ["--scp", ""], ["--scp", "a/", "--ttl", "99999"]])
def test_a_token_that_may_not_be_is_not_minted(run: Any, arguments: list[str]) -> None:
    with pytest.raises(UsageError):
        run("token", *arguments)


def test_every_act_leaves_an_audit_event(admin: Admin, database: Database) -> None:
    admin.add_user("ann")
    admin.add_project("vision")
    key = admin.create_key("ann")
    admin.add_grant("ann", "cats")
    admin.remove_grant("ann", "cats")
    admin.revoke_key(key.key_id)
    admin.rotate_signing_key()
    with database.read() as session:
        bodies = [row.body for row in session.scalars(select(AuditEvent).order_by(AuditEvent.seq))]
    assert [body["action"] for body in bodies] == [
        *("signing_key.create", "user.add", "project.add", "key.create", "grant.add", "grant.remove", "key.revoke"),
        "signing_key.rotate",
    ]
    assert {body["actor"] for body in bodies} == {"tester"}
    assert key.text not in str(bodies)


def test_every_command_has_help() -> None:
    for command in ([], ["user"], ["project"], ["key"], ["grant"], ["signing-key"], ["token"], ["jwks"]):
        result = CliRunner().invoke(app, [*command, "--help"])
        assert result.exit_code == 0
        assert "Usage" in result.stdout
