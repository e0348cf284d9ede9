"""`lading admin …`: the operator's commands on the issuer's database.

They need LADING_DATABASE_URL, and LADING_ISSUER_SECRET where a secret is made or used. Data goes to stdout, messages
to stderr; errors are LadingError, for the caller of `app` to print.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from issuer.admin import Admin
from issuer.models import DEFAULT_PROJECT
from issuer.signingkeys import ROTATION_DELAY, KeyView
from lading.settings import Settings

if TYPE_CHECKING:
    from issuer.admin import ApiKeyView, GrantRow, ProjectView, UserView
    from issuer.revocations import RevocationView

    View = ApiKeyView | GrantRow | KeyView | ProjectView | RevocationView | UserView

app = typer.Typer(
    name="admin",
    help="Manage users, keys, grants, signing keys and revocations of the issuer.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
_user = typer.Typer(help="People and services that may ask for tokens.", no_args_is_help=True, rich_markup_mode=None)
_project = typer.Typer(help="Projects that pay for downloads.", no_args_is_help=True, rich_markup_mode=None)
_key = typer.Typer(help="API keys, by which users sign in.", no_args_is_help=True, rich_markup_mode=None)
_grant = typer.Typer(help="Who may read which dataset, on whose account.", no_args_is_help=True, rich_markup_mode=None)
_signing = typer.Typer(help="Keys that sign tokens.", no_args_is_help=True, rich_markup_mode=None)
_revocation = typer.Typer(help="Tokens that must not hold any longer.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(_user, name="user")
app.add_typer(_project, name="project")
app.add_typer(_key, name="key")
app.add_typer(_grant, name="grant")
app.add_typer(_signing, name="signing-key")
app.add_typer(_revocation, name="revocation")

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Days = Annotated[float | None, typer.Option(min=0.001, help="Days until it ends; without it, it does not end.")]
Dataset = Annotated[str, typer.Argument(help="A dataset, or '*' for every one.")]


DeniedKind = Annotated[str, typer.Argument(metavar="jti|sub|kid", help="A token's id, a user, or a signing key.")]
KNOWN = {"jti": "token that may still hold", "sub": "user", "kid": "signing key"}
DeniedValue = Annotated[str, typer.Argument(help="Its name, as the log shows it.")]


@_revocation.command("add")
def revocation_add(kind: DeniedKind, value: DeniedValue) -> None:
    """Revoke tokens. The running issuer tells the gateway, which refuses them within 10 seconds."""
    with _admin() as admin:
        known = admin.revoke(kind, value)
    if not known:
        _say(f"warning: no {KNOWN[kind]} is called {value}; if it is misspelt, remove it and add the right one")
    _say(f"revoked {kind} {value}; 'lading admin revocation list' shows when the gateway knows")


@_revocation.command("remove")
def revocation_remove(kind: DeniedKind, value: DeniedValue) -> None:
    """Take a revocation back."""
    with _admin() as admin:
        admin.lift_revocation(kind, value)
    _say(f"{kind} {value} is allowed again")


@_revocation.command("list")
def revocation_list(as_json: Json = False) -> None:
    """List revocations, the last change first."""
    with _admin() as admin:
        _show(admin.revocations(), as_json)


@_user.command("add")
def user_add(name: Annotated[str, typer.Argument(help="Becomes the token's 'sub'.")]) -> None:
    """Add a user."""
    with _admin() as admin:
        admin.add_user(name)
    _say(f"added user {name}; next: lading admin key create {name}")


@_user.command("list")
def user_list(as_json: Json = False) -> None:
    """List users."""
    with _admin() as admin:
        _show(admin.users(), as_json)


@_project.command("add")
def project_add(name: Annotated[str, typer.Argument(help="Becomes the token's 'prj'.")]) -> None:
    """Add a project."""
    with _admin() as admin:
        admin.add_project(name)
    _say(f"added project {name}")


@_project.command("list")
def project_list(as_json: Json = False) -> None:
    """List projects."""
    with _admin() as admin:
        _show(admin.projects(), as_json)


@_key.command("create")
def key_create(
    user: str,
    label: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    days: Days = None,
) -> None:
    """Make an API key for a user and print it: it is shown this once and cannot be shown again."""
    with _admin() as admin:
        key = admin.create_key(user, label, _lifetime(days))
    typer.echo(key.text)
    _say(f"made API key {key.key_id} for {user}; it cannot be shown again")


@_key.command("list")
def key_list(user: Annotated[str | None, typer.Option(help="Only theirs.")] = None, as_json: Json = False) -> None:
    """List API keys by their public ids."""
    with _admin() as admin:
        _show(admin.api_keys(user), as_json)


@_key.command("revoke")
def key_revoke(key_id: Annotated[str, typer.Argument(help="The id, as 'key list' prints it.")]) -> None:
    """Revoke an API key. Tokens that it got live on until they expire."""
    with _admin() as admin:
        admin.revoke_key(key_id)
    _say(f"revoked API key {key_id}")


@_grant.command("add")
def grant_add(
    user: str,
    dataset: Dataset,
    project: Annotated[str, typer.Option(help="Project that pays.")] = DEFAULT_PROJECT,
    days: Days = None,
) -> None:
    """Let a user read a dataset; granting again sets a new end."""
    with _admin() as admin:
        grant = admin.add_grant(user, dataset, project, _lifetime(days))
    _say(f"{user} may read {dataset} for project {project} until {_cell(grant.expires_at) or 'the grant is removed'}")


@_grant.command("list")
def grant_list(
    user: Annotated[str | None, typer.Option(help="Only this user's.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only for this dataset.")] = None,
    as_json: Json = False,
) -> None:
    """List grants."""
    with _admin() as admin:
        _show(admin.grants(user, dataset), as_json)


@_grant.command("remove")
def grant_remove(
    user: str,
    dataset: Dataset,
    project: Annotated[str | None, typer.Option(help="Only the grant for this project.")] = None,
) -> None:
    """Take a user's grants on a dataset away. Tokens that they got live on until they expire."""
    with _admin() as admin:
        count = admin.remove_grant(user, dataset, project)
    _say(f"removed {count} grant{'s' if count > 1 else ''} of {user} on {dataset}")


