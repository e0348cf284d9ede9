"""Release to pull on the real stack: what comes out is what went in."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from running_stack import RunningStack
from trees import changed, listing, varied

from lading.client.pull import PullResult, pull
from lading.manifest import parse
from lading.names import MANIFEST, latest_key, release_key
from lading.objectstore import bucket


def release(stack: RunningStack, source: Path, dataset: str, version: str, **options: object) -> dict:
    """Run the release flow in this process: the ephemeral Prefect server starts once per session."""
    from flows.release import release as flow

    return flow(source=str(source), dataset=dataset, version=version, **options)


def pull_to(stack: RunningStack, reference: str, dest: Path) -> PullResult:
    return pull(reference, dest, stack.settings)


def test_a_pulled_release_equals_its_source(stack: RunningStack, dataset: str, tmp_path: Path) -> None:
    source = varied(tmp_path / "source")
    release(stack, source, dataset, "v1")

    result = pull_to(stack, dataset, tmp_path / "dest")

    assert listing(tmp_path / "dest") == listing(source)
    assert result.version == "v1"
    assert result.already_bytes == 0


def test_an_update_fetches_what_changed_and_removes_what_is_gone(
    stack: RunningStack, dataset: str, tmp_path: Path
) -> None:
    source, dest = varied(tmp_path / "source"), tmp_path / "dest"
    first = release(stack, source, dataset, "v1")
    pull_to(stack, dataset, dest)
    second = release(stack, changed(source), dataset, "v2")

    result = pull_to(stack, dataset, dest)

    assert listing(dest) == listing(source)
    assert second["delta"] == {
        "from": "v1",
        "added": 2,
        "modified": 3,
        "removed": 2,
        "new_bytes": second["delta"]["new_bytes"],
        "reused_bytes": second["delta"]["reused_bytes"],
    }
    # The insertion costs the chunks around it, not the file of 12 MiB behind it.
    assert second["new_stored_bytes"] < 4.5 * 1024 * 1024 < first["new_stored_bytes"]
    assert result.fetched_bytes < second["new_stored_bytes"] + 100_000
    assert result.removed_files == 2
    assert result.copied_bytes > 6 * 1024 * 1024


def test_pulling_what_is_there_fetches_nothing_but_the_manifest(
    stack: RunningStack, dataset: str, tmp_path: Path
) -> None:
    release(stack, varied(tmp_path / "source"), dataset, "v1")
    pull_to(stack, dataset, tmp_path / "dest")

    result = pull_to(stack, dataset, tmp_path / "dest")

    assert result.made_files == 0
    assert result.fetched_bytes < 10_000


def test_a_damaged_file_is_made_right_and_others_are_kept(stack: RunningStack, dataset: str, tmp_path: Path) -> None:
    source, dest = varied(tmp_path / "source"), tmp_path / "dest"
    release(stack, source, dataset, "v1")
    pull_to(stack, dataset, dest)
    (dest / "small/001.txt").write_bytes(b"damaged")
    (dest / "deep/down/here/large.txt").unlink()

    result = pull_to(stack, dataset, dest)

    assert listing(dest) == listing(source)
    assert result.made_files == 2


def test_a_tree_from_elsewhere_is_adopted_by_its_hashes(stack: RunningStack, dataset: str, tmp_path: Path) -> None:
    source = varied(tmp_path / "source")
    release(stack, source, dataset, "v1")
    subprocess.run(["cp", "-r", "--no-preserve=timestamps", str(source), str(tmp_path / "dest")], check=True)

    result = pull_to(stack, dataset, tmp_path / "dest")

    assert result.made_files == 0
    assert listing(tmp_path / "dest", mtimes=False) == listing(source, mtimes=False)


def test_files_that_lading_did_not_write_stay(
    stack: RunningStack, dataset: str, make_tree: Callable[..., Path]
) -> None:
    release(stack, make_tree("v1", {"a.txt": b"a", "old.txt": b"old", "kept.txt": b"kept"}), dataset, "v1")
    dest = make_tree("dest", {"mine.txt": b"mine"})
    pull_to(stack, dataset, dest)
    (dest / "kept.txt").write_bytes(b"changed by the user")
    release(stack, make_tree("v2", {"a.txt": b"a"}), dataset, "v2")

    pull_to(stack, dataset, dest)

    assert {path.name: path.read_bytes() for path in dest.iterdir() if path.is_file()} == {
        "a.txt": b"a",
        "mine.txt": b"mine",
        "kept.txt": b"changed by the user",
    }


def test_files_that_swap_names_are_updated_without_fetching_them(
    stack: RunningStack, dataset: str, make_tree: Callable[..., Path]
) -> None:
    one, other = b"1" * 200_000, b"2" * 200_000
    release(stack, make_tree("v1", {"one": one, "other": other, "changed": b"old"}), dataset, "v1")
    pull_to(stack, dataset, make_tree("dest", {}))
    dest = make_tree("dest", {})
    pull_to(stack, dataset, dest)
    source = make_tree("v2", {"one": other, "other": one, "changed": b"new"})
    release(stack, source, dataset, "v2")

    result = pull_to(stack, dataset, dest)

    assert listing(dest, mtimes=False) == listing(source, mtimes=False)
    assert result.copied_bytes == 400_000


def test_a_file_may_become_a_folder_and_back(stack: RunningStack, dataset: str, make_tree: Callable[..., Path]) -> None:
    trees = [
        make_tree("v1", {"thing": b"a file", "x/y/z": b"deep"}),
        make_tree("v2", {"thing/inside": b"a folder", "x": b"now a file"}),
        make_tree("v3", {"thing": b"a file again", "x/y/z": b"deep again"}),
    ]
    dest = make_tree("dest", {})
    for number, tree in enumerate(trees):
        release(stack, tree, dataset, f"v{number}", smoke=False)
        pull_to(stack, dataset, dest)
        assert listing(dest, mtimes=False) == listing(tree, mtimes=False)


def test_zstd_and_tar_restore_a_base_release(
    stack: RunningStack, dataset: str, tmp_path: Path, tool: Callable[[str], str]
) -> None:
    source = varied(tmp_path / "source")
    release(stack, source, dataset, "v1")
    store = bucket(stack.settings)
    manifest = parse(store.get(release_key(dataset, "v1", MANIFEST)))
    restored = tmp_path / "restored"
    restored.mkdir()
    names: list[str] = []
    for shard in manifest.files:
        (tmp_path / "shard").write_bytes(store.get(shard.key))
        raw = subprocess.run([tool("zstd"), "-dc", str(tmp_path / "shard")], capture_output=True, check=True).stdout
        listed = subprocess.run([tool("tar"), "t"], input=raw, capture_output=True, check=True).stdout
        names += listed.decode("unicode_escape").splitlines()
        subprocess.run([tool("tar"), "x", "-C", str(restored)], input=raw, check=True)

    assert "bin/run.sh" in names
    assert listing(restored, mtimes=False) == listing(source, mtimes=False)


def test_labels_and_card_come_with_the_release(
    stack: RunningStack, dataset: str, make_tree: Callable[..., Path], tmp_path: Path
) -> None:
    import duckdb

    labels, card = tmp_path / "labels.csv", tmp_path / "card.toml"
    labels.write_text("path,label\na.txt,first\n")
    card.write_text('title = "Two files"\nlicense = "CC0-1.0"\n[[sources]]\nname = "me"\nshare = 1.0\n')
    source = make_tree("v1", {"a.txt": b"a", "b.txt": b"b"})

    release(stack, source, dataset, "v1", labels=str(labels), card=str(card))

    manifest = parse(bucket(stack.settings).get(release_key(dataset, "v1", MANIFEST)))
    assert (manifest.title, manifest.license, manifest.sources[0].name) == ("Two files", "CC0-1.0", "me")
    (tmp_path / "files.parquet").write_bytes(bucket(stack.settings).get(manifest.index.files.key))
    rows = duckdb.connect().execute(f"SELECT path, label FROM '{tmp_path}/files.parquet' ORDER BY path").fetchall()
    assert rows == [("a.txt", "first"), ("b.txt", None)]


def test_latest_names_the_promoted_manifest(stack: RunningStack, dataset: str, make_tree: Callable[..., Path]) -> None:
    release(stack, make_tree("v1", {"a": b"1"}), dataset, "v1")
    release(stack, make_tree("v2", {"a": b"2"}), dataset, "v2", promote=False)
    store = bucket(stack.settings)
    manifest = store.get(release_key(dataset, "v1", MANIFEST))
    assert json.loads(store.get(latest_key(dataset))) == {
        "version": "v1",
        "manifest_sha256": hashlib.sha256(manifest).hexdigest(),
    }

    assert stack.lading("promote", dataset, "v2").returncode == 0

    assert json.loads(store.get(latest_key(dataset)))["version"] == "v2"


def test_a_release_that_was_killed_is_repeated_as_it_was(
    stack: RunningStack, dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run dies between the manifest and `latest`, the worst moment; the second one completes it."""
    import flows.release as module
    from lading.errors import ConflictError

    source = varied(tmp_path / "source")

    def die(*_: object) -> None:
        raise SystemExit("killed")

    with monkeypatch.context() as patched:
        patched.setattr(module, "promote_task", die)
        with pytest.raises(SystemExit):
            release(stack, source, dataset, "v1", smoke=False)
    store = bucket(stack.settings)
    before = store.get(release_key(dataset, "v1", MANIFEST))
    assert store.head(latest_key(dataset)) is None

    again = release(stack, source, dataset, "v1", smoke=False)

    assert again["uploaded_bytes"] == 0
    assert store.get(release_key(dataset, "v1", MANIFEST)) == before
    assert store.head(latest_key(dataset)) is not None
    with pytest.raises(ConflictError, match="exists already"):
        release(stack, source, dataset, "v1", smoke=False)


