"""Preflight: what can be refused before anything is started."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lading.errors import ConflictError, SourceError, UsageError
from lading.names import MANIFEST, check_dataset, check_version, release_key
from lading.objectstore import bucket
from lading.settings import Settings
from tasks.card import DatasetCard, read_card
from tasks.work import WorkDir


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
    settings: Settings, source: str, dataset: str, version: str, labels: str | None, card: str | None
) -> ReleaseRequest:
    """Check everything that needs no look at the data. Raises UsageError, SourceError or ConflictError.

    A version that exists is refused, unless an unfinished run of ours left it: that one is to be completed.
    """
    check_dataset(dataset)
    check_version(version)
    folder = check_source(Path(source))
    labels_file = Path(labels) if labels else None
    if labels_file and not labels_file.is_file():
        raise UsageError(f"there is no labels file {labels_file}", "check the path")
    request = ReleaseRequest(
        folder, dataset, version, _key_file(settings), labels_file, read_card(Path(card) if card else None)
    )
    unfinished = work_dir(settings, dataset, version).started() is not None
    if not unfinished and bucket(settings).head(release_key(dataset, version, MANIFEST)) is not None:
        raise ConflictError(
            f"release {version!r} of dataset {dataset!r} exists already",
            "give another --version: a release never changes",
        )
    return request


def check_source(source: Path) -> Path:
    """Return the absolute path of an existing folder, else raise SourceError."""
    if not source.exists():
        raise SourceError(f"there is no folder {source}", "check the path")
    if not source.is_dir():
        raise SourceError(f"{source} is not a folder", "give the folder that holds the files")
    return source.resolve()


def work_dir(settings: Settings, dataset: str, version: str) -> WorkDir:
    """Where the steps of a release keep what they hand to each other."""
    return WorkDir(settings.home / "work" / dataset / version)


def _key_file(settings: Settings) -> Path:
    if settings.publisher_key is None:
        raise UsageError("LADING_PUBLISHER_KEY is not set", "make a key with 'lading keygen FILE' and set it to FILE")
    if not settings.publisher_key.exists():
        raise UsageError(
            f"there is no publisher key at {settings.publisher_key}", "make one with 'lading keygen', or set the path"
        )
    return settings.publisher_key
