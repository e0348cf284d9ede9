"""Configuration of the local stack: secrets, ports, and the Worker's generated configuration."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lading.client.state import write_atomically
from lading.errors import UsageError
from lading.settings import Settings
from lading.signing import generate_key
from lading.stack.ports import HOST, check_port, free_port

GATEWAY_PORT = 8787
ISSUER_PORT = 8788

S3_PATH = "/cdn-cgi/local/r2/s3"
"""Where `wrangler dev` serves its local buckets by the S3 API."""

EVENT_BATCH_TIMEOUT_S = 1
"""The local queue hands events on after this long, so that a demo need not wait."""


@dataclass(frozen=True, slots=True)
class StackConfig:
    """What one local stack is made of."""

    home: Path
    gateway_port: int
    issuer_port: int
    secrets: dict[str, str]

    @property
    def gateway_url(self) -> str:
        """Base URL of the gateway."""
        return f"http://{HOST}:{self.gateway_port}"

    @property
    def issuer_url(self) -> str:
        """Base URL of the issuer."""
        return f"http://{HOST}:{self.issuer_port}"

    @property
    def publisher_key(self) -> Path:
        """The key that signs manifests."""
        return self.home / "publisher.pem"

    def environment(self) -> dict[str, str]:
        """The settings of this stack, under the names that configure production too."""
        return {
            "LADING_HOME": str(self.home),
            "LADING_GATEWAY_URL": self.gateway_url,
            "LADING_ISSUER_URL": self.issuer_url,
            "LADING_API_KEY": self.secrets["api_key"],
            "LADING_S3_ENDPOINT": self.gateway_url + S3_PATH,
            "LADING_S3_BUCKET": "lading",
            "LADING_LOGS_BUCKET": "lading-logs",
            "LADING_PUBLISHER_KEY": str(self.publisher_key),
            "LADING_TRUST_STORE": str(self.home / "trust.json"),
            "AWS_ACCESS_KEY_ID": self.secrets["s3_access_key_id"],
            "AWS_SECRET_ACCESS_KEY": self.secrets["s3_secret_access_key"],
        }

    def issuer_environment(self) -> dict[str, str]:
        """What the issuer and its operator need beyond that: its database, its secret, the key of the local user."""
        return {
            **self.environment(),
            "LADING_DATABASE_URL": f"sqlite:///{self.home / 'issuer.db'}",
            "LADING_ISSUER_SECRET": self.secrets["issuer_secret"],
            "LADING_BOOTSTRAP_API_KEY": self.secrets["api_key"],
            "LADING_REVOKERS": "local",
        }


def prepare(settings: Settings, gateway_port: int, issuer_port: int) -> StackConfig:
    """Make the state folder and its secrets on first use, and choose ports (0: any free one).

    Raises UsageError for a port that is taken.
    """
    home = settings.home
    if gateway_port and gateway_port == issuer_port:
        raise UsageError(f"both ports are {gateway_port}", "give two different ones")
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    for port, what in ((gateway_port, "gateway"), (issuer_port, "issuer")):
        check_port(port, what, f"--{what}-port")
    config = StackConfig(home, gateway_port or free_port(), issuer_port or free_port(), _secrets(home / "secrets.json"))
    if not config.publisher_key.exists():
        generate_key(config.publisher_key)
    return config


def remember(config: StackConfig) -> None:
    """Note the ports for `lading env`."""
    ports = {"gateway_port": config.gateway_port, "issuer_port": config.issuer_port}
    write_atomically(config.home / "stack.json", json.dumps(ports).encode() + b"\n")


def forget(config: StackConfig) -> None:
    """The stack has ended: `lading env` has nothing to print."""
    (config.home / "stack.json").unlink(missing_ok=True)


def recall(settings: Settings) -> StackConfig:
    """The stack that runs in this home, or was killed there. Raises UsageError if there is none."""
    try:
        ports = json.loads((settings.home / "stack.json").read_bytes())
        known = json.loads((settings.home / "secrets.json").read_bytes())
    except FileNotFoundError:
        raise UsageError(f"there is no local stack in {settings.home}", "start one with 'lading up'") from None
    return StackConfig(settings.home, ports["gateway_port"], ports["issuer_port"], known)


def worker_config(config: StackConfig, worker: Path, keyring: str) -> dict[str, Any]:
    """The Worker's configuration for `wrangler dev`: the committed one with local ports, keys and credentials."""
    document: dict[str, Any] = read_jsonc(worker / "wrangler.jsonc")
    document.pop("$schema", None)
    document["main"] = str(worker / document["main"])
    credentials = {
        "accessKeyId": config.secrets["s3_access_key_id"],
        "secretAccessKey": config.secrets["s3_secret_access_key"],
    }
    for bucket in document["r2_buckets"]:
        bucket["local_dev"] = {"experimental_s3_credentials": credentials}
    for consumer in document["queues"]["consumers"]:
        consumer["max_batch_timeout"] = EVENT_BATCH_TIMEOUT_S
    document["vars"] = {**document["vars"], "TOKEN_KEYRING": keyring}
    return document


def read_jsonc(path: Path) -> Any:
    """JSON with comments on lines of their own, which is all that our file has."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return json.loads("\n".join(line for line in lines if not line.lstrip().startswith("//")))


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whatever the umask is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    partial.replace(path)


def _secrets(path: Path) -> dict[str, str]:
    """Read the stack's secrets, made on first use. New kinds of secret are added to an old file."""
    known: dict[str, str] = json.loads(path.read_bytes()) if path.exists() else {}
    makers: dict[str, Callable[[], str]] = {
        "api_key": _new_api_key,
        "issuer_secret": lambda: secrets.token_urlsafe(32),
        "s3_access_key_id": lambda: secrets.token_hex(16),
        "s3_secret_access_key": lambda: secrets.token_hex(32),
    }
    missing = {name: make() for name, make in makers.items() if name not in known}
    if missing:
        known |= missing
        write_private(path, json.dumps(known, indent=2) + "\n")
    return known


def _new_api_key() -> str:
    """A key in the issuer's own format; it runs as a program, because nothing here may import the issuer."""
    made = subprocess.run([sys.executable, "-m", "issuer", "new-key"], capture_output=True, text=True, check=True)
    return made.stdout.strip()
