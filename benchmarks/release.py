"""Release against its peers: `python -m benchmarks.release [SRC_V1 SRC_V2]`.

Packs two versions of a folder, the second as a delta, side by side with `tar | zstd -3 -T2`, restic, borg, casync, and
for the second version `zstd --patch-from`. All runs are on this machine in this call, in turn, so that the ratios hold
although the machine's speed drifts. Peers are Debian packages (restic, borgbackup, casync, zstd); a missing one is left
out and said so.

Without arguments it takes two pairs: a text-heavy one (places and time zones) and a binary-heavy one (the shared
libraries and bytecode of two versions of DuckDB's package).

Lading's time is that of its steps from scan to index, in a process of its own, start of Python included. What Prefect
adds to start its server is shown as a line of its own.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.dataset import fetch_packages, prepare
from lading.settings import Settings

RUNS = 5
PASSWORD = {"RESTIC_PASSWORD": "benchmark", "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}
BINARY_PAIR = ("duckdb==1.5.5", "duckdb==1.5.6")


@dataclass
class Figures:
    """Medians over the runs: seconds and peak RSS (MiB) for each version, and bytes stored for each."""

    seconds: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    rss: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    stored: tuple[int, int] = (0, 0)


Peer = Callable[[Path, Path, int], list[str]]
"""Makes the command that stores version 0 or 1 of a source in a work folder."""


def lading(source: Path, work: Path, version: int) -> list[str]:
    return [sys.executable, "-m", "benchmarks.engine", str(source), str(work), str(version)]


def tar_zstd(source: Path, work: Path, version: int) -> list[str]:
    return ["sh", "-c", f"tar -C {source} -c . | zstd -q -3 -T2 -o {work}/{version}.tar.zst"]


def restic(source: Path, work: Path, version: int) -> list[str]:
    repository = work / "restic"
    if version == 0:
        subprocess.run(["restic", "init", "-q", "-r", str(repository)], env=_environment(), check=True)
    # The peers see both versions at one place, as a folder that changed: so their caches of unchanged files count.
    return ["restic", "backup", "-q", "--no-cache", "-r", str(repository), str(source)]


def borg(source: Path, work: Path, version: int) -> list[str]:
    repository = work / "borg"
    if version == 0:
        subprocess.run(["borg", "init", "-e", "none", str(repository)], env=_environment(), check=True)
    return ["borg", "create", "-C", "zstd,3", f"{repository}::v{version}", str(source)]


def casync(source: Path, work: Path, version: int) -> list[str]:
    return ["casync", "make", "--without=all", f"--store={work}/castr", f"{work}/{version}.caidx", str(source)]


PEERS: dict[str, tuple[str, Peer]] = {
    "lading": ("python3", lading),
    "tar | zstd -3 -T2": ("zstd", tar_zstd),
    "restic": ("restic", restic),
    "borg": ("borg", borg),
    "casync": ("casync", casync),
}


_WATCH = """
import os, sys, time, resource
started = time.perf_counter()
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
status = os.waitpid(child, 0)[1]
seconds = time.perf_counter() - started
print(seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def main() -> int:
    """Run the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sources", nargs="*", type=Path, metavar="SRC", help="two folders: version 1 and version 2")
    parser.add_argument("--runs", type=int, default=RUNS)
    options = parser.parse_args()
    if len(options.sources) not in (0, 2):
        parser.error("give two folders, or none")
    console = Console(width=130)
    pairs = {"given": tuple(options.sources)} if options.sources else _default_pairs()
    for name, (old, new) in pairs.items():
        _compare(console, name, old, new, options.runs)
    console.print(f"Prefect: its ephemeral server takes {_prefect_seconds():.1f} s to start, once per process.")
    return 0


def _default_pairs() -> dict[str, tuple[Path, Path]]:
    cache = Settings.from_env().home / "cache"
    text = [release.source for release in prepare(cache / "demo")]
    binary = [fetch_packages(cache / "binary", package) for package in BINARY_PAIR]
    return {"text-heavy": (text[0], text[1]), "binary-heavy": (binary[0], binary[1])}


def _compare(console: Console, name: str, old: Path, new: Path, runs: int) -> None:
    present = {peer: entry for peer, entry in PEERS.items() if shutil.which(entry[0])}
    missing = sorted(PEERS.keys() - present.keys())
    figures = {peer: Figures() for peer in present}
    patch_bytes = 0
    # Where the user's temporary folder is a disk, so are the stores.
    with tempfile.TemporaryDirectory(prefix="lading-benchmark-") as folder:
        for run in range(runs):
            for peer, (_, command) in present.items():
                work = Path(folder) / f"{run}-{peer.split()[0]}"
                work.mkdir()
                _run_both(figures[peer], command, old, new, work)
                shutil.rmtree(work)
        patch_bytes, patch_seconds = patch_from(Path(folder), old, new)
    _show(console, name, old, figures, runs)
    console.print(f"zstd --patch-from of the two tars: {patch_bytes / 1e6:.2f} MB in {patch_seconds:.2f} s")
    if missing:
        console.print(f"not installed, left out: {', '.join(missing)}")


def _run_both(figures: Figures, command: Peer, old: Path, new: Path, work: Path) -> None:
    """Store version 1, then version 2 at the same place, as a folder that changed."""
    place = work / "source"
    sizes = []
    for version, source in enumerate((old, new)):
        _mirror(source, place)
        arguments = command(place, work, version)
        seconds, rss = _measure(arguments)
        figures.seconds[version].append(seconds)
        figures.rss[version].append(rss)
        sizes.append(_tree_bytes(work) - _tree_bytes(place))
    figures.stored = (sizes[0], sizes[1] - sizes[0])


def _mirror(source: Path, place: Path) -> None:
    """Make `place` equal to `source`; what did not change keeps its inode and mtime."""
    place.mkdir(exist_ok=True)
    for path in sorted(place.rglob("*"), reverse=True):
        if not (source / path.relative_to(place)).exists():
            path.rmdir() if path.is_dir() else path.unlink()
    for path in sorted(source.rglob("*")):
        target = place / path.relative_to(source)
        if path.is_dir():
            target.mkdir(exist_ok=True)
        elif not target.exists() or target.read_bytes() != path.read_bytes():
            shutil.copy2(path, target)


def _measure(command: list[str]) -> tuple[float, float]:
    """Seconds and peak RSS (MiB) of a process and its descendants, the largest of them.

    A small process of its own watches it: a child's peak counts from its fork, when it still is a copy of its parent.
    """
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _WATCH, *command], capture_output=True, text=True, env=_environment()
    )
    if done.returncode:
        raise SystemExit(f"benchmark: {' '.join(command)} failed: {done.stderr.strip()}")
    seconds, kibibytes = done.stdout.split()[-2:]
    return float(seconds), int(kibibytes) / 1024


def _environment() -> dict[str, str]:
    return {**os.environ, **PASSWORD}


def _tree_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and "hash-cache" not in path.parts)


def patch_from(folder: Path, old: Path, new: Path) -> tuple[int, float]:
    """Bytes of the patch that `zstd --patch-from` makes of the tars of two trees, and seconds; files go to `folder`."""
    for name, source in (("old", old), ("new", new)):
        subprocess.run(["tar", "-C", str(source), "--sort=name", "-cf", str(folder / f"{name}.tar"), "."], check=True)
    started = time.perf_counter()
    subprocess.run(
        ["zstd", "-q", "-3", "--long=31", f"--patch-from={folder}/old.tar", f"{folder}/new.tar", "-o", f"{folder}/p"],
        check=True,
    )
    return (folder / "p").stat().st_size, time.perf_counter() - started


def _show(console: Console, name: str, old: Path, figures: dict[str, Figures], runs: int) -> None:
    raw = _tree_bytes(old)
    title = f"{name}: {raw / 1e6:,.1f} MB raw, medians of {runs}; ratios are Lading's figure by the peer's"
    table = Table("tool", "v1 s", "v1 MB", "v1 RSS", "v2 s", "v2 adds MB", "v2 RSS", "v1 time", "v1 size", "v2 time",
                  "v2 size", title=title, title_justify="left")  # fmt: skip
    for column in table.columns[1:]:
        column.justify = "right"
    ours = figures["lading"]
    for peer, found in figures.items():
        seconds = [statistics.median(found.seconds[version]) for version in (0, 1)]
        rss = [statistics.median(found.rss[version]) for version in (0, 1)]
        mine = [statistics.median(ours.seconds[version]) for version in (0, 1)]
        ratios = [mine[0] / seconds[0], ours.stored[0] / found.stored[0], mine[1] / seconds[1]]
        ratios.append(ours.stored[1] / max(1, found.stored[1]))
        table.add_row(
            peer,
            f"{seconds[0]:.2f}",
            f"{found.stored[0] / 1e6:.2f}",
            f"{rss[0]:.0f}",
            f"{seconds[1]:.2f}",
            f"{found.stored[1] / 1e6:.3f}",
            f"{rss[1]:.0f}",
            *(f"{ratio:.2f}" for ratio in ratios),
        )
    console.print(table)


def _prefect_seconds() -> float:
    code = (
        "import time; t = time.monotonic()\n"
        "from prefect.client.orchestration import get_client\n"
        "with get_client(sync_client=True) as client: client.hello()\n"
        "print(time.monotonic() - t)"
    )
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "PREFECT_HOME": home, "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90"}
        environment.pop("PREFECT_API_URL", None)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    return float(done.stdout)


if __name__ == "__main__":
    sys.exit(main())
