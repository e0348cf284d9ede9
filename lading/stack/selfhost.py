"""Run the gateway on plain workerd, without Cloudflare and without wrangler's development server.

Its request events go from its output to gzipped NDJSON objects in the log bucket. A batch is a file in the spool first
and an object afterwards: a store that cannot be reached for a while costs disk, not events. Names are those that the
Worker's queue consumer gives, so that analytics loads both alike.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock

from lading.client.state import write_atomically
from lading.errors import LadingError, UsageError
from lading.stack.lock import take
from lading.stack.part import POLL_S, Part
from lading.stack.ports import check_port

WORKER = Path(__file__).resolve().parents[2] / "gateway_worker"
CONFIG = WORKER / "selfhost" / "config.capnp"
BUNDLE = WORKER / "dist" / "selfhost" / "index.js"

READY_TIMEOUT_S = 20.0
EVENTS_EVERY_S = 5.0
TRIM_EVERY_S = 30.0

EVENT_PREFIX = '{"v":1,"type":"request"'
"""How a line of an event begins; other lines are messages for the operator."""

SUFFIX = ".ndjson.gz"

PASSED_SETTINGS = (
    "TOKEN_ISSUER",
    "TOKEN_AUDIENCE",
    "TOKEN_MAX_LIFETIME_S",
    "LIMIT_USER_REQUESTS_PER_MINUTE",
    "LIMIT_TOKEN_REQUESTS_PER_MINUTE",
    "LIMIT_USER_BYTES_PER_DAY",
    "FILE_DECODE_MAX_BYTES",
    "LIMITER_FAIL",
    "LOG_IP",
    "LOG_IP_HASH_KEY",
    "ORIGIN_ANSWER_TIMEOUT_S",
    "ORIGIN_STALL_TIMEOUT_S",
    "SLICE_CACHE",
)
"""The Worker's settings that are taken from the environment as they are (gateway_worker/README.md)."""


@dataclass(frozen=True, slots=True)
class SelfHostConfig:
    """What a self-hosted gateway needs.

    home            folder for state, slices, spooled events and the log
    host, port      address to listen on
    s3              S3_ENDPOINT, S3_BUCKET, S3_REGION, S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY
    keyring         JWK Set with the issuer's public keys, as JSON
    client_ip       'socket', or 'x-real-ip' behind a proxy that sets it
    cache_bytes     size that the slices are kept below
    """

    home: Path
    host: str
    port: int
    s3: Mapping[str, str]
    keyring: str
    client_ip: str
    cache_bytes: int

    @property
    def url(self) -> str:
        """Base URL of the gateway."""
        return f"http://{self.host}:{self.port}"

    @property
    def slices(self) -> Path:
        """Folder of the cached slices: any file may be deleted at any time."""
        return self.home / "slices"


