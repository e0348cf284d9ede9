"""The one settings object. Every part reads its configuration here and nowhere else.

Settings come from environment variables; the local stack prints its own with `lading env`. Where they name no API key,
the one that `lading login` kept is taken. Credentials of the object store are not here: boto3 reads AWS_ACCESS_KEY_ID
and AWS_SECRET_ACCESS_KEY itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lading.credentials import config_folder, load
from lading.errors import UsageError


@dataclass(frozen=True, slots=True)
class Settings:
    """Configuration of one process. `repr` hides secrets.

    home            state of the local stack, caches, work files (LADING_HOME)
    gateway_url     base URL of the gateway, no trailing slash (LADING_GATEWAY_URL)
    issuer_url      base URL of the token issuer, no trailing slash (LADING_ISSUER_URL)
    api_key         the user's API key for the issuer (LADING_API_KEY)
    s3_endpoint     endpoint of the S3-compatible store; None means AWS itself (LADING_S3_ENDPOINT)
    s3_region       region name, 'auto' for R2 (LADING_S3_REGION)
    s3_bucket       bucket of the datasets (LADING_S3_BUCKET)
    logs_bucket     bucket of the gateway's and the issuer's logs (LADING_LOGS_BUCKET)
    publisher_key   file with the Ed25519 key that signs manifests, PEM PKCS #8 (LADING_PUBLISHER_KEY)
    credentials     file that `lading login` writes (LADING_CREDENTIALS)
    trust_store     file with the publisher keys that this user trusts (LADING_TRUST_STORE)
    database_url    SQLAlchemy URL of the issuer's database (LADING_DATABASE_URL)
    issuer_secret   seals signing keys and keys the hashes of API keys (LADING_ISSUER_SECRET)
    token_issuer    `iss` of tokens (LADING_TOKEN_ISSUER)
    token_audience  `aud` of tokens (LADING_TOKEN_AUDIENCE)
    token_ttl       default lifetime of tokens, seconds (LADING_TOKEN_TTL)
    token_min_ttl   shortest lifetime that a caller may ask for, seconds (LADING_TOKEN_MIN_TTL)
    token_max_ttl   longest lifetime that a caller may ask for, seconds (LADING_TOKEN_MAX_TTL)
    revokers        users who may revoke any token by the issuer, names with commas between (LADING_REVOKERS)
    """

    home: Path
    gateway_url: str | None = None
    issuer_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    s3_endpoint: str | None = None
    s3_region: str = "auto"
    s3_bucket: str = "lading"
    logs_bucket: str = "lading-logs"
    publisher_key: Path | None = None
    credentials: Path = Path("~/.config/lading/credentials.json")
    trust_store: Path = Path("~/.config/lading/trust.json")
    database_url: str = field(default="", repr=False)
    issuer_secret: str | None = field(default=None, repr=False)
    token_issuer: str = "lading"  # noqa: S105 - a name, not a secret
    token_audience: str = "lading-gateway"  # noqa: S105
    token_ttl: int = 300
    token_min_ttl: int = 30
    token_max_ttl: int = 3600
    revokers: tuple[str, ...] = ()

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None, *, kept: bool = True) -> Settings:
        """Read the settings from `env`, by default the process environment. Where that is it, or names a file of
        credentials, what is `kept` there fills in what is missing.

        Raises UsageError if a number is not one, a URL has no scheme, or the file cannot be used.
        """
        kept = kept and (env is None or bool(env.get("LADING_CREDENTIALS")))
        env = os.environ if env is None else env
        folder = config_folder(env)
        credentials = Path(env.get("LADING_CREDENTIALS") or folder / "credentials.json").expanduser()
        issuer_url, gateway_url = _url(env, "LADING_ISSUER_URL"), _url(env, "LADING_GATEWAY_URL")
        api_key = env.get("LADING_API_KEY") or None
        if kept and not (issuer_url and api_key):
            found = load(credentials)
            # A key that is kept for one issuer is not sent to another, and a gateway goes with its issuer.
            if found and issuer_url in (None, found.issuer_url):
                issuer_url, api_key = found.issuer_url, api_key or found.api_key
                gateway_url = gateway_url or found.gateway_url
        home = Path(env.get("LADING_HOME") or ".lading").expanduser().absolute()
        publisher_key = env.get("LADING_PUBLISHER_KEY")
        return cls(
            home=home,
            gateway_url=gateway_url,
            issuer_url=issuer_url,
            api_key=api_key,
            s3_endpoint=_url(env, "LADING_S3_ENDPOINT"),
            s3_region=env.get("LADING_S3_REGION") or "auto",
            s3_bucket=env.get("LADING_S3_BUCKET") or "lading",
            logs_bucket=env.get("LADING_LOGS_BUCKET") or "lading-logs",
            publisher_key=Path(publisher_key).expanduser() if publisher_key else None,
            credentials=credentials,
            trust_store=Path(env.get("LADING_TRUST_STORE") or folder / "trust.json").expanduser(),
            database_url=env.get("LADING_DATABASE_URL") or f"sqlite:///{home / 'issuer.db'}",
            issuer_secret=env.get("LADING_ISSUER_SECRET") or None,
            token_issuer=env.get("LADING_TOKEN_ISSUER") or "lading",
            token_audience=env.get("LADING_TOKEN_AUDIENCE") or "lading-gateway",
            token_ttl=_seconds(env, "LADING_TOKEN_TTL", 300),
            token_min_ttl=_seconds(env, "LADING_TOKEN_MIN_TTL", 30),
            token_max_ttl=_seconds(env, "LADING_TOKEN_MAX_TTL", 3600),
            revokers=tuple(name.strip() for name in env.get("LADING_REVOKERS", "").split(",") if name.strip()),
        )

    def require(self, name: str) -> str:
        """Return the setting `name`, or raise UsageError that says which variable to set."""
        value = getattr(self, name)
        if not value:
            raise UsageError(
                f"LADING_{name.upper()} is not set",
                "run 'lading login' or set it; or start the local stack with 'lading up' and load its settings with "
                "'eval \"$(lading env --export)\"'",
            )
        return str(value)


def _url(env: Mapping[str, str], name: str) -> str | None:
    return checked_url(name, env.get(name))


def checked_url(name: str, value: str | None) -> str | None:
    """A base URL without a slash at the end; None for none. Raises UsageError that calls it `name`."""
    if not value:
        return None
    if not value.startswith(("http://", "https://")):
        raise UsageError(f"{name} is {value!r}", "give a URL that begins with http:// or https://")
    return value.rstrip("/")


def _seconds(env: Mapping[str, str], name: str, default: int) -> int:
    value = env.get(name)
    if not value:
        return default
    if not value.isascii() or not value.isdigit() or int(value) == 0:
        raise UsageError(f"{name} is {value!r}", "give a whole number of seconds")
    return int(value)
