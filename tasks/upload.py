"""Upload: a shard to its immutable key."""

from __future__ import annotations

from dataclasses import dataclass

from prefect import task
from prefect.cache_policies import NO_CACHE

from lading.names import shard_key
from lading.objectstore import bucket
from lading.settings import Settings
from tasks.pack import PackedShard


@dataclass(frozen=True, slots=True)
class Upload:
    """What was stored: its size in bytes, and whether bytes were sent or the object was there already."""

    key: str
    size: int
    sent: bool


def upload_shard(settings: Settings, dataset: str, shard: PackedShard) -> Upload:
    """Store a packed shard unless it is there already, and free its place on disk."""
    key = shard_key(dataset, shard.sha256)
    sent = bucket(settings).upload(shard.path, key, shard.sha256)
    shard.path.unlink()
    return Upload(key, shard.size, sent)


# A retry is safe: the key names the content, and the file goes only after the store has it.
upload_task = task(name="upload", retries=3, retry_delay_seconds=[1, 5, 20], cache_policy=NO_CACHE)(upload_shard)
