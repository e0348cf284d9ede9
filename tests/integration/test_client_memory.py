"""Memory of a pull stays below 300 MB at default settings, and does not grow with the number of files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from running_stack import RunningStack

from benchmarks.many_files import make

FILES = 30_000
RSS_BYTES = 300_000_000
PYTHON_BYTES = 4_000_000
"""What Python objects may take when nothing is to be fetched: 130 bytes for each file would be too much."""

PULL = """
import json, sys, tracemalloc
from pathlib import Path
from lading.client import steps
from lading.client.pull import pull

traced = sys.argv[3] == "traced"
if traced:
    tracemalloc.start()
result = pull(sys.argv[1], Path(sys.argv[2]))
peak = tracemalloc.get_traced_memory()[1] if traced else 0
# Not ru_maxrss: a process inherits that of the one which started it.
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
rss = int(status["VmHWM"].split()[0]) * 1024
print(json.dumps({"rss": rss, "python": peak, "files": result.files, "made": result.made_files}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_small_with_many_files(stack: RunningStack, dataset: str, tmp_path: Path) -> None:
    from flows.release import release

    source, dest = tmp_path / "source", tmp_path / "dest"
    make(source, FILES)
    release(source=str(source), dataset=dataset, version="v1", smoke=False)
    shutil.rmtree(source)

    def run(how: str) -> dict[str, int]:
        command = [sys.executable, "-c", PULL, dataset, str(dest), how]
        done = subprocess.run(command, env=stack.environment, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    first = run("plain")
    assert (first["files"], first["made"]) == (FILES, FILES)
    again = run("traced")
    assert again["made"] == 0
    shutil.rmtree(dest / ".lading")
    adopted = run("plain")
    assert adopted["made"] == 0
    print(f"RSS: {first['rss']:,}, adopted {adopted['rss']:,}; Python objects: {again['python']:,}")
    assert max(first["rss"], adopted["rss"]) < RSS_BYTES
    assert again["python"] < PYTHON_BYTES
