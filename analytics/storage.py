"""How many bytes each dataset keeps in the object store."""

from __future__ import annotations

from collections import Counter

from lading.objectstore import Bucket


def stored_bytes_by_dataset(bucket: Bucket) -> dict[str, int]:
    """Stored bytes per dataset, all its releases together. The first part of a key is its dataset.

    Lists the whole bucket, one class A operation per 1,000 objects. Raises StorageError.
    """
    sizes: Counter[str] = Counter()
    for item in bucket.list(""):
        dataset, slash, _ = item.key.partition("/")
        if slash:
            sizes[dataset] += item.size
    return dict(sizes)
