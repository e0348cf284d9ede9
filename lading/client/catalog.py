"""Catalog: what there is, as the issuer lists it for this user."""

from __future__ import annotations

from typing import Any

import requests

from lading.client.access import ask
from lading.errors import TransferError
from lading.names import check_dataset
from lading.settings import Settings


def datasets(session: requests.Session, settings: Settings) -> list[str]:
    """Names of the released datasets that this user may read. Raises AccessError, TransferError."""
    document = _get(session, settings, "/v1/datasets", "listing the datasets")
    return [str(entry["dataset"]) for entry in document["datasets"]]


def releases(session: requests.Session, settings: Settings, dataset: str) -> dict[str, Any]:
    """`{"dataset", "latest", "releases": [...]}`, newest first, as the issuer describes them.

    Raises AccessError, NotFoundError, TransferError.
    """
    path = f"/v1/datasets/{check_dataset(dataset)}/releases"
    return _get(session, settings, path, f"listing the releases of {dataset}")


def _get(session: requests.Session, settings: Settings, path: str, what: str) -> dict[str, Any]:
    response = ask(session, settings, "GET", path, what)
    try:
        document = response.json()
        if not isinstance(document, dict):
            raise TypeError
    except (ValueError, TypeError) as error:
        raise TransferError(f"{what}: the issuer answered in an unknown form", "check LADING_ISSUER_URL") from error
    return document
