"""Pull against its peers: `python -m benchmarks.pull [--runs N] [--peak]`.

Starts the local stack, releases trees (256 MB and 1 GB in large files; 8,000 small files, and those with some of them
changed as a delta; two files of text, and those edited all over, with patches), and fetches each with `lading pull`,
with `curl | zstd -d | tar x`, with `aria2c -x16` and then `zstd -d | tar x`, and with rclone, restic and casync where
they are installed. All runs are on this machine in this call, in turn, so that the ratios hold although the machine's
speed drifts; figures are medians.

curl and aria2 read the same shards through the same gateway. rclone copies the files themselves from the local store's
S3 endpoint. restic and casync read a repository in a local folder: no server is in their way, which favours them. Only
`lading pull` verifies each file and can update in place; for an update, curl and aria2 fetch all shards of v2. What an
update fetches is compared with the patch that `zstd --patch-from` makes of the two tars.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.release import patch_from
from lading.client.access import Access
from lading.http import session as http_session
from lading.settings import Settings
from lading.stack.config import StackConfig, prepare
from lading.stack.supervisor import Stack

RUNS = 5
LARGE_FILES = 4
LARGE_BYTES = 64 * 1024 * 1024
HUGE_BYTES = 4 * LARGE_BYTES
SMALL_FILES = 8_000
SMALL_BYTES = 8_000
CHANGED_SHARE = 0.05
MANY_FILES = 1_000
EDITED_FILES = 2
EDITED_BYTES = 32 * 1024 * 1024
EDITS = 4_000

_WATCH = """
import os, sys, time, resource
started = time.perf_counter()
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
status = os.waitpid(child, 0)[1]
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@dataclass
class Figures:
    """Of each run: wall seconds, CPU seconds, peak RSS of the largest process (MiB); and bytes over the wire."""

    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    rss: list[float] = field(default_factory=list)
    wire: int | None = None


@dataclass(frozen=True)
class Case:
    """What is fetched: `before` is the version that is there already, for an update, `old` its tree, and `new_bytes`
    the stored bytes of the chunks that it lacks."""

    name: str
    reference: str
    source: Path
    before: str | None = None
    old: Path | None = None
    new_bytes: int | None = None


