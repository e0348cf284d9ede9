"""The release manifest: one pydantic model, canonical JSON, signature check.

The format is `lading/1`; its JSON Schema is docs/manifest.schema.json.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from lading.errors import BadNameError, IntegrityError
from lading.names import check_dataset, check_version, release_prefix, shard_key
from lading.parameters import Chunking, Compression

SCHEMA: Final = "lading/1"

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Bytes = Annotated[int, Field(ge=0, description="bytes")]
Count = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Source(_Part):
    """Where a part of the data comes from."""

    name: str
    url: str | None = None
    license: str | None = None
    share: float = Field(default=1.0, ge=0, le=1, description="share of the dataset's bytes, 0 to 1")


class StoredObject(_Part):
    """An immutable object of the release: its key, stored size and SHA-256."""

    key: str
    size: Bytes
    sha256: Sha256


class Shard(StoredObject):
    """A shard. `base` shards were written by a full release or a compaction, `delta` shards add to them."""

    kind: Literal["base", "delta"]


class IndexObject(StoredObject):
    """One Parquet file of the index."""

    rows: Count


class Index(_Part):
    """The two Parquet files that say what the release holds and where each chunk lies.

    `lookup` says the same for readers of single files, the gateway above all; releases of early versions have none.
    """

    files: IndexObject
    chunks: IndexObject
    lookup: IndexObject | None = None


class Patches(_Part):
    """Differences to an earlier release: the pack, and the Parquet file that says what is in it."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    from_: str = Field(alias="from")
    pack: StoredObject
    index: IndexObject


class Totals(_Part):
    """`bytes` is the size of all files, `stored_bytes` that of all shards which the release refers to."""

    files: Count
    bytes: Bytes
    chunks: Count
    stored_bytes: Bytes


class Delta(_Part):
    """What changed against the parent: counts of files, and raw bytes stored anew and reused."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    from_: str | None = Field(alias="from")
    added: Count
    modified: Count
    removed: Count
    new_bytes: Bytes
    reused_bytes: Bytes


class Manifest(_Part):
    """The signed list of what a release holds."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_: Literal["lading/1"] = Field(default=SCHEMA, alias="schema")
    dataset: str
    version: str
    parent: str | None
    created_at: AwareDatetime
    title: str | None = None
    license: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    sources: tuple[Source, ...] = ()
    files: tuple[Shard, ...]
    index: Index
    totals: Totals
    delta: Delta
    patches: Patches | None = None
    chunking: Chunking = Chunking()
    compression: Compression = Compression()

    @model_validator(mode="after")
    def _keys_belong_here(self) -> Manifest:
        check_dataset(self.dataset)
        check_version(self.version)
        for shard in self.files:
            if shard.key != shard_key(self.dataset, shard.sha256):
                raise ValueError(f"shard key {shard.key!r} does not follow from its SHA-256")
        prefix = release_prefix(self.dataset, self.version)
        own: list[StoredObject] = [self.index.files, self.index.chunks]
        if self.index.lookup:
            own.append(self.index.lookup)
        if self.patches:
            own += [self.patches.pack, self.patches.index]
        for stored in own:
            if not stored.key.startswith(prefix):
                raise ValueError(f"key {stored.key!r} is not under {prefix!r}")
        return self

    def to_bytes(self) -> bytes:
        """Canonical JSON: sorted keys, UTF-8, no insignificant space, a newline at the end."""
        document = self.model_dump(mode="json", by_alias=True)
        document["created_at"] = _utc(self.created_at)
        if self.index.lookup is None:
            # Manifests that are older than the lookup keep their form, and their signature holds.
            del document["index"]["lookup"]
        return json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse(data: bytes) -> Manifest:
    """Read a manifest and insist on its canonical form. Raises IntegrityError with what is wrong.

    Its signature is to be checked first (lading.signing.verify): parsing trusts nothing but claims nothing either.
    """
    try:
        manifest = Manifest.model_validate_json(data, strict=False)
    except BadNameError as error:
        raise IntegrityError(f"the manifest is not valid: {error.message}", "tell its publisher") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "manifest"
        raise IntegrityError(
            f"the manifest is not valid: {where}: {first['msg']}", "check that Lading is up to date"
        ) from error
    if manifest.to_bytes() != data:
        raise IntegrityError("the manifest is not in canonical form", "ask the publisher to release again")
    return manifest


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a manifest, as docs/manifest.schema.json has it."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Manifest.model_json_schema(by_alias=True)}


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2, sort_keys=True))
