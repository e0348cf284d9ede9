"""The release for machines that read dataset catalogues: MLCommons Croissant 1.1 (https://docs.mlcommons.org/croissant).

It says nothing that the manifest and the index do not say, so it is made from them, and needs no signature of its own:
whoever trusts the manifest can compare. Its URLs are the gateway's, without a token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lading.index import CHUNK_COLUMNS, FILE_COLUMNS
from lading.manifest import Manifest, StoredObject
from lading.names import INDEX_CHUNKS, INDEX_FILES, MANIFEST, release_key, release_prefix
from lading.tables import Tables, literal

Columns = Sequence[tuple[str, str]]
"""Names and DuckDB types of the columns of a Parquet file, in order."""

CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The context of the specification, whole, as its validator asks for."""

# The validator's reader knows Parquet by this name only; the registered one is application/vnd.apache.parquet.
PARQUET = "application/x-parquet"
SHARD = "application/zstd"

TYPES = {
    "BOOLEAN": "sc:Boolean",
    "DATE": "sc:Date",
    "TIME": "sc:Time",
    "FLOAT": "sc:Float",
    "DOUBLE": "sc:Float",
    **dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"), "sc:Integer"),
    **dict.fromkeys(("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"), "sc:Integer"),
}
"""Croissant's types for DuckDB's; what is not here is text."""

MEANINGS = {
    "file_id": "Number of the file, from 0 in the order of paths",
    "path": "Path of the file within the dataset",
    "type": "file, dir (an empty folder) or symlink",
    "target": "Target of a symbolic link",
    "size": "Size in bytes",
    "sha256": "SHA-256 of the content, 32 bytes",
    "mode": "Permission bits",
    "mtime": "Time of the last change, seconds since the epoch",
    "seq": "Number of the chunk within its file, from 0",
    "chunk_sha256": "SHA-256 of the chunk, 32 bytes; null where the chunk is the whole file",
    "length": "Length of the chunk in bytes",
    "shard": "SHA-256 of the shard that holds the chunk, 32 bytes",
    "frame_offset": "Offset of the zstd frame within the shard, in bytes",
    "frame_length": "Length of the zstd frame, in bytes",
    "inner_offset": "Offset of the chunk within the decompressed frame, in bytes",
}

_SPDX = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")


def columns_of(parquet: Path) -> Columns:
    """The columns of a Parquet file on disk."""
    with Tables() as tables:
        described = f"SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM read_parquet({literal(parquet)}))"
        return [(str(name), str(kind)) for name, kind in tables.rows(described)]


def croissant(
    manifest: Manifest, manifest_object: StoredObject, columns: Mapping[str, Columns], gateway_url: str | None
) -> bytes:
    """The Croissant document of a release, as canonical JSON.

    `columns` are those of INDEX_FILES and INDEX_CHUNKS. `gateway_url` is the base of the URLs; without one they are
    relative to the document. Pure: the same release gives the same bytes.
    """
    index = manifest.index

    def file(stored: StoredObject, name: str, kind: str, what: str) -> dict[str, Any]:
        return {
            "@type": "cr:FileObject",
            "@id": name,
            "name": name,
            "description": what,
            "contentUrl": _url(manifest, stored.key, gateway_url),
            "contentSize": f"{stored.size} B",
            "encodingFormat": kind,
            "sha256": stored.sha256,
        }

    distribution = [
        file(manifest_object, MANIFEST, "application/json", "The signed list of what the release holds"),
        file(index.files, INDEX_FILES, PARQUET, "Index: one row for each file, link and empty folder"),
        file(index.chunks, INDEX_CHUNKS, PARQUET, "Index: where each chunk of each file lies"),
        *(
            file(shard, f"{shard.sha256}.tar.zst", SHARD, f"Shard ({shard.kind}): a tar in independent zstd frames")
            for shard in manifest.files
        ),
    ]
    totals = manifest.totals
    document: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": manifest.dataset,
        "alternateName": manifest.title,
        "description": f"{manifest.title or manifest.dataset}, release {manifest.version}: {totals.files} files of "
        f"{totals.bytes} bytes",
        "version": manifest.version,
        "citeAs": f"{manifest.title or manifest.dataset}, release {manifest.version} ({manifest.created_at:%Y})",
        "datePublished": manifest.created_at.strftime("%Y-%m-%d"),
        "license": license_url(manifest.license),
        "url": _url(manifest, manifest_object.key, gateway_url),
        "keywords": [f"{name}: {value}" for name, value in sorted(manifest.labels.items())],
        "isBasedOn": [
            {"@type": "sc:CreativeWork", "name": s.name, "url": s.url, "license": license_url(s.license)}
            for s in manifest.sources
        ],
        "isLiveDataset": False,
        "distribution": distribution,
        "recordSet": [
            _records("files", "One record for each file, link and empty folder", INDEX_FILES, columns, FILE_COLUMNS),
            _records("chunks", "Where each chunk of each file lies", INDEX_CHUNKS, columns, CHUNK_COLUMNS),
        ],
    }
    text = json.dumps(_present(document), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return text.encode() + b"\n"


def license_url(name: str | None) -> str | None:
    """The page of an SPDX licence; other text as it is."""
    return f"https://spdx.org/licenses/{name}" if name and _SPDX.fullmatch(name) else name


def manifest_object(manifest: Manifest, data: bytes, sha256: str) -> StoredObject:
    """Facts of the manifest itself."""
    key = release_key(manifest.dataset, manifest.version, MANIFEST)
    return StoredObject(key=key, size=len(data), sha256=sha256)


def _records(name: str, what: str, file: str, columns: Mapping[str, Columns], own: Sequence[str]) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": what,
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{name}/{column}",
                "name": column,
                "description": MEANINGS[column] if column in own else "Label given to the release",
                **_type(kind),
                "source": {"fileObject": {"@id": file}, "extract": {"column": column}},
            }
            for column, kind in columns[file]
            # Croissant has no type for these; they are in the Parquet file all the same.
            if not kind.startswith(("STRUCT", "MAP", "UNION")) and "[][]" not in kind
        ],
    }


def _type(kind: str) -> dict[str, Any]:
    """Croissant's type for a DuckDB type, a list of one dimension too."""
    if kind.endswith("[]"):
        return {**_type(kind[:-2]), "isArray": True, "arrayShape": "-1"}
    if kind.startswith("TIMESTAMP"):
        return {"dataType": "sc:DateTime"}
    if kind.startswith("DECIMAL"):
        return {"dataType": "sc:Float"}
    return {"dataType": TYPES.get(kind, "sc:Text")}


def _url(manifest: Manifest, key: str, gateway_url: str | None) -> str:
    if gateway_url:
        return f"{gateway_url}/d/{quote(key, safe='/')}"
    own = release_prefix(manifest.dataset, manifest.version)
    return quote(key[len(own) :] if key.startswith(own) else f"../../{key[len(manifest.dataset) + 1 :]}", safe="/")


def _present(value: Any) -> Any:
    """The document without what is not known."""
    if isinstance(value, dict):
        return {name: _present(part) for name, part in value.items() if part is not None and part != []}
    if isinstance(value, list):
        return [_present(part) for part in value]
    return value
