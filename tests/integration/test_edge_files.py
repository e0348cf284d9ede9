"""Single files out of their shards at the gateway: every file of real releases, whole, by ranges, coded and decoded."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
import requests
import zstandard
from running_stack import RunningStack
from selfhosted import selfhosted
from trees import changed, text, varied

from lading.http import problem
from lading.lookup import Lookup
from lading.manifest import Manifest, parse
from lading.names import MANIFEST, SIGNATURE, YANKED, latest_key, release_key
from lading.objectstore import bucket
from tasks.publish import promote_release

DATASET = "edge-files"
DECODE_MAX_BYTES = 64 * 1024 * 1024
HUGE_BYTES = DECODE_MAX_BYTES + 3_000_000
RANGES = 200


@dataclass(frozen=True)
class Released:
    """Two releases at the gateway, the second a delta, and what the files of each hold."""

    gateway: str
    token: str
    trees: dict[str, dict[str, bytes]]

    def get(self, version: str, path: str, token: str | None = None, **headers: str) -> requests.Response:
        """A plain request: nothing is decoded, and nothing is accepted that is not said."""
        return fetch(f"{self.gateway}/f/{DATASET}/{version}/{quote(path)}", token or self.token, **headers)


def fetch(url: str, token: str, method: str = "GET", **headers: str) -> requests.Response:
    fields = {"Authorization": f"Bearer {token}", **{name.replace("_", "-"): value for name, value in headers.items()}}
    if "accept-encoding" not in fields:
        fields["accept-encoding"] = "identity"
    answer = requests.request(method, url, headers=fields, timeout=60, stream=True)
    answer._content = answer.raw.read(decode_content=False)
    return answer


def contents(root: Path) -> dict[str, bytes]:
    """Every file below `root`, links to files included."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def mint(stack: RunningStack, *scopes: str) -> str:
    options = [argument for scope in scopes for argument in ("--scp", scope)]
    done = stack.lading("admin", "token", "--ttl", "3000", "--sub", "edge-test", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def released(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Released:
    from flows.release import release

    source = varied(tmp_path_factory.mktemp("edge") / "source", seed=7)
    (source / "pictures").mkdir()
    (source / "pictures/of 3 MB.jpg").write_bytes(random.Random(3).randbytes(3_000_000))
    (source / "huge.txt").write_bytes(text(5, HUGE_BYTES))
    (source / "deep/again.txt").symlink_to("up.txt")
    (source / "nowhere").symlink_to("not/there")
    trees = {}
    for version in ("v1", "v2"):
        release(source=str(source), dataset=DATASET, version=version, smoke=version == "v1")
        trees[version] = contents(source)
        if version == "v1":
            changed(source)
    gateway = stack.settings.gateway_url
    assert gateway is not None
    return Released(gateway, mint(stack, f"{DATASET}/"), trees)


def manifest_of(stack: RunningStack, version: str) -> Manifest:
    return parse(bucket(stack.settings).get(release_key(DATASET, version, MANIFEST)))


def lookup_of(stack: RunningStack, version: str) -> Lookup:
    described = manifest_of(stack, version).index.lookup
    assert described is not None
    data = bucket(stack.settings).get(described.key)
    assert hashlib.sha256(data).hexdigest() == described.sha256
    return Lookup(lambda offset, length: data[offset : offset + length], len(data))


def decoded(frames: bytes) -> bytes:
    return zstandard.ZstdDecompressor().stream_reader(frames, read_across_frames=True).read()


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_every_file_comes_out_of_its_shards(released: Released, version: str) -> None:
    for path, data in released.trees[version].items():
        if len(data) > DECODE_MAX_BYTES:
            continue
        answer = released.get(version, path)
        assert (answer.status_code, answer.content == data) == (200, True), path
        digest = hashlib.sha256(data)
        assert answer.headers["ETag"] == f'"{digest.hexdigest()}"'
        assert answer.headers["Content-Length"] == str(len(data))
        assert "Content-Encoding" not in answer.headers


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_large_files_come_as_stored_frames_for_who_accepts_them(
    stack: RunningStack, released: Released, version: str
) -> None:
    lookup, coded = lookup_of(stack, version), 0
    for path, data in released.trees[version].items():
        answer = released.get(version, path, accept_encoding="gzip, zstd;q=0.9")
        assert answer.status_code == 200
        found = lookup.find(path)
        assert found is not None
        if not found.spans:
            assert (answer.headers.get("Content-Encoding"), answer.content == data) == (None, True), path
            continue
        coded += 1
        assert answer.headers["Content-Encoding"] == "zstd"
        assert answer.headers["ETag"] == f'"{hashlib.sha256(data).hexdigest()}-zstd"'
        assert len(answer.content) == sum(span.length for span in found.spans)
        assert decoded(answer.content) == data, path
    assert coded >= 3
    # The delta's large file lies in shards of both releases.
    spans = {span.shard for span in lookup_of(stack, "v2").find("large.bin").spans}  # type: ignore[union-attr]
    assert len(spans) == 2


def test_random_ranges_are_those_of_the_files(released: Released) -> None:
    chosen = random.Random(11)
    tree = {path: data for path, data in released.trees["v2"].items() if data}
    # The huge one as often as all others together.
    paths = [*sorted(tree), *["huge.txt", "large.bin", "deep/down/here/large.txt"] * 30]
    for _ in range(RANGES):
        path = chosen.choice(paths)
        data = tree[path]
        first = chosen.randrange(len(data))
        last = min(len(data) - 1, first + int(10 ** chosen.uniform(0, 6.5)))
        answer = released.get("v2", path, range=f"bytes={first}-{last}", accept_encoding="zstd, gzip")
        assert answer.status_code == 206, path
        assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(data)}"
        assert answer.content == data[first : last + 1], (path, first, last)


def test_the_frames_can_be_resumed(released: Released) -> None:
    whole = released.get("v2", "huge.txt", accept_encoding="zstd")
    assert whole.status_code == 200
    half = len(whole.content) // 2
    rest = released.get(
        "v2", "huge.txt", accept_encoding="zstd", range=f"bytes={half}-", if_range=whole.headers["ETag"]
    )
    assert (rest.status_code, whole.content[:half] + rest.content) == (206, whole.content)
    assert decoded(whole.content) == released.trees["v2"]["huge.txt"]


def test_what_is_too_large_is_refused_with_a_hint_and_told_by_head(released: Released) -> None:
    answer = released.get("v1", "huge.txt")
    assert (answer.status_code, answer.headers["Vary"]) == (406, "Accept-Encoding")
    document = problem(answer)
    assert document["code"] == "not_acceptable"
    assert "zstd" in document["detail"]
    assert "lading cat" in document["detail"]
    url = f"{released.gateway}/f/{DATASET}/v1/huge.txt"
    assert fetch(url, released.token, "HEAD").headers["Content-Length"] == str(HUGE_BYTES)


def test_links_are_the_files_that_they_lead_to(released: Released) -> None:
    assert released.get("v1", "link.txt").content == released.trees["v1"]["small/000.txt"]
    assert released.get("v2", "link.txt").content == b"added"
    assert released.get("v1", "deep/again.txt").content == b""
    for path, reason in (("nowhere", "link"), ("empty folder", "folder"), ("small", "no file"), ("x", "no file")):
        answer = released.get("v1", path)
        assert (answer.status_code, reason in problem(answer)["detail"]) == (404, True), path


def test_latest_follows_a_promotion_both_ways(stack: RunningStack, released: Released) -> None:
    path, old, new = "small/007.txt", released.trees["v1"]["small/007.txt"], b"edited"
    assert released.get("latest", path).content == new
    before = released.get("latest", path).headers["Last-Modified"]
    time.sleep(1.1)
    promote_release(stack.settings, DATASET, "v1")
    try:
        until(lambda: released.get("latest", path).content == old)
        # What was seen before the way back must not count as fresh.
        assert released.get("latest", path, if_modified_since=before).status_code == 200
    finally:
        promote_release(stack.settings, DATASET, "v2")
    until(lambda: released.get("latest", path).content == new)


def until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def test_a_token_covers_a_file_when_it_covers_all_that_is_read(stack: RunningStack, released: Released) -> None:
    shards, release = f"{DATASET}/shards/", f"{DATASET}/releases/v1/"
    lookup = manifest_of(stack, "v1").index.lookup
    assert lookup is not None
    signature = release_key(DATASET, "v1", SIGNATURE)
    for scopes, status in (
        ((shards, release), 200),
        ((shards, signature, lookup.key), 200),
        ((shards,), 403),
        ((release,), 403),
        ((shards, f"{DATASET}/releases/v2/"), 403),
        ((shards, signature), 403),
        (("other-dataset/",), 403),
    ):
        answer = released.get("v1", "small/001.txt", mint(stack, *scopes))
        assert answer.status_code == status, scopes
        if status == 403:
            assert problem(answer)["code"] == "key_not_allowed"
    answer = requests.get(f"{released.gateway}/f/{DATASET}/v1/small/001.txt", timeout=10)
    assert (answer.status_code, problem(answer)["code"]) == (401, "token_missing")


def test_what_the_issuer_grants_is_enough(stack: RunningStack, released: Released) -> None:
    answer = requests.post(
        f"{stack.settings.issuer_url}/v1/tokens",
        json={"dataset": DATASET, "version": "v1"},
        headers={"Authorization": f"Bearer {stack.settings.api_key}"},
        timeout=10,
    ).json()
    assert released.get("v1", "empty.txt", answer["token"]).status_code == 200
    assert released.get("v2", "empty.txt", answer["token"]).status_code == 403


def test_a_release_is_there_as_long_as_its_signature_is(stack: RunningStack, released: Released) -> None:
    """Yanked it is still there for who names it; without its signature it is unfinished, or was removed."""
    store = bucket(stack.settings)
    for name in (MANIFEST, SIGNATURE):
        store.put(release_key("edge-copy", "v1", name), store.get(release_key(DATASET, "v1", name)))
    lookup = manifest_of(stack, "v1").index.lookup
    assert lookup is not None
    store.put(lookup.key.replace(DATASET, "edge-copy"), store.get(lookup.key))
    url, token = f"{released.gateway}/f/edge-copy/v1/empty.txt", mint(stack, "edge-copy/")
    assert fetch(url, token).status_code == 200
    store.put(release_key("edge-copy", "v1", YANKED), b"{}\n")
    assert fetch(url, token).status_code == 200
    store.delete(release_key("edge-copy", "v1", SIGNATURE))
    until(lambda: fetch(url, token).status_code == 404, 15)
    # No shard was copied: what the release names is not there.
    store.put(release_key("edge-copy", "v1", SIGNATURE), store.get(release_key(DATASET, "v1", SIGNATURE)))
    answer = fetch(url.replace("empty.txt", "added"), token)
    assert answer.status_code == 404
    answer = fetch(url.replace("empty.txt", "small/001.txt"), token)
    assert (answer.status_code, problem(answer)["code"]) == (502, "origin_error")
    assert store.head(latest_key("edge-copy")) is None
    assert fetch(url.replace("/v1/", "/latest/"), token).status_code == 404


@pytest.fixture(scope="module")
def damaged(stack: RunningStack, released: Released, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Dataset and token of a release whose one shard the store has damaged within the last chunk of a large file."""
    from flows.release import release

    source = tmp_path_factory.mktemp("damaged")
    (source / "large.bin").write_bytes(random.Random(9).randbytes(20_000_000))
    (source / "small.txt").write_bytes(b"small and whole")
    release(source=str(source), dataset="edge-damaged", version="v1", smoke=False)
    store = bucket(stack.settings)
    manifest = parse(store.get(release_key("edge-damaged", "v1", MANIFEST)))
    described = manifest.index.lookup
    assert described is not None
    data = store.get(described.key)
    found = Lookup(lambda offset, length: data[offset : offset + length], len(data)).find("large.bin")
    assert found is not None
    (shard,) = manifest.files
    stored = bytearray(store.get(shard.key))
    last = found.pieces[-1]
    stored[last.frame_offset + last.frame_length // 2] ^= 1
    store.put(shard.key, bytes(stored))
    return "edge-damaged", mint(stack, "edge-damaged/")


def test_a_damaged_frame_breaks_the_transfer_off(released: Released, damaged: tuple[str, str]) -> None:
    dataset, token = damaged
    url = f"{released.gateway}/f/{dataset}/v1"
    assert fetch(f"{url}/small.txt", token).content == b"small and whole"
    headers = {"Authorization": f"Bearer {token}", "Accept-Encoding": "identity"}
    with requests.get(f"{url}/large.bin", headers=headers, timeout=60, stream=True) as answer:
        assert (answer.status_code, answer.headers["Content-Length"]) == (200, "20000000")
        blocks: list[bytes] = []
        with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError)):
            blocks.extend(answer.iter_content(65536))
    got = b"".join(blocks)
    whole = random.Random(9).randbytes(20_000_000)
    assert got == whole[: len(got)]
    assert len(got) < len(whole)
    answer = fetch(f"{url}/large.bin", token, range="bytes=-10")
    assert (answer.status_code, problem(answer)["code"]) == (502, "origin_error")
    assert fetch(f"{url}/large.bin", token, range="bytes=0-9").content == whole[:10]


def test_curl_gets_a_file_whole_decoded_and_by_a_range(
    stack: RunningStack, released: Released, tmp_path: Path, tool: Callable[[str], str]
) -> None:
    """The examples of docs/client.md."""
    curl = tool("curl")
    data = released.trees["v2"]["deep/down/here/large.txt"]
    done = stack.lading("url", f"{DATASET}/deep/down/here/large.txt")
    assert done.returncode == 0, done.stderr
    url = done.stdout.strip()
    assert "/f/edge-files/v2/deep/down/here/large.txt?token=" in url
    part = subprocess.run([curl, "-sSf", "-r", "0-99", url], capture_output=True, check=True)
    assert part.stdout == data[:100]
    version = subprocess.run([curl, "--version"], capture_output=True, text=True, check=True).stdout
    for options in (["--compressed"], []):
        target = tmp_path / f"file{len(options)}"
        subprocess.run([curl, "-sSf", *options, "-o", str(target), url], check=True)
        assert target.read_bytes() == data, version
    coded = subprocess.run([curl, "-sSf", "-H", "Accept-Encoding: zstd", url], capture_output=True, check=True).stdout
    assert len(coded) < len(data) / 2
    assert subprocess.run([tool("zstd"), "-dc"], input=coded, capture_output=True, check=True).stdout == data


def test_url_describes_a_file_and_says_what_is_wrong_with_another(stack: RunningStack, released: Released) -> None:
    path, data = "naïve/ünïcode-名前.txt", released.trees["v1"]["naïve/ünïcode-名前.txt"]
    done = stack.lading("url", f"{DATASET}@v1/{path}", "--json")
    (entry,) = json.loads(done.stdout)
    assert (entry["path"], entry["size"], entry["sha256"]) == (path, len(data), hashlib.sha256(data).hexdigest())
    assert requests.get(entry["url"], timeout=10).content == data
    listed = stack.lading("url", f"{DATASET}@v1/{path}", "--aria2").stdout
    assert "  out=ünïcode-名前.txt\n" in listed
    assert f"checksum=sha-256={entry['sha256']}" in listed
    for arguments, code, words in (
        ((f"{DATASET}/no/such",), 4, "has no file of this path"),
        ((f"{DATASET}/small",), 4, "has no file of this path"),
        ((f"{DATASET}/empty folder",), 4, "that of a folder"),
        ((f"{DATASET}/a", "b"), 2, "named twice"),
    ):
        done = stack.lading("url", *arguments)
        assert (done.returncode, words in done.stderr) == (code, True), done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_the_event_names_release_and_path(stack: RunningStack, released: Released) -> None:
    import gzip

    token = mint(stack, f"{DATASET}/")
    path = "naïve/ünïcode-名前.txt"
    size = len(released.trees["v2"][path])
    assert released.get("latest", path, token, user_agent="edge event test").status_code == 200
    store = bucket(stack.settings)
    logs = type(store)(store.client, stack.settings.logs_bucket)
    wanted = f"{DATASET}/releases/v2/files/{path}"
    deadline = time.monotonic() + 30
    while True:
        lines = [
            line for found in logs.list("logs/gateway/") for line in gzip.decompress(logs.get(found.key)).splitlines()
        ]
        events = [event for event in map(json.loads, lines) if event["user_agent"] == "edge event test"]
        if events:
            break
        assert time.monotonic() < deadline
        time.sleep(0.5)
    (event,) = events
    assert (event["key"], event["dataset"], event["bytes_sent"], event["code"]) == (wanted, DATASET, size, "ok")


def test_the_selfhosted_gateway_serves_files_up_to_its_own_limit(
    stack: RunningStack, released: Released, tmp_path: Path
) -> None:
    with selfhosted(stack, tmp_path / "home", FILE_DECODE_MAX_BYTES="50000") as (gateway, _):
        here = Released(gateway, released.token, released.trees)
        for path, data in released.trees["v2"].items():
            answer = here.get("v2", path)
            if len(data) <= 50_000:
                assert (answer.status_code, answer.content == data) == (200, True), path
            else:
                assert (answer.status_code, problem(answer)["code"]) == (406, "not_acceptable"), path
        data = released.trees["v2"]["large.bin"]
        assert here.get("v2", "large.bin", range="bytes=-50000").content == data[-50_000:]
        assert decoded(here.get("v2", "large.bin", accept_encoding="zstd").content) == data