def test_every_object_of_a_release_comes_with_its_exact_length_and_hash(
    stack: RunningStack, dataset: str, make_tree: Callable[..., Path]
) -> None:
    """Also to clients that would take a compressed answer."""
    release(stack, make_tree("v1", {"a.txt": b"a" * 5000}), dataset, "v1")
    body = {"dataset": dataset}
    headers = {"Authorization": f"Bearer {stack.settings.api_key}"}
    grant = requests.post(f"{stack.settings.issuer_url}/v1/tokens", json=body, headers=headers, timeout=10).json()
    assert len(grant["files"]) == 5
    for entry in grant["files"]:
        answer = requests.get(
            entry["url"],
            headers={"Authorization": f"Bearer {grant['token']}", "Accept-Encoding": "gzip, br, zstd"},
            timeout=10,
        )
        assert answer.status_code == 200
        assert "Content-Encoding" not in answer.headers
        assert int(answer.headers["Content-Length"]) == len(answer.content)
        if entry["sha256"]:
            assert hashlib.sha256(answer.content).hexdigest() == entry["sha256"]
            assert answer.headers["ETag"] == f'"{entry["sha256"]}"'


def test_modes_times_links_and_empty_folders_follow_the_release(
    stack: RunningStack, dataset: str, tmp_path: Path
) -> None:
    source, dest = tmp_path / "source", tmp_path / "dest"
    (source / "empty").mkdir(parents=True)
    for name in ("mode.sh", "time.txt", "read-only.txt", "kept.txt"):
        (source / name).write_bytes(name.encode())
    (source / "read-only.txt").chmod(0o444)
    (source / "gone-link").symlink_to("kept.txt")
    (source / "becomes-folder").symlink_to("kept.txt")
    release(stack, source, dataset, "v1", smoke=False)
    pull_to(stack, dataset, dest)
    assert listing(dest) == listing(source)
    (source / "mode.sh").chmod(0o755)
    os.utime(source / "time.txt", (1_000_000_000, 1_000_000_000))
    (source / "empty").rmdir()
    (source / "gone-link").unlink()
    (source / "becomes-folder").unlink()
    (source / "becomes-folder").mkdir()
    (source / "becomes-folder" / "inside.txt").write_bytes(b"inside")
    release(stack, source, dataset, "v2", smoke=False)

    result = pull_to(stack, dataset, dest)

    assert listing(dest) == listing(source)
    assert result.made_files == 1
    pull_to(stack, f"{dataset}@v1", dest)
    assert (dest / "becomes-folder").is_symlink()
    assert (dest / "empty").is_dir()
