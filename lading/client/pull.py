"""Pull: bring a folder to the state of a release.

This is the front of it: it asks for access and the manifest, and meanwhile imports the rest, which takes as long. What
is done then is in lading/client/steps.py.
"""

from __future__ import annotations

import errno
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import requests

from lading.client.access import Access
from lading.client.opening import Opened, fetch_signed
from lading.client.pace import RateLimit
from lading.client.progress import Counter, Progress, Silent
from lading.client.selection import EVERYTHING, Selection
from lading.client.transfer import Transfer
from lading.errors import LadingError, UsageError
from lading.http import session as http_session
from lading.names import parse_reference
from lading.parallel import Ahead
from lading.settings import Settings

JOBS = 8
"""Parallel requests by default: the gateway takes sixteen of one client as normal."""


@dataclass(frozen=True, slots=True)
class PullResult:
    """What a pull did. Bytes are raw but `fetched_bytes`, which came over the wire, indexes included.

    already_bytes   of files that were right before
    resumed_bytes   of chunks that an interrupted pull had left in half-made files
    copied_bytes    of chunks that came from other files of the folder
    """

    dataset: str
    version: str
    files: int
    bytes: int
    made_files: int
    already_bytes: int
    resumed_bytes: int
    copied_bytes: int
    fetched_bytes: int
    removed_files: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The result as plain values."""
        return asdict(self)


def pull(
    reference: str,
    dest: Path,
    settings: Settings | None = None,
    *,
    selection: Selection = EVERYTHING,
    jobs: int = JOBS,
    rate_limit: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> PullResult:
    """Bring `dest` to the state of `DATASET[@VERSION]`. Returns when every byte is verified.

    At most `jobs` requests run at once, and at most `rate_limit` bytes per second come over the wire.
    With a `selection`, only those files are brought to that state; the others stay as they are, and nothing is removed.
    A file of `dest` that Lading did not write and that differs from the release's is a ConflictError before anything is
    changed; with `overwrite` it is replaced.
    Raises a LadingError that says what to do; what was fetched is kept for the next pull in any case.
    """
    if jobs < 1:
        raise UsageError(f"--jobs is {jobs}", "give 1 or more")
    dataset, version = parse_reference(reference)
    settings = settings or Settings.from_env()
    progress = progress or Silent()
    started = time.monotonic()
    stop = threading.Event()
    fetched = Counter(progress.fetched)
    session = http_session(jobs + 1)

    def ask() -> Opened:
        access = Access(session, settings, dataset, version, note=progress.note)
        limit = RateLimit(rate_limit) if rate_limit else None
        transfer = Transfer(session, access, fetched.add, stop, jobs=jobs, rate_limit=limit)
        return Opened(access, transfer, fetch_signed(access, transfer))

    try:
        asked = Ahead(ask)
        from lading.client.steps import Options, bring

        # What was asked for comes first: a wrong key or name must not leave a folder behind.
        options = Options(selection, jobs, overwrite, settings.trust_store)
        work, release, removed = bring(dest.absolute(), asked.result(), options, progress, stop, session.abort)
    except OSError as error:
        raise _disk_error(error, dest) from error
    finally:
        stop.set()
        session.abort()
        session.close()
    return PullResult(
        dataset=dataset,
        version=release.manifest.version,
        files=work.files,
        bytes=work.bytes,
        made_files=work.todo_files,
        already_bytes=work.bytes - work.todo_bytes,
        resumed_bytes=work.done_bytes,
        copied_bytes=work.local_bytes,
        fetched_bytes=fetched.total,
        removed_files=removed,
        seconds=time.monotonic() - started,
    )


def _disk_error(error: OSError, dest: Path) -> LadingError:
    """What an operating system error during a pull means for the user."""
    if isinstance(error, requests.RequestException):
        return LadingError(f"the pull failed: {error}", "try again; what was fetched is kept")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return LadingError(
            f"no space left for {error.filename or dest}", "free some space and pull again; what was fetched is kept"
        )
    return LadingError(
        f"{error.filename or dest}: {error.strerror}", "mend it and pull again; what was fetched is kept"
    )