@_signing.command("list")
def signing_key_list(as_json: Json = False) -> None:
    """List signing keys: pending, signing, verifying (published, no longer signing) and retired."""
    with _admin() as admin:
        _show(admin.signing_keys(), as_json)


@_signing.command("rotate")
def signing_key_rotate(
    delay: Annotated[
        int, typer.Option(min=0, help="Seconds from publishing the key to signing with it, for gateways to fetch it.")
    ] = ROTATION_DELAY,
) -> None:
    """Make a new signing key and print its id. The key before it stays valid until it is retired."""
    with _admin() as admin:
        key = admin.rotate_signing_key(delay)
    typer.echo(key.kid)
    _say(f"signs from {_cell(key.activates_at)}; see that gateways know it by then, and retire the old key later")


@_signing.command("retire")
def signing_key_retire(
    kid: str,
    force: Annotated[bool, typer.Option("--force", help="Even if tokens signed with it are still valid.")] = False,
) -> None:
    """Withdraw a signing key: gateways refuse its tokens as soon as they renew their keys."""
    with _admin() as admin:
        admin.retire_signing_key(kid, force)
    _say(f"retired signing key {kid}")


@app.command("token")
def token(
    scp: Annotated[list[str], typer.Option(help="A key, or a prefix that ends in '/'; may be repeated.")],
    ttl: Annotated[int, typer.Option(help="Lifetime in seconds.")] = 300,
    sub: Annotated[str, typer.Option(help="User that the token names.")] = "operator",
    project: Annotated[str | None, typer.Option(help="Project that pays.")] = None,
    ip: Annotated[str | None, typer.Option(help="Address or CIDR that the token is bound to.")] = None,
    max_bytes: Annotated[int | None, typer.Option(min=1, help="Bytes that it may fetch in all.")] = None,
) -> None:
    """Mint a token directly, for an operator's own tests, whatever the grants, and print it."""
    with _admin() as admin:
        typer.echo(admin.mint_token(scp, ttl, sub, project, ip, max_bytes))


@app.command("jwks")
def jwks() -> None:
    """Print the public keys as a JWK Set (RFC 7517), on one line."""
    with _admin() as admin:
        typer.echo(json.dumps(admin.jwks(), separators=(",", ":")))


def _admin() -> Admin:
    return Admin(Settings.from_env())


def _lifetime(days: float | None) -> timedelta | None:
    return None if days is None else timedelta(days=days)


def _say(message: str) -> None:
    typer.echo(message, err=True)


def _show(rows: Sequence[View], as_json: bool) -> None:
    if as_json:
        documents = [{name: _plain(value) for name, value in asdict(row).items()} for row in rows]
        typer.echo(json.dumps(documents, indent=2, ensure_ascii=False))
        return
    if not rows:
        _say("none")
        return
    # Plain columns: ids are for copying into the next command, so nothing may be cut or wrapped.
    names = [field.name for field in fields(rows[0])]
    lines = [
        [name.replace("_", " ") for name in names],
        *([_cell(getattr(row, name)) for name in names] for row in rows),
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(names))]
    for line in lines:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _plain(value: Any) -> Any:
    return _cell(value) if isinstance(value, datetime) else value


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:%Y-%m-%dT%H:%M:%SZ}" if isinstance(value, datetime) else str(value)
