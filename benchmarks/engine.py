"""The release engine alone: scan to index of one version, into a folder. `python -m benchmarks.engine SRC WORK N`.

It runs the steps of the release flow without Prefect and without a store: what they cost is measured, not the network.
Version 0 is a base release; version N takes N - 1 as its parent.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from lading.collector import collect_rarely
from lading.names import INDEX_CHUNKS, INDEX_FILES
from lading.parameters import Chunking, Compression
from tasks.build_index import build_index
from tasks.hashing import hash_files
from tasks.pack import pack_shard
from tasks.plan import ParentIndex, plan
from tasks.scan import scan
from tasks.work import WorkDir


def run(source: Path, root: Path, version: int) -> dict[str, object]:
    """Release `source`; the shards and the index stay in `root`. Returns seconds by step, and sizes in bytes."""
    work = WorkDir(root / f"v{version}")
    work.root.mkdir(parents=True)
    work.prepare()
    parent = _parent(root / f"v{version - 1}") if version else None
    times: dict[str, float] = {}
    cpu: dict[str, float] = {"start": time.process_time()}
    started = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal started
        now = time.perf_counter()
        times[name] = round(now - started, 3)
        started = now
        cpu[name] = round(time.process_time() - sum(cpu.values()), 3)

    found = scan(source, work.entries)
    lap("scan")
    hash_files(source, work, root / "hash-cache", Chunking(), compression=None if parent else Compression())
    lap("hash")
    planned = plan(work, parent, full=False)
    lap("plan")
    shards = [pack_shard(source, work, number, planned.kind, Compression()) for number in range(planned.shards)]
    lap("pack")
    # Without the gateway's lookup: no peer serves single files out of what it stores.
    index = build_index(work, parent if planned.kind == "delta" else None, None, lookup=False)
    lap("index")
    for path in (work.entries, work.pieces, work.members, work.frames, *work.root.glob("placements-*")):
        path.unlink(missing_ok=True)
    sizes = {shard.sha256: shard.size for shard in shards}
    if parent:
        sizes |= {sha256: size for sha256, size in parent.shards.items() if sha256 in index.shards}
    facts = {"shards": sizes, "ratio": sum(sizes.values()) / max(1, found.bytes)}
    (work.root / "facts.json").write_text(json.dumps(facts))
    return {
        "files": found.files,
        "bytes": found.bytes,
        "new_stored_bytes": sum(shard.size for shard in shards),
        "seconds": times,
        "cpu_seconds": cpu,
        "files_per_second": round(found.files / sum(times.values())),
        "peak_rss_mib": _peak_rss_kib() // 1024,
    }


def _peak_rss_kib() -> int:
    """Of this program alone: on Linux, getrusage counts what its parent took when it was forked."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM:"))


def _parent(root: Path) -> ParentIndex:
    facts = json.loads((root / "facts.json").read_text())
    return ParentIndex(root / "index" / INDEX_FILES, root / "index" / INDEX_CHUNKS, facts["shards"], facts["ratio"])


if __name__ == "__main__":
    # As the command line does.
    collect_rarely()
    print(json.dumps(run(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])), indent=2))
