"""The gateway on plain workerd and nothing around it: for measurements and tests of the process itself."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lading.signing import public_jwk
from lading.stack.ports import free_port
from lading.stack.selfhost import workerd_command
from lading.tokens import mint

TOKEN_S = 3600


@dataclass(frozen=True, slots=True)
class PlainGateway:
    """How to start one: its command and environment, its port, a token for what it serves, its folder of slices."""

    command: list[str]
    environment: dict[str, str]
    port: int
    token: str
    slices: Path


def plain_gateway(home: Path, store: str, prefix: str, **settings: str) -> PlainGateway:
    """A gateway with its state below `home`, in front of `bucket` at the S3 endpoint `store`.

    The token is for keys that begin with `prefix`; `settings` are the Worker's own.
    """
    state, slices = home / "state", home / "slices"
    for folder in (state, slices):
        folder.mkdir(parents=True)
    key = Ed25519PrivateKey.generate()
    token, _ = mint(
        key,
        kid="k",
        issuer="lading",
        audience="lading-gateway",
        subject="tester",
        scope=[prefix],
        issued_at=int(time.time()),
        ttl=TOKEN_S,
    )
    port = free_port()
    environment = {
        **os.environ,
        "TOKEN_KEYRING": json.dumps({"keys": [{**public_jwk(key.public_key()), "kid": "k", "alg": "EdDSA"}]}),
        "S3_ENDPOINT": store,
        "S3_BUCKET": "bucket",
        "S3_ACCESS_KEY_ID": "any",
        "S3_SECRET_ACCESS_KEY": "any",
        "CLIENT_IP_SOURCE": "socket",
        **settings,
    }
    return PlainGateway(workerd_command(f"127.0.0.1:{port}", state, slices), environment, port, token, slices)
