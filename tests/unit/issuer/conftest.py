"""Fixtures of the issuer's tests: a migrated SQLite database, and the real app on a real socket."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from issuer.admin import Admin
from issuer.app import create_app
from issuer.database import Database
from lading.settings import Settings

SECRET = "a secret for tests, 32 characters or more"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    # Nothing listens on the discard port: requests that need the object store fail at once.
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "none")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "none")
    return Settings.from_env(
        {
            "LADING_HOME": str(tmp_path),
            "LADING_ISSUER_SECRET": SECRET,
            "LADING_GATEWAY_URL": "https://gateway.example",
            "LADING_S3_ENDPOINT": "http://127.0.0.1:9",
        }
    )


@pytest.fixture
def admin(settings: Settings) -> Iterator[Admin]:
    """An operator on a database that is bootstrapped, without any user."""
    with Admin(settings, actor="tester") as admin:
        admin.bootstrap(None)
        yield admin


@pytest.fixture
def database(settings: Settings, admin: Admin) -> Iterator[Database]:
    database = Database(settings.database_url)
    yield database
    database.close()


@pytest.fixture
def issuer_url(settings: Settings, admin: Admin) -> Iterator[str]:
    """The issuer under uvicorn on a free port of the loopback interface."""
    server = uvicorn.Server(uvicorn.Config(create_app(settings), port=0, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started:
        assert thread.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(20)