def main() -> int:
    """Run the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--peak", action="store_true", help="measure memory instead: 100,000 small files, one of 2 GiB")
    options = parser.parse_args()
    console = Console(width=140)
    with tempfile.TemporaryDirectory(prefix="lading-benchmark-") as name, _stack(Path(name)) as config:
        if options.peak:
            _peak(console, Path(name))
            return 0
        cases = _release_all(Path(name))
        _prepare_peers(Path(name), cases, config)
        for case in cases:
            _compare(console, case, Path(name), options.runs)
    missing = [peer for peer in ("curl", "aria2c", "zstd", "rclone", "restic", "casync") if not shutil.which(peer)]
    if missing:
        console.print(f"not installed, left out: {', '.join(missing)}")
    return 0


@contextmanager
def _stack(folder: Path) -> Iterator[StackConfig]:
    config = prepare(Settings(home=folder / "home"), gateway_port=0, issuer_port=0)
    os.environ.update(config.environment())
    os.environ |= {
        "LADING_HOME": str(config.home),
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",
    }
    with Stack(config):
        yield config


def _release_all(folder: Path) -> list[Case]:
    from flows.release import release

    large, huge, small, changed = (folder / "sources" / name for name in ("large", "huge", "small", "changed"))
    chosen = random.Random(1)
    text = _text(chosen, 8 * 1024 * 1024)
    for root, size in ((large, LARGE_BYTES), (huge, HUGE_BYTES)):
        root.mkdir(parents=True)
        for number in range(LARGE_FILES):
            # Half of them can be compressed, as datasets are.
            with (root / f"{number}.bin").open("wb") as file:
                for _ in range(size // len(text)):
                    file.write(text if number % 2 else chosen.randbytes(len(text)))
    for number in range(SMALL_FILES):
        path = small / f"{number % 80:02d}" / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_text(chosen, chosen.randrange(SMALL_BYTES // 2, SMALL_BYTES)))
    shutil.copytree(small, changed)
    for path in chosen.sample(sorted(changed.rglob("*.txt")), int(SMALL_FILES * CHANGED_SHARE)):
        path.write_bytes(_text(chosen, SMALL_BYTES))
    release(source=str(large), dataset="large", version="v1", smoke=False)
    release(source=str(huge), dataset="huge", version="v1", smoke=False)
    release(source=str(small), dataset="small", version="v1", smoke=False)
    made = release(source=str(changed), dataset="small", version="v2", smoke=False)
    return [
        Case("large files, 256 MB", "large@v1", large),
        Case("large files, 1 GB", "huge@v1", huge),
        Case("8,000 small files", "small@v1", small),
        Case("update of 5 %", "small@v2", changed, "small@v1", small, made["new_stored_bytes"]),
        _release_edited(folder),
    ]


def _release_edited(folder: Path) -> Case:
    """Text that is edited all over, so that few chunks stay: what patches are for."""
    from flows.release import release

    old, new = folder / "sources/text", folder / "sources/edited"
    chosen = random.Random(3)
    words = [bytes(chosen.choices(b"abcdefghijklmnopqrstuvwxyz", k=2 + n % 9)) for n in range(5_000)]
    for root in (old, new):
        root.mkdir(parents=True)
    for number in range(EDITED_FILES):
        lines = [b" ".join(chosen.choices(words, k=12)) for _ in range(EDITED_BYTES // 84)]
        (old / f"{number}.txt").write_bytes(b"\n".join(lines))
        for place in chosen.sample(range(len(lines)), EDITS):
            lines[place] = b" ".join(chosen.choices(words, k=12))
        (new / f"{number}.txt").write_bytes(b"\n".join(lines))
    release(source=str(old), dataset="text", version="v1", smoke=False)
    made = release(source=str(new), dataset="text", version="v2", smoke=False, patches=True)
    return Case("update of edited text, with patches", "text@v2", new, "text@v1", old, made["new_stored_bytes"])


def _text(chosen: random.Random, size: int) -> bytes:
    words = [bytes(chosen.choices(b"abcdefghijklmnopqrstuvwxyz", k=4 + n % 6)) for n in range(60)]
    data = b" ".join(chosen.choices(words, k=min(size, 200_000) // 6 + 1))
    return (data * (size // len(data) + 1))[:size]


def _prepare_peers(folder: Path, cases: list[Case], config: StackConfig) -> None:
    """Put each source where rclone, restic and casync read it."""
    for case in cases:
        version = case.reference.replace("@", "-")
        if "rclone copy" in PEERS and shutil.which("rclone"):
            target = f"{_remote()}:{os.environ['LADING_S3_BUCKET']}/raw/{version}"
            try:
                _quietly(["rclone", "copy", "--transfers", "4", str(case.source), target])
            except subprocess.CalledProcessError as error:
                print(f"rclone is left out: {error.stderr.decode().strip().splitlines()[-1]}", file=sys.stderr)
                del PEERS["rclone copy"]
        repository = folder / "restic"
        if shutil.which("restic"):
            if not repository.exists():
                _quietly(["restic", "init", "-q", "-r", str(repository)])
            _quietly(["restic", "backup", "-q", "-r", str(repository), "--tag", version, "."], cwd=case.source)
        if shutil.which("casync"):
            index = folder / f"{version}.caidx"
            _quietly(["casync", "make", "--without=all", f"--store={folder / 'castr'}", str(index), str(case.source)])


def _remote() -> str:
    endpoint = os.environ["LADING_S3_ENDPOINT"]
    return f":s3,provider=Other,env_auth=true,no_check_bucket=true,region=auto,endpoint='{endpoint}'"


def _quietly(command: list[str], cwd: Path | None = None) -> None:
    environment = {**os.environ, "RESTIC_PASSWORD": "benchmark"}
    subprocess.run(command, cwd=cwd, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


Peer = Callable[[Case, Path, Path], tuple[list[str], int | None]]
"""Makes the command that fetches a case to a folder, and says how many bytes it moves if that is known."""


def _lading(case: Case, dest: Path, folder: Path) -> tuple[list[str], int | None]:
    return [sys.executable, "-m", "lading", "pull", case.reference, str(dest), "--quiet", "--json"], None


def _shards(case: Case) -> list[tuple[str, int]]:
    """Signed URL and size of each shard."""
    dataset, _, version = case.reference.partition("@")
    with http_session() as session:
        access = Access(session, Settings.from_env(), dataset, version)
    token = access.grant.token
    objects = access.grant.objects.items()
    return [(f"{access.url(key)}?token={token}", int(entry["size"])) for key, entry in objects if "/shards/" in key]


def _curl(case: Case, dest: Path, folder: Path) -> tuple[list[str], int | None]:
    shards = _shards(case)
    steps = [f"curl -sSf '{url}' | zstd -dc | tar x -C {dest}" for url, _ in shards]
    return ["bash", "-ec", "set -o pipefail; " + "; ".join(steps)], sum(size for _, size in shards)


def _aria2(case: Case, dest: Path, folder: Path) -> tuple[list[str], int | None]:
    shards = _shards(case)
    steps = []
    for number, (url, _) in enumerate(shards):
        steps.append(f"aria2c -x16 -s16 -k1M --quiet --no-conf -d {dest}.tmp -o {number} '{url}'")
        steps.append(f"zstd -dc {dest}.tmp/{number} | tar x -C {dest}")
    return ["bash", "-ec", "set -o pipefail; " + "; ".join(steps)], sum(size for _, size in shards)


def _rclone(case: Case, dest: Path, folder: Path) -> tuple[list[str], int | None]:
    remote = f"{_remote()}:{os.environ['LADING_S3_BUCKET']}/raw/{case.reference.replace('@', '-')}"
    return ["rclone", "copy", "--transfers", "16", "--checkers", "16", remote, str(dest)], None


def _restic(case: Case, dest: Path, folder: Path) -> tuple[list[str], int | None]:
    repository = str(folder / "restic")
    tag = case.reference.replace("@", "-")
    return ["restic", "restore", "-q", "latest", "--tag", tag, "-r", repository, "--target", str(dest)], None


def _casync(case: Case, dest: Path, folder: Path) -> tuple[list[str], int | None]:
    index = folder / f"{case.reference.replace('@', '-')}.caidx"
    return ["casync", "extract", "--without=all", f"--store={folder / 'castr'}", str(index), str(dest)], None


PEERS: dict[str, tuple[tuple[str, ...], Peer]] = {
    "lading pull": ((), _lading),
    "curl | zstd -d | tar x": (("curl", "zstd"), _curl),
    "aria2c -x16; zstd -d | tar x": (("aria2c", "zstd"), _aria2),
    "rclone copy": (("rclone",), _rclone),
    "restic restore (local)": (("restic",), _restic),
    "casync extract (local)": (("casync",), _casync),
}


def _compare(console: Console, case: Case, folder: Path, runs: int) -> None:
    present = {name: peer for name, (needs, peer) in PEERS.items() if all(map(shutil.which, needs))}
    figures = {name: Figures() for name in present}
    base = folder / "before"
    if case.before:
        _quietly([sys.executable, "-m", "lading", "pull", case.before, str(base), "--quiet"])
    # ext4 goes around inodes that were freed a moment ago, which takes long where they are many: what comes after the
    # removal of thousands of files would pay for it. Nobody pulls into what was just removed.
    many = sum(1 for _ in case.source.rglob("*")) > MANY_FILES
    made: list[Path] = []
    for run in range(runs + 1):
        for name, peer in present.items():
            dest = folder / f"dest-{run}-{name.split()[0]}"
            made += [dest, Path(f"{dest}.tmp")]
            if case.before:
                # The update begins with a copy of the first version, as cp -a makes it.
                _quietly(["cp", "-a", str(base), str(dest)])
            else:
                dest.mkdir()
            command, wire = peer(case, dest, folder)
            measured = _run(command, wire)
            # The first run warms caches, of the gateway and of the disk, and does not count.
            if run:
                seconds, cpu, rss, moved = measured
                figures[name].seconds.append(seconds)
                figures[name].cpu.append(cpu)
                figures[name].rss.append(rss)
                figures[name].wire = moved
            if not many:
                _remove(made)
    _remove([*made, base])
    _show(console, case, figures, runs)
    if case.old and shutil.which("zstd"):
        with tempfile.TemporaryDirectory(dir=folder) as tars:
            patch, seconds = patch_from(Path(tars), case.old, case.source)
        share = (figures["lading pull"].wire or 0) / patch
        console.print(
            f"zstd --patch-from of the two tars: {patch / 1e6:.2f} MB in {seconds:.2f} s; "
            f"lading pull fetched {share:.2f} times as much"
        )
    console.print()


def _remove(folders: list[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: list[str], wire: int | None) -> tuple[float, float, float, int | None]:
    environment = {**os.environ, "RESTIC_PASSWORD": "benchmark"}
    watch = [sys.executable, "-c", _WATCH, *command]
    done = subprocess.run(watch, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"benchmark: {command[0]} failed: {done.stderr}")
    seconds, cpu, rss = map(float, done.stderr.split()[-3:])
    if done.stdout.startswith("{"):
        wire = json.loads(done.stdout)["fetched_bytes"]
    return seconds, cpu, rss / 1024, wire


def _show(console: Console, case: Case, figures: dict[str, Figures], runs: int) -> None:
    table = Table(title=f"{case.name}: medians of {runs} runs", title_justify="left")
    for column in ("", "seconds", "ratio", "CPU s", "RSS MiB", "wire MB"):
        table.add_column(column, justify="right" if column else "left")
    lading = statistics.median(figures["lading pull"].seconds)
    for name, found in figures.items():
        seconds = statistics.median(found.seconds)
        table.add_row(
            name,
            f"{seconds:.2f}",
            f"{lading / seconds:.2f}",
            f"{statistics.median(found.cpu):.2f}",
            f"{statistics.median(found.rss):.0f}",
            f"{found.wire / 1e6:.1f}" if found.wire is not None else "",
        )
    console.print(table)
    console.print("ratio: time of lading pull as a share of this one's")
    if case.new_bytes:
        moved = figures["lading pull"].wire or 0
        console.print(f"new chunks: {case.new_bytes / 1e6:.2f} MB; fetched {moved / case.new_bytes:.2f} times as much")


def _peak(console: Console, folder: Path) -> None:
    """Memory of a whole pull at default settings."""
    from flows.release import release

    many, huge = folder / "sources/many", folder / "sources/huge"
    for number in range(100_000):
        path = many / f"{number % 500:03d}" / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d " % number * 60)
    huge.mkdir(parents=True)
    chosen = random.Random(2)
    with (huge / "huge.bin").open("wb") as file:
        for _ in range(64):
            file.write(chosen.randbytes(32 * 1024 * 1024))
    for name, source in (("100,000 small files", many), ("one file of 2 GiB", huge)):
        dataset = source.name
        release(source=str(source), dataset=dataset, version="v1", smoke=False)
        shutil.rmtree(source)
        for turn in ("pull", "pull again", "without its state"):
            if turn == "without its state":
                shutil.rmtree(folder / "dest/.lading")
            command = [sys.executable, "-m", "lading", "pull", dataset, str(folder / "dest"), "--quiet", "--json"]
            seconds, cpu, rss, wire = _run(command, None)
            moved = (wire or 0) / 1e6
            console.print(f"{name}, {turn}: {seconds:.1f} s, CPU {cpu:.1f} s, RSS {rss:.0f} MiB, wire {moved:.1f} MB")
        shutil.rmtree(folder / "dest")


if __name__ == "__main__":
    sys.exit(main())
