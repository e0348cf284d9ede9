"""Tools that people have already: curl, wget, aria2 and rclone against the real gateway."""

from __future__ import annotations

import hashlib
import random
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from running_stack import RunningStack


@dataclass(frozen=True)
class Link:
    """A signed URL of a shard, and what it must give."""

    url: str
    size: int
    sha256: str


@pytest.fixture(scope="module")
def link(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Link:
    from flows.release import release

    source = tmp_path_factory.mktemp("clients") / "source"
    source.mkdir()
    (source / "data.bin").write_bytes(random.Random(5).randbytes(30_000_000))
    release(source=str(source), dataset="clients", version="v1", smoke=False)
    answer = requests.post(
        f"{stack.settings.issuer_url}/v1/tokens",
        json={"dataset": "clients"},
        headers={"Authorization": f"Bearer {stack.settings.api_key}"},
        timeout=10,
    )
    grant = answer.json()
    shard = next(entry for entry in grant["files"] if "/shards/" in entry["key"])
    return Link(f"{shard['url']}?token={grant['token']}", shard["size"], shard["sha256"])


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def half_fetched(link: Link, path: Path) -> Path:
    """The first part of the object, as an interrupted download leaves it."""
    first = requests.get(link.url, headers={"Range": f"bytes=0-{link.size // 3}"}, timeout=30)
    path.write_bytes(first.content)
    return path


def test_curl_resumes(link: Link, tmp_path: Path, tool: Callable[[str], str]) -> None:
    path = half_fetched(link, tmp_path / "file")
    before = path.stat().st_size
    done = subprocess.run(
        [tool("curl"), "--fail", "-sS", "-C", "-", "-o", str(path), "-w", "%{http_code} %{size_download}", link.url],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"206 {link.size - before}"
    assert sha256(path) == link.sha256


def test_curl_on_a_complete_file_is_told_so(link: Link, tmp_path: Path, tool: Callable[[str], str]) -> None:
    path = tmp_path / "file"
    path.write_bytes(requests.get(link.url, timeout=30).content)
    done = subprocess.run(
        [tool("curl"), "-sS", "-C", "-", "-o", str(path), "-w", "%{http_code}", link.url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "416"
    assert sha256(path) == link.sha256


def test_wget_resumes(link: Link, tmp_path: Path, tool: Callable[[str], str]) -> None:
    path = half_fetched(link, tmp_path / "file")
    done = subprocess.run(
        [tool("wget"), "-c", "-S", "-O", str(path), link.url], capture_output=True, text=True, check=True
    )
    assert "206 Partial Content" in done.stderr
    assert sha256(path) == link.sha256


def test_aria2_fetches_by_sixteen_connections(link: Link, tmp_path: Path, tool: Callable[[str], str]) -> None:
    subprocess.run(
        [
            tool("aria2c"),
            *("-x16", "-s16", "-k1M", "--quiet", "--no-conf"),
            f"--checksum=sha-256={link.sha256}",
            *("-d", str(tmp_path), "-o", "file", link.url),
        ],
        check=True,
    )
    assert sha256(tmp_path / "file") == link.sha256


def test_rclone_fetches_one_object_by_several_ranges(
    link: Link, tmp_path: Path, tool: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RCLONE_CONFIG", "")
    url, _, token = link.url.partition("?token=")
    folder, _, name = url.rpartition("/")
    done = subprocess.run(
        [
            *(tool("rclone"), "copyto", "-vv", "--multi-thread-cutoff", "4M", "--multi-thread-streams", "4"),
            *("--http-url", folder, "--http-headers", f"Authorization,Bearer {token}"),
            *(f":http:{name}", str(tmp_path / "file")),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "multi-thread copy" in done.stderr.lower()
    assert sha256(tmp_path / "file") == link.sha256
