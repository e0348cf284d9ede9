"""Upload: a shard to its immutable key."""

from __future__ import annotations

from dataclasses import dataclass

from lading.names import shard_key
from lading.objectstore import bucket
from lading.settings import Settings
from tasks.pack import PackedShard
from tasks.progress import advance
from tasks.work import WorkDir


@dataclass(frozen=True, slots=True)
class Upload:
    """What was stored: its size, and how many bytes were sent, as some or all may have been there already."""

    key: str
    size: int
    sent: int


def upload_shard(settings: Settings, dataset: str, shard: PackedShard, work: WorkDir) -> Upload:
    """Store a packed shard unless it is there already, and free its place on disk.

    The work folder keeps what the store has of it, so that a later run sends the rest only.
    """
    key = shard_key(dataset, shard.sha256)
    sent = bucket(settings).upload(
        shard.path,
        key,
        shard.sha256,
        journal=work.upload(shard.sha256),
        progress=lambda count: advance("upload", count),
    )
    # A run that failed meanwhile has removed its work folder.
    shard.path.unlink(missing_ok=True)
    return Upload(key, shard.size, sent)
