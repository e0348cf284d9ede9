"""`lading gateway`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import requests
import typer

from lading.errors import UsageError
from lading.http import error_of
from lading.http import session as http_session
from lading.settings import Settings
from lading.stack.selfhost import EventSpool, SelfHostConfig, SelfHostedGateway, build

GIB = 1024**3
DEFAULT_PORT = 8789

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def command(
    selfhost: Annotated[bool, typer.Option("--selfhost", help="Run on plain workerd, on this machine.")] = False,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = DEFAULT_PORT,
    cache_gib: Annotated[float, typer.Option(min=0, help="GiB of slices that are kept on disk.")] = 10.0,
    keyring: Annotated[
        Path | None, typer.Option(help="JWK Set with the issuer's public keys; default: what LADING_ISSUER_URL serves.")
    ] = None,
    behind_proxy: Annotated[
        bool, typer.Option("--behind-proxy", help="Take the client's address from X-Real-IP, set by your proxy.")
    ] = False,
    ship_events: Annotated[
        bool, typer.Option(help="Store request events in LADING_LOGS_BUCKET; else they stay in files.")
    ] = True,
) -> None:
    """Run the gateway in front of the S3 store of the settings, until Ctrl-C.

    State, cached slices and events not yet stored are in LADING_HOME/selfhost. Limits and other settings of the Worker
    come from the environment under their own names (gateway_worker/README.md).
    """
    if not selfhost:
        raise UsageError("say how to run the gateway", "add --selfhost; on Cloudflare, 'wrangler deploy' runs it")
    signal.signal(signal.SIGTERM, _stop)
    settings = Settings.from_env()
    config = SelfHostConfig(
        home=settings.home / "selfhost",
        host=host,
        port=port,
        s3=_store(settings),
        keyring=keyring.read_text(encoding="utf-8") if keyring else _published_keyring(settings),
        client_ip="x-real-ip" if behind_proxy else "socket",
        cache_bytes=int(cache_gib * GIB),
    )
    build()
    spool = EventSpool(config.home / "events", _log_store(settings) if ship_events else None)
    try:
        with SelfHostedGateway(config, spool, note=_note) as gateway:
            gateway.watch()
    except KeyboardInterrupt:
        _note("stopped")


def _store(settings: Settings) -> dict[str, str]:
    try:
        credentials = {
            "S3_ACCESS_KEY_ID": os.environ["AWS_ACCESS_KEY_ID"],
            "S3_SECRET_ACCESS_KEY": os.environ["AWS_SECRET_ACCESS_KEY"],
        }
    except KeyError as error:
        raise UsageError(f"{error.args[0]} is not set", "set it to a key that may read the bucket") from None
    return {
        "S3_ENDPOINT": settings.require("s3_endpoint"),
        "S3_BUCKET": settings.s3_bucket,
        "S3_REGION": settings.s3_region,
        **credentials,
    }


def _published_keyring(settings: Settings) -> str:
    url = f"{settings.require('issuer_url')}/.well-known/jwks.json"
    try:
        with http_session() as session:
            answer = session.get(url, timeout=10)
    except requests.RequestException as error:
        raise UsageError(
            f"the issuer's keys cannot be fetched from {url}: {error}", "start it, or give --keyring"
        ) from error
    if answer.status_code != 200:
        raise error_of(answer, url)
    return answer.text


def _log_store(settings: Settings) -> Callable[[str, bytes], None]:
    # boto3 is part of an extra; without --ship-events nothing needs it.
    from lading.objectstore import Bucket, s3_client

    return Bucket(s3_client(settings), settings.logs_bucket).put


def _note(message: str) -> None:
    print(f"lading: {message}", file=sys.stderr, flush=True)


def _stop(*_: object) -> None:
    """SIGTERM ends the gateway as Ctrl-C does."""
    raise KeyboardInterrupt
