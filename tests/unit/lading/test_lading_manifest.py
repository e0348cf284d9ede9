from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lading.errors import IntegrityError
from lading.manifest import (
    Delta,
    Index,
    IndexObject,
    Manifest,
    Shard,
    Source,
    Totals,
    parse,
)
from lading.names import release_key, shard_key

ONE, TWO = "1" * 64, "2" * 64


def a_manifest(**changes: Any) -> Manifest:
    fields: dict[str, Any] = {
        "dataset": "data",
        "version": "v1",
        "parent": None,
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
        "title": "Größe",
        "labels": {"task": "classification"},
        "sources": (Source(name="s", share=0.5),),
        "files": (Shard(key=shard_key("data", ONE), size=10, sha256=ONE, kind="base"),),
        "index": Index(
            files=IndexObject(key=release_key("data", "v1", "files.parquet"), size=1, sha256=ONE, rows=1),
            chunks=IndexObject(key=release_key("data", "v1", "chunks.parquet"), size=1, sha256=TWO, rows=1),
        ),
        "totals": Totals(files=1, bytes=1, chunks=1, stored_bytes=10),
        "delta": Delta(from_=None, added=1, modified=0, removed=0, new_bytes=1, reused_bytes=0),
    }
    return Manifest(**{**fields, **changes})


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    """A manifest in canonical form with a change that the model would not make."""
    document = json.loads(a_manifest().to_bytes())
    change(document)
    return json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def test_a_manifest_survives_the_round_trip() -> None:
    assert parse(a_manifest().to_bytes()) == a_manifest()


@given(
    title=st.text(st.characters(exclude_categories=["Cs"])),
    labels=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.text('aé"\\\n\u2028')),
    share=st.floats(0, 1),
    size=st.integers(0, 2**63),
    seconds=st.integers(0, 2**32),
)
@settings(deadline=None)
def test_any_content_survives_the_round_trip(
    title: str, labels: dict[str, str], share: float, size: int, seconds: int
) -> None:
    made = a_manifest(
        title=title,
        labels=labels,
        sources=(Source(name=title, share=share),),
        totals=Totals(files=size, bytes=size, chunks=size, stored_bytes=size),
        created_at=datetime.fromtimestamp(seconds, UTC),
    )
    assert parse(made.to_bytes()) == made


def test_the_form_is_canonical() -> None:
    data = a_manifest().to_bytes()
    assert data.endswith(b"}\n")
    assert "Größe".encode() in data
    document = json.loads(data)
    assert json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode() + b"\n" == data
    assert document["schema"] == "lading/1"
    assert document["created_at"] == "2026-01-01T00:00:00Z"
    assert document["delta"]["from"] is None


def test_a_manifest_without_a_lookup_has_the_form_that_it_had_before_there_were_any() -> None:
    assert "lookup" not in json.loads(a_manifest().to_bytes())["index"]


def test_a_lookup_is_part_of_the_manifest_and_must_be_its_own() -> None:
    lookup = IndexObject(key=release_key("data", "v1", "lookup.bin"), size=1, sha256=ONE, rows=1)
    made = a_manifest(index=a_manifest().index.model_copy(update={"lookup": lookup}))
    assert parse(made.to_bytes()) == made
    foreign = made.to_bytes().replace(b"data/releases/v1/lookup.bin", b"data/releases/v2/lookup.bin")
    with pytest.raises(IntegrityError, match="lookup"):
        parse(foreign)


def test_created_at_is_written_in_utc() -> None:
    east = datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    assert a_manifest(created_at=east).to_bytes() == a_manifest().to_bytes()


@pytest.mark.parametrize(
    "respell",
    [
        lambda data: data.rstrip(b"\n"),
        lambda data: data + b"\n",
        lambda data: data.replace(b":", b": ", 1),
        lambda data: json.dumps(json.loads(data), sort_keys=True, separators=(",", ":")).encode() + b"\n",
        lambda data: data.replace(b'{"chunking"', b'{"dataset":"other","chunking"'),
        lambda data: data.replace(b'"size":10', b'"size":10.0'),
        lambda data: data.replace(b'"size":10', b'"size":"10"'),
        lambda data: data.replace(b"00:00:00Z", b"00:00:00+00:00"),
        lambda data: data.replace(b"00:00:00Z", b"00:00:00.5Z"),
    ],
    ids=["no newline", "two newlines", "space", "escapes", "key twice", "float", "text", "offset", "fraction"],
)
def test_the_same_content_in_another_spelling_is_refused(respell: Callable[[bytes], bytes]) -> None:
    data = respell(a_manifest().to_bytes())
    assert data != a_manifest().to_bytes()
    with pytest.raises(IntegrityError):
        parse(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(extra=1), "extra"),
        (lambda d: d["files"][0].update(extra=1), "files.0.extra"),
        (lambda d: d["index"]["files"].update(extra=1), "index.files.extra"),
        (lambda d: d.pop("totals"), "totals"),
        (lambda d: d.update(schema="lading/2"), "schema"),
        (lambda d: d["files"][0].update(kind="other"), "kind"),
        (lambda d: d["files"][0].update(size=-1), "size"),
        (lambda d: d["files"][0].update(sha256=ONE.upper().replace("1", "A")), "sha256"),
        (lambda d: d.update(created_at="2026-01-01T00:00:00"), "created_at"),
        (lambda d: d["sources"][0].update(share=1.1), "share"),
        (lambda d: d["compression"].update(level=23), "level"),
    ],
)
def test_a_field_that_is_unknown_missing_or_wrong_is_refused_by_name(
    change: Callable[[dict[str, Any]], object], message: str
) -> None:
    with pytest.raises(IntegrityError, match=message):
        parse(changed(change))


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["files"][0].update(key="data/shards/other.tar.zst"),
        lambda d: d["files"][0].update(key=shard_key("other", ONE)),
        lambda d: d["files"][0].update(sha256=TWO),
        lambda d: d["index"]["files"].update(key=release_key("data", "v2", "files.parquet")),
        lambda d: d["index"]["chunks"].update(key="other/releases/v1/chunks.parquet"),
    ],
)
def test_a_key_that_does_not_belong_to_the_release_is_refused(change: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(IntegrityError, match="key"):
        parse(changed(change))


@pytest.mark.parametrize(("field", "value"), [("dataset", "../data"), ("version", "latest"), ("version", "a/b")])
def test_a_bad_name_in_a_manifest_is_an_integrity_error(field: str, value: str) -> None:
    with pytest.raises(IntegrityError):
        parse(changed(lambda d: d.update({field: value})))


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b"{", b"\xff", b'{"title":"\\ud800"}', b"NaN"])
def test_what_is_no_manifest_at_all_is_an_integrity_error(data: bytes) -> None:
    with pytest.raises(IntegrityError, match="not valid"):
        parse(data)
