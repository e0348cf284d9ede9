"""Croissant: what the document says is what the manifest and the index say, and its validator agrees."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from lading.manifest import Delta, Index, IndexObject, Manifest, Shard, Source, Totals
from lading.names import INDEX_CHUNKS, INDEX_FILES, release_key, shard_key
from tasks.croissant import croissant, license_url, manifest_object

SHARD = "a" * 64
FILES = [("file_id", "BIGINT"), ("path", "VARCHAR"), ("sha256", "BLOB"), ("mtime", "BIGINT")]
CHUNKS = [("file_id", "BIGINT"), ("chunk_sha256", "BLOB")]


def make(**changes: Any) -> Manifest:
    def index(name: str) -> IndexObject:
        return IndexObject(key=release_key("data", "v1", f"{name}.0.parquet"), size=7, sha256="b" * 64, rows=1)

    return Manifest(
        **{
            "dataset": "data",
            "version": "v1",
            "parent": None,
            "created_at": datetime(2026, 1, 2, tzinfo=UTC),
            "files": (Shard(key=shard_key("data", SHARD), size=5, sha256=SHARD, kind="base"),),
            "index": Index(files=index("files"), chunks=index("chunks")),
            "totals": Totals(files=1, bytes=2, chunks=1, stored_bytes=5),
            "delta": Delta(from_=None, added=1, modified=0, removed=0, new_bytes=2, reused_bytes=0),
            **changes,
        }
    )


def document(
    manifest: Manifest, labels: list[tuple[str, str]] | None = None, gateway: str | None = "https://gw.example"
) -> dict[str, Any]:
    data = manifest.to_bytes()
    made = croissant(
        manifest,
        manifest_object(manifest, data, hashlib.sha256(data).hexdigest()),
        {INDEX_FILES: FILES + (labels or []), INDEX_CHUNKS: CHUNKS},
        gateway,
    )
    assert made.endswith(b"\n")
    parsed: dict[str, Any] = json.loads(made)
    return parsed


def fields(made: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {field["@id"]: field for records in made["recordSet"] for field in records["field"]}


def test_every_object_has_its_size_hash_and_a_url_without_a_token() -> None:
    manifest = make()
    found = {item["@id"]: item for item in document(manifest)["distribution"]}
    assert set(found) == {"manifest.json", "files.parquet", "chunks.parquet", f"{SHARD}.tar.zst"}
    shard = found[f"{SHARD}.tar.zst"]
    assert (shard["contentSize"], shard["sha256"]) == ("5 B", SHARD)
    assert shard["contentUrl"] == f"https://gw.example/d/data/shards/{SHARD}.tar.zst"
    assert found["manifest.json"]["sha256"] == hashlib.sha256(manifest.to_bytes()).hexdigest()
    assert not [item for item in found.values() if "?" in item["contentUrl"] or "token" in item["contentUrl"]]


def test_without_a_gateway_urls_are_relative_to_the_document() -> None:
    found = {item["@id"]: item["contentUrl"] for item in document(make(), gateway=None)["distribution"]}
    assert found == {
        "manifest.json": "manifest.json",
        "files.parquet": "files.0.parquet",
        "chunks.parquet": "chunks.0.parquet",
        f"{SHARD}.tar.zst": f"../../shards/{SHARD}.tar.zst",
    }


def test_the_same_release_gives_the_same_bytes() -> None:
    assert document(make()) == document(make())


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("VARCHAR", {"dataType": "sc:Text"}),
        ("BOOLEAN", {"dataType": "sc:Boolean"}),
        ("UTINYINT", {"dataType": "sc:Integer"}),
        ("DOUBLE", {"dataType": "sc:Float"}),
        ("DECIMAL(3,1)", {"dataType": "sc:Float"}),
        ("DATE", {"dataType": "sc:Date"}),
        ("TIMESTAMP WITH TIME ZONE", {"dataType": "sc:DateTime"}),
        ("VARCHAR[]", {"dataType": "sc:Text", "isArray": True, "arrayShape": "-1"}),
        ("BIGINT[]", {"dataType": "sc:Integer", "isArray": True, "arrayShape": "-1"}),
        ("ENUM('a', 'b')", {"dataType": "sc:Text"}),
    ],
)
def test_a_label_is_a_field_of_its_type(kind: str, expected: dict[str, Any]) -> None:
    field = fields(document(make(), [("my label", kind)]))["files/my label"]
    assert field["source"] == {"fileObject": {"@id": "files.parquet"}, "extract": {"column": "my label"}}
    assert {name: field[name] for name in ("dataType", "isArray", "arrayShape") if name in field} == expected


@pytest.mark.parametrize("kind", ["STRUCT(a INTEGER)", "MAP(VARCHAR, INTEGER)", "INTEGER[][]", "STRUCT(a INTEGER)[]"])
def test_a_label_that_croissant_has_no_type_for_is_left_out(kind: str) -> None:
    assert "files/label" not in fields(document(make(), [("label", kind)]))


@pytest.mark.parametrize(
    ("given", "expected"),
    [("CC-BY-4.0", "https://spdx.org/licenses/CC-BY-4.0"), ("My own licence", "My own licence"), (None, None)],
)
def test_an_spdx_licence_becomes_its_page(given: str | None, expected: str | None) -> None:
    assert license_url(given) == expected
    assert document(make(license=given)).get("license") == expected


def test_the_card_is_in_the_document() -> None:
    made = document(make(title="Täst", labels={"task": "ocr"}, sources=(Source(name="s", url="https://s.example"),)))
    assert made["alternateName"] == "Täst"
    assert made["keywords"] == ["task: ocr"]
    assert made["isBasedOn"] == [{"@type": "sc:CreativeWork", "name": "s", "url": "https://s.example"}]
    assert (made["version"], made["datePublished"]) == ("v1", "2026-01-02")


@pytest.mark.parametrize("gateway", [None, "https://gw.example"])
@pytest.mark.parametrize("card", [{}, {"title": "T", "license": "CC0-1.0", "labels": {"a": "b"}}])
def test_the_validator_finds_no_fault(
    monkeypatch: pytest.MonkeyPatch, gateway: str | None, card: dict[str, Any]
) -> None:
    """Its advice aside: versions of datasets are rarely MAJOR.MINOR.PATCH, and a card need not name a licence."""
    import socket

    import mlcroissant

    def refuse(*_: object) -> None:
        raise AssertionError("validation asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    labels = [("label", "VARCHAR"), ("tags", "VARCHAR[]"), ("score", "DOUBLE"), ("day", "DATE")]
    dataset = mlcroissant.Dataset(jsonld=document(make(**card), labels, gateway))
    issues = dataset.metadata.ctx.issues
    assert not issues.errors
    advice = {line for line in issues.warnings if "MAJOR.MINOR.PATCH" not in line}
    assert {line for line in advice if "license" not in line or card} == set()
    assert dataset.metadata.name == "data"


def test_the_validator_would_find_a_fault() -> None:
    import mlcroissant

    made = document(make())
    del made["distribution"]
    with pytest.raises(mlcroissant.ValidationError, match="does not refer to any existing node"):
        mlcroissant.Dataset(jsonld=made)