def build() -> None:
    """Make the Worker's script unless it is newer than all sources. Raises UsageError where the tools are missing."""
    npm_modules = WORKER / "node_modules"
    if not npm_modules.exists():
        raise UsageError(
            f"the Worker's tools are not installed in {WORKER}", "run 'make setup' in a checkout of Lading"
        )
    newest = max(path.stat().st_mtime for path in (WORKER / "src").rglob("*.ts"))
    if BUNDLE.exists() and BUNDLE.stat().st_mtime > newest:
        return
    done = subprocess.run(
        ["npm", "run", "--silent", "build:selfhost"],
        cwd=WORKER,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LadingError(
            f"the gateway cannot be built:\n{done.stdout}{done.stderr}", f"run 'npm run build:selfhost' in {WORKER}"
        )


def workerd_command(address: str, state: Path, slices: Path) -> list[str]:
    """The command that serves the gateway on `address` (host:port) with two folders that are there."""
    return [
        *(str(WORKER / "node_modules" / ".bin" / "workerd"), "serve", str(CONFIG)),
        *("--socket-addr", f"http={address}"),
        *("--directory-path", f"state={state}", "--directory-path", f"slices={slices}"),
    ]


class SelfHostedGateway:
    """The running gateway; used as a context manager. It ends with this process, however that ends."""

    def __init__(
        self, config: SelfHostConfig, spool: EventSpool, note: Callable[[str], None] = lambda message: None
    ) -> None:
        self._config = config
        self._spool = spool
        self._note = note
        self._part: Part | None = None
        self._lock = FileLock(config.home / "lock")

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
        """Start workerd and return when it answers.

        Raises UsageError for a port that is taken, ConflictError if a gateway uses the folder already, and LadingError
        with workerd's message if it does not answer.
        """
        config = self._config
        config.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        take(self._lock, "a gateway")
        check_port(config.port, "gateway", "--port", config.host)
        state = config.home / "state"
        for folder in (state, config.slices):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        command = workerd_command(f"{config.host}:{config.port}", state, config.slices)
        self._part = Part(
            "gateway", command, self._environment(), config.home, config.home / "gateway.log", on_line=self._take_line
        )
        self._part.wait_ready(f"{config.url}/healthz", READY_TIMEOUT_S)
        self._note(f"the gateway is ready at {config.url}")

    def watch(self) -> None:
        """Store events and keep the cache small until the gateway ends. Raises LadingError when it does."""
        assert self._part is not None
        next_events = next_trim = time.monotonic()
        while True:
            self._part.check()
            now = time.monotonic()
            if now >= next_events:
                self._flush()
                next_events = now + EVENTS_EVERY_S
            if now >= next_trim:
                trim(self._config.slices, self._config.cache_bytes)
                next_trim = now + TRIM_EVERY_S
            time.sleep(POLL_S)

    def stop(self) -> None:
        """End workerd and store the last events."""
        if self._part is not None:
            self._part.stop()
            self._part.wait()
            self._part = None
            self._flush()
        self._lock.release()

    def _flush(self) -> None:
        try:
            self._spool.flush()
        except LadingError as error:
            self._note(f"events wait in {self._config.home / 'events'}: {error}")

    def _environment(self) -> dict[str, str]:
        config = self._config
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        passed = {name: os.environ[name] for name in PASSED_SETTINGS if os.environ.get(name)}
        worker = {**config.s3, **passed, "TOKEN_KEYRING": config.keyring, "CLIENT_IP_SOURCE": config.client_ip}
        return {**os.environ, "PATH": path, **worker}

    def _take_line(self, line: str) -> None:
        if line.startswith(EVENT_PREFIX):
            self._spool.add(line)
        else:
            self._note(line)


def trim(folder: Path, max_bytes: int) -> int:
    """Delete the oldest files below `folder` until the rest has at most `max_bytes`; returns the bytes deleted."""
    files = []
    for path in folder.rglob("*"):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        if path.is_file():
            files.append((status.st_mtime, status.st_size, path))
    excess = sum(size for _, size, _ in files) - max_bytes
    deleted = 0
    for _, size, path in sorted(files):
        if deleted >= excess:
            break
        path.unlink(missing_ok=True)
        deleted += size
    return deleted


class EventSpool:
    """Collects event lines, and hands them on in batches."""

    def __init__(self, folder: Path, put: Callable[[str, bytes], None] | None) -> None:
        """`folder` holds batches until `put(key, data)` has stored them; without `put` they stay there."""
        self._folder = folder
        self._put = put
        self._lines: list[str] = []
        self._lock = threading.Lock()

    def add(self, line: str) -> None:
        """Take one event, a line without its end."""
        with self._lock:
            self._lines.append(line)

    def flush(self) -> None:
        """Write what was collected to the spool, then store the spool. Raises what `put` raises: nothing is lost."""
        with self._lock:
            lines, self._lines = self._lines, []
        for key, data in batches(lines):
            path = self._folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, data)
        if self._put is None:
            return
        for path in sorted(self._folder.rglob(f"*{SUFFIX}")):
            self._put(path.relative_to(self._folder).as_posix(), path.read_bytes())
            path.unlink()


def batches(lines: Iterable[str]) -> list[tuple[str, bytes]]:
    """One object (key, bytes) for each hour that events fall into. The name is a digest of the content: storing it
    twice changes nothing."""
    by_hour: dict[str, list[str]] = defaultdict(list)
    for line in lines:
        by_hour[_partition(line)].append(line + "\n")
    made = []
    for partition, members in by_hour.items():
        text = "".join(members).encode()
        name = hashlib.sha256(text).hexdigest()[:32]
        made.append((f"logs/gateway/{partition}/{name}{SUFFIX}", gzip.compress(text, mtime=0)))
    return made


def _partition(line: str) -> str:
    try:
        time = datetime.fromisoformat(json.loads(line)["ts"]).astimezone(UTC)
    except (ValueError, KeyError, TypeError):
        time = datetime.now(UTC)
    return time.strftime("dt=%Y-%m-%d/hh=%H")
