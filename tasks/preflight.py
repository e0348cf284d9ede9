"""Preflight: what can be refused before anything is started."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lading.errors import ConflictError, SourceError, UsageError
from lading.names import MANIFEST, check_dataset, check_version, release_key
from lading.objectstore import bucket
from lading.settings import Settings
from lading.signing import load_key
from tasks.announce import refuse_expired
from tasks.build_index import check_labels_file
from tasks.card import DatasetCard, read_card
from tasks.scan import rows_of
from tasks.work import WorkDir, refuse_running


@dataclass(frozen=True, slots=True)
class ReleaseRequest:
    """A checked request for a release: absolute source folder, signing key file, labels file and dataset card."""

    source: Path
    dataset: str
    version: str
    key_file: Path
    labels: Path | None
    card: DatasetCard


def check_release(
    settings: Settings,
    source: str,
    dataset: str,
    version: str,
    labels: str | None,
    card: str | None,
    *,
    smoke: bool = False,
) -> ReleaseRequest:
    """Check everything that needs no look at the data. Raises UsageError, SourceError or ConflictError.

    A version that exists is refused, unless an unfinished run of ours left it: that one is to be completed. `smoke`
    says that the release is to be tested, which takes access like any user's.
    """
    check_dataset(dataset)
    check_version(version)
    folder = check_source(Path(source))
    labels_file = Path(labels) if labels else None
    if labels_file:
        check_labels_file(labels_file)
    request = ReleaseRequest(
        folder, dataset, version, _key_file(settings), labels_file, read_card(Path(card) if card else None)
    )
    if smoke:
        settings.require("issuer_url")
        settings.require("api_key")
    work, store = work_dir(settings, dataset, version), bucket(settings)
    refuse_running(work)
    if work.started() is None and store.head(release_key(dataset, version, MANIFEST)) is not None:
        raise ConflictError(
            f"release {version!r} of dataset {dataset!r} exists already",
            "give another --version: a release never changes",
        )
    refuse_expired(store, dataset, version)
    return request


def check_source(source: Path) -> Path:
    """Return the absolute path of a folder with files, else raise SourceError."""
    if not source.exists():
        raise SourceError(f"there is no folder {source}", "check the path")
    if not source.is_dir():
        raise SourceError(f"{source} is not a folder", "give the folder that holds the files")
    folder = source.resolve()
    if not any(row["type"] == "file" for row in rows_of(folder)):
        raise SourceError(f"there are no files in {folder}", "check the path")
    return folder


def work_dir(settings: Settings, dataset: str, version: str) -> WorkDir:
    """Where the steps of a release keep what they hand to each other."""
    return WorkDir(settings.home / "work" / dataset / version)


def _key_file(settings: Settings) -> Path:
    if settings.publisher_key is None:
        raise UsageError("LADING_PUBLISHER_KEY is not set", "make a key with 'lading keygen FILE' and set it to FILE")
    load_key(settings.publisher_key)
    return settings.publisher_key
