"""`python -m issuer`: serve, bootstrap, new-key. Data goes to stdout, messages to stderr."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from lading.errors import LadingError, UsageError
from lading.settings import Settings

DEFAULT_PORT = 8788


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "serve":
            from issuer.server import serve  # the other commands need neither FastAPI nor boto3

            serve(Settings.from_env(), options.host, options.port, options.trust_proxy)
        elif options.command == "bootstrap":
            _bootstrap(Settings.from_env())
        else:
            _new_key()
    except LadingError as error:
        print(f"issuer: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _bootstrap(settings: Settings) -> None:
    from issuer import apikeys
    from issuer.admin import Admin

    text = os.environ.get("LADING_BOOTSTRAP_API_KEY")
    key = apikeys.parse(text) if text else None
    if text and key is None:
        raise UsageError("LADING_BOOTSTRAP_API_KEY is no API key", "make one with 'python -m issuer new-key'")
    with Admin(settings, actor="bootstrap") as admin:
        jwks = admin.bootstrap(key)
    print(json.dumps(jwks, separators=(",", ":")))


def _new_key() -> None:
    from issuer import apikeys

    print(apikeys.generate().text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m issuer", description="The token issuer of Lading.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="serve tokens over HTTP until SIGTERM or Ctrl-C")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    serve.add_argument("--port", type=int, default=DEFAULT_PORT, help="port to listen on (default: %(default)s)")
    serve.add_argument(
        "--trust-proxy",
        metavar="LIST",
        help="addresses of proxies whose X-Forwarded-For is believed, comma-separated (default: none)",
    )
    commands.add_parser(
        "bootstrap",
        help="bring the database up to date, make a signing key if there is none, print the public keys (JWK Set); "
        "with LADING_BOOTSTRAP_API_KEY, user 'local' gets that key and may read every dataset",
    )
    commands.add_parser("new-key", help="print a new API key, for LADING_BOOTSTRAP_API_KEY")
    return parser


if __name__ == "__main__":
    sys.exit(main())
