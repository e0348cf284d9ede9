"""The commands of docs/client.md for plain tools, run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from running_stack import RunningStack
from trees import listing, text

PAGE = Path(__file__).resolve().parents[2] / "docs/client.md"
TOOLS = ("curl", "wget", "aria2c", "zstd", "tar")


def blocks(section: str, language: str) -> list[str]:
    """The code blocks of one section of the page."""
    found = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert found, f"{PAGE} has no section {section!r}"
    return re.findall(rf"```{language}\n(.*?)```", found[1], re.DOTALL)


@pytest.fixture(scope="module")
def source(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset that the page speaks of."""
    from flows.release import release

    root = tmp_path_factory.mktemp("documented") / "source"
    (root / "train").mkdir(parents=True)
    (root / "train/a.txt").write_bytes(text(1, 40_000))
    (root / "train/b.csv").write_bytes(b"n,name\n1,one\n2,two\n")
    (root / "readme.md").write_bytes(b"# My dataset\n")
    (root / "photo.jpg").write_bytes(b"no real photo")
    labels = root.with_name("labels.csv")
    labels.write_text("path,split\ntrain/a.txt,train\ntrain/b.csv,train\n")
    release(source=str(root), dataset="my-dataset", version="2026-01", labels=str(labels), smoke=False)
    return root


def shell(stack: RunningStack, script: str, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**stack.environment, "PATH": path, "LADING_HOME": str(cwd / "home")}
    done = subprocess.run(["bash", "-euc", script], cwd=cwd, env=environment, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    return done


def test_whole_objects_by_curl_wget_aria2_zstd_and_tar(
    stack: RunningStack, source: Path, tool: Callable[[str], str], tmp_path: Path
) -> None:
    for name in TOOLS:
        tool(name)
    whole, *_ = blocks("Plain tools", "sh")
    lines = [line.partition("  #")[0].strip() for line in whole.splitlines()]
    assert [line.split()[0] for line in lines] == ["curl", "wget", "lading", "zstd"]
    # wget -c and curl -C - continue; here each begins anew, then goes on with a half.
    get = 'SHARD="$(lading url my-dataset | head -1)"; half() { truncate -s $(( $(stat -c %s "$1") / 2 )) "$1"; }\n'
    for line in lines[:2]:
        shell(
            stack, f"{get}{line}; cp shard.tar.zst whole; half shard.tar.zst; {line}; cmp whole shard.tar.zst", tmp_path
        )
        (tmp_path / "shard.tar.zst").unlink()
    shell(stack, lines[2], tmp_path)
    (shard,) = (tmp_path / "shards").glob("*.tar.zst")
    shard.rename(tmp_path / "shard.tar.zst")
    (tmp_path / "out").mkdir()
    shell(stack, "cd out && mv ../shard.tar.zst . && " + lines[3] + " && rm shard.tar.zst", tmp_path)
    assert listing(tmp_path / "out", mtimes=False) == listing(source, mtimes=False)


def test_one_file_by_its_own_url(stack: RunningStack, source: Path, tool: Callable[[str], str], tmp_path: Path) -> None:
    tool("curl")
    _, commands, *_ = blocks("Plain tools", "sh")
    done = shell(stack, f'FILE="$(lading url my-dataset/train/a.txt)"\n{commands}', tmp_path)
    expected = (source / "train/a.txt").read_bytes()
    assert (tmp_path / "a.txt").read_bytes() == expected
    assert done.stdout == expected[:100]


def test_one_file_by_its_ranges(stack: RunningStack, source: Path, tool: Callable[[str], str], tmp_path: Path) -> None:
    tool("curl"), tool("zstd")
    _, _, ranges, _ = blocks("Plain tools", "sh")
    assert shell(stack, ranges, tmp_path).stdout == (source / "train/a.txt").read_bytes()


def test_files_by_rclone(stack: RunningStack, source: Path, tool: Callable[[str], str], tmp_path: Path) -> None:
    tool("rclone")
    *_, commands = blocks("Plain tools", "sh")
    # rclone has a configuration of its own; the user's must not matter.
    shell(stack, f"export RCLONE_CONFIG=\n{commands}", tmp_path)
    assert listing(tmp_path / "files", mtimes=False) == listing(source, mtimes=False)
    assert (tmp_path / "readme.md").read_bytes() == (source / "readme.md").read_bytes()
    again = shell(stack, f"export RCLONE_CONFIG= RCLONE_STATS_LOG_LEVEL=NOTICE\n{commands}", tmp_path)
    assert b"Checks:                 4 / 4" in again.stderr


def test_a_browser_may_fetch_a_range_from_another_page(stack: RunningStack, source: Path, tmp_path: Path) -> None:
    """What a browser asks before, and needs to see after, a fetch with a Range header."""
    import requests

    url = shell(stack, "lading url my-dataset | head -1", tmp_path).stdout.decode().strip()
    asked = {"Origin": "https://page.example", "Access-Control-Request-Method": "GET"}
    before = requests.options(url, headers={**asked, "Access-Control-Request-Headers": "range"}, timeout=10)
    assert before.status_code in (200, 204)
    assert "range" in before.headers["Access-Control-Allow-Headers"].lower()
    answer = requests.get(url, headers={"Origin": "https://page.example", "Range": "bytes=0-9"}, timeout=10)
    assert (answer.status_code, len(answer.content)) == (206, 10)
    assert answer.headers["Access-Control-Allow-Origin"] in ("*", "https://page.example")
    assert "content-range" in answer.headers["Access-Control-Expose-Headers"].lower()


def test_the_python_examples(stack: RunningStack, source: Path, tmp_path: Path) -> None:
    first, second = blocks("Python", "python")
    done = shell(stack, f"python - <<'END'\n{first}\nEND", tmp_path)
    assert done.stdout.startswith(b"n,name\n")
    assert sorted(path for path, entry in listing(tmp_path / "copy").items()) == ["train/a.txt", "train/b.csv"]
    assert b"photo.jpg" in done.stdout
    shell(stack, f"python - <<'END'\n{second}\nEND", tmp_path)


def test_the_pytorch_example(stack: RunningStack, source: Path, torch_packages: str, tmp_path: Path) -> None:
    (example,) = blocks("PyTorch", "python")
    (tmp_path / "example.py").write_text(f"import site\nsite.addsitedir({torch_packages!r})\n{example}")
    lines = shell(stack, "python example.py", tmp_path).stdout.decode().splitlines()
    assert sorted(line.split(" ['__key__'")[0] for line in lines) == [
        f"{epoch} train/{name} train" for epoch in range(3) for name in "ab"
    ]
