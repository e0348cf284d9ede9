"""The issuer against a real object store: tokens for releases, the catalogue, issuance events in the log bucket."""

from __future__ import annotations

import gzip
import hashlib
import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from issuer.admin import Admin
from lading import names
from lading.manifest import Delta, Index, IndexObject, Manifest, Shard, Totals
from lading.objectstore import Bucket, s3_client
from lading.settings import Settings
from lading.signing import sign

PUBLISHER = Ed25519PrivateKey.generate()
EXPORT_TIMEOUT_S = 15


def hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass
class Publisher:
    """Writes the objects of releases that the issuer reads: signed manifests and `latest.json`."""

    bucket: Bucket

    def release(self, dataset: str, version: str, created_at: datetime | None = None) -> Manifest:
        shard = hash_of(f"{dataset} {version}")
        index = {
            name: IndexObject(
                key=names.release_key(dataset, version, f"{name}.parquet"), size=10, sha256=hash_of(name), rows=1
            )
            for name in ("files", "chunks")
        }
        manifest = Manifest(
            dataset=dataset,
            version=version,
            parent=None,
            created_at=(created_at or datetime.now(UTC)).replace(microsecond=0),
            files=(Shard(key=names.shard_key(dataset, shard), size=1234, sha256=shard, kind="base"),),
            index=Index(files=index["files"], chunks=index["chunks"]),
            totals=Totals(files=1, bytes=5678, chunks=1, stored_bytes=1234),
            delta=Delta(from_=None, added=1, modified=0, removed=0, new_bytes=5678, reused_bytes=0),
        )
        data = manifest.to_bytes()
        self.bucket.put_if_absent(names.release_key(dataset, version, names.SIGNATURE), sign(data, PUBLISHER))
        self.bucket.put_if_absent(names.release_key(dataset, version, names.MANIFEST), data)
        return manifest

    def promote(self, manifest: Manifest, sha256: str | None = None) -> None:
        key = names.latest_key(manifest.dataset)
        present = self.bucket.head(key)
        document = {
            "version": manifest.version,
            "manifest_sha256": sha256 or hashlib.sha256(manifest.to_bytes()).hexdigest(),
        }
        self.bucket.swap(key, json.dumps(document).encode(), present.etag if present else None)


@pytest.fixture(scope="module")
def settings(stack: Any) -> Settings:
    """Settings of the running stack, its database and issuer secret too."""
    settings: Settings = stack.settings
    return settings


@pytest.fixture(scope="module")
def publisher(settings: Settings) -> Publisher:
    return Publisher(Bucket(s3_client(settings), settings.s3_bucket))


@pytest.fixture
def admin(settings: Settings) -> Iterator[Admin]:
    with Admin(settings, actor="tester") as admin:
        yield admin


@pytest.fixture
def dataset() -> str:
    """A name that no other test uses."""
    return f"issuer-{secrets.token_hex(4)}"


@pytest.fixture
def reader(admin: Admin, dataset: str) -> tuple[str, str]:
    """Name and API key of a user who may read `dataset` and no other."""
    name = f"reader-of-{dataset}"
    admin.add_user(name)
    admin.add_grant(name, dataset)
    return name, admin.create_key(name).text


def get(settings: Settings, path: str, key: str | None = None) -> requests.Response:
    headers = {"Authorization": f"Bearer {key or settings.api_key}"}
    return requests.get(f"{settings.issuer_url}{path}", headers=headers, timeout=30)


def ask(settings: Settings, key: str | None = None, **body: Any) -> requests.Response:
    headers = {"Authorization": f"Bearer {key or settings.api_key}", "User-Agent": "lading-test"}
    return requests.post(f"{settings.issuer_url}/v1/tokens", json=body, headers=headers, timeout=30)


def claims_of(settings: Settings, token: str) -> dict[str, Any]:
    """The claims of a token, verified by the issuer's published keys."""
    keys = jwt.PyJWKSet.from_dict(requests.get(f"{settings.issuer_url}/.well-known/jwks.json", timeout=10).json())
    key = keys[jwt.get_unverified_header(token)["kid"]]
    return jwt.decode(token, key, algorithms=["EdDSA"], audience=settings.token_audience, issuer=settings.token_issuer)


def issuance_events(settings: Settings, wanted: int, **fields: Any) -> list[dict[str, Any]]:
    """Exported events with these fields, once there are as many as wanted."""
    bucket = Bucket(s3_client(settings), settings.logs_bucket)
    deadline = time.monotonic() + EXPORT_TIMEOUT_S
    while True:
        events: dict[str, dict[str, Any]] = {}
        for item in bucket.list("logs/issuer/"):
            for line in gzip.decompress(bucket.get(item.key)).splitlines():
                event = json.loads(line)
                assert item.key.startswith(f"logs/issuer/dt={event['ts'][:10]}/hh={event['ts'][11:13]}/")
                if fields.items() <= event.items():
                    events[event["id"]] = event
        if len(events) >= wanted or time.monotonic() > deadline:
            return sorted(events.values(), key=lambda event: event["ts"])
        time.sleep(0.2)


def test_a_token_gives_exactly_the_release(
    settings: Settings, publisher: Publisher, dataset: str, reader: tuple[str, str]
) -> None:
    manifest = publisher.release(dataset, "v1")
    publisher.promote(manifest)
    before = int(time.time())
    response = ask(settings, reader[1], dataset=dataset, ttl=60)
    assert response.status_code == 200, response.text
    assert response.headers["Cache-Control"] == "no-store"
    answer = response.json()
    assert (answer["dataset"], answer["version"], answer["gateway"]) == (dataset, "v1", settings.gateway_url)
    assert answer["manifest_url"] == f"{settings.gateway_url}/d/{dataset}/releases/v1/manifest.json"
    claims = claims_of(settings, answer["token"])
    assert claims["scp"] == [f"{dataset}/shards/", f"{dataset}/releases/v1/"]
    assert (claims["sub"], claims["prj"], claims["exp"] - claims["iat"]) == (reader[0], "default", 60)
    assert before <= claims["iat"] <= time.time()
    assert "ip" not in claims
    assert datetime.fromisoformat(answer["expires_at"]).timestamp() == claims["exp"]
    files = {file["key"]: file for file in answer["files"]}
    assert list(files) == [
        manifest.files[0].key,
        f"{dataset}/releases/v1/files.parquet",
        f"{dataset}/releases/v1/chunks.parquet",
        f"{dataset}/releases/v1/manifest.json",
        f"{dataset}/releases/v1/manifest.json.sig",
    ]
    for key, file in files.items():
        assert file["url"] == f"{settings.gateway_url}/d/{key}"
        assert answer["token"] not in file["url"]
    data = manifest.to_bytes()
    listed = files[f"{dataset}/releases/v1/manifest.json"]
    assert (listed["size"], listed["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())


def test_the_gateway_accepts_the_token_for_the_release_and_nothing_else(
    settings: Settings, publisher: Publisher, dataset: str
) -> None:
    manifest = publisher.release(dataset, "v1")
    publisher.promote(manifest)
    answer = ask(settings, dataset=dataset).json()
    headers = {"Authorization": f"Bearer {answer['token']}"}
    assert requests.get(answer["manifest_url"], headers=headers, timeout=30).content == manifest.to_bytes()
    other = f"{settings.gateway_url}/d/{dataset}/releases/v2/manifest.json"
    assert requests.get(other, headers=headers, timeout=30).status_code == 403


def test_latest_follows_a_promotion_at_once_and_back(settings: Settings, publisher: Publisher, dataset: str) -> None:
    first, second = publisher.release(dataset, "v1"), publisher.release(dataset, "v2")
    for promoted in (first, second, first):
        publisher.promote(promoted)
        assert ask(settings, dataset=dataset).json()["version"] == promoted.version
    assert ask(settings, dataset=dataset, version="v2").json()["version"] == "v2"


def test_exact_keys_make_an_exact_scope(settings: Settings, publisher: Publisher, dataset: str) -> None:
    manifest = publisher.release(dataset, "v1")
    keys = [manifest.files[0].key, f"{dataset}/shards/of an older release é.tar.zst"]
    answer = ask(settings, dataset=dataset, version="v1", keys=keys).json()
    assert claims_of(settings, answer["token"])["scp"] == keys
    assert [(file["key"], file["size"]) for file in answer["files"]] == [(keys[0], 1234), (keys[1], None)]
    assert answer["files"][1]["url"].endswith("/shards/of%20an%20older%20release%20%C3%A9.tar.zst")


def test_a_token_can_be_bound_to_the_address_that_asks(settings: Settings, publisher: Publisher, dataset: str) -> None:
    publisher.release(dataset, "v1")
    for wanted, bound in ((True, "127.0.0.1"), ("192.0.2.9/24", "192.0.2.0/24")):
        answer = ask(settings, dataset=dataset, version="v1", bind_ip=wanted).json()
        assert claims_of(settings, answer["token"])["ip"] == bound


def test_a_token_is_paid_by_the_project_that_is_named(
    settings: Settings, publisher: Publisher, admin: Admin, dataset: str, reader: tuple[str, str]
) -> None:
    publisher.release(dataset, "v1")
    project = f"project-of-{dataset}"
    admin.add_project(project)
    refused = ask(settings, reader[1], dataset=dataset, version="v1", project=project)
    assert (refused.status_code, refused.json()["code"]) == (403, "project_not_granted")
    admin.add_grant(reader[0], dataset, project)
    answer = ask(settings, reader[1], dataset=dataset, version="v1", project=project).json()
    assert claims_of(settings, answer["token"])["prj"] == project


def test_a_token_ends_with_its_grant(
    settings: Settings, publisher: Publisher, admin: Admin, dataset: str, reader: tuple[str, str]
) -> None:
    publisher.release(dataset, "v1")
    admin.add_grant(reader[0], dataset, lifetime=timedelta(seconds=20))
    answer = ask(settings, reader[1], dataset=dataset, version="v1", ttl=300).json()
    claims = claims_of(settings, answer["token"])
    assert claims["exp"] - claims["iat"] <= 20


def test_what_is_not_released_is_not_found(settings: Settings, publisher: Publisher, dataset: str) -> None:
    for path in (f"/v1/datasets/{dataset}", f"/v1/datasets/{dataset}/releases"):
        response = get(settings, path)
        assert (response.status_code, response.json()["code"]) == (404, "dataset_not_found")
    absent = ask(settings, dataset=dataset)
    assert (absent.status_code, absent.json()["code"]) == (404, "dataset_not_found")
    publisher.release(dataset, "v1")
    for version in ("latest", "v2"):
        response = ask(settings, dataset=dataset, version=version)
        assert (response.status_code, response.json()["code"]) == (404, "version_not_found")
        assert "v1" in response.json()["detail"]


def test_without_a_grant_a_dataset_looks_as_if_it_did_not_exist(
    settings: Settings, publisher: Publisher, dataset: str, reader: tuple[str, str]
) -> None:
    exists, absent = f"{dataset}-a", f"{dataset}-b"
    publisher.promote(publisher.release(exists, "v1"))
    answers = []
    for name in (exists, absent):
        for response in (
            ask(settings, reader[1], dataset=name),
            ask(settings, reader[1], dataset=name, version="v9"),
            get(settings, f"/v1/datasets/{name}", reader[1]),
            get(settings, f"/v1/datasets/{name}/releases", reader[1]),
        ):
            body = response.json()
            body.pop("request_id")
            answers.append((response.status_code, json.dumps(body).replace(name, "NAME")))
    assert len(set(answers)) == 1
    assert answers[0][0] == 403


def test_the_catalogue_shows_what_the_caller_may_read(
    settings: Settings, publisher: Publisher, dataset: str, reader: tuple[str, str]
) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    versions = ["v1", "v10", "v9"]
    manifests = [publisher.release(dataset, name, start + timedelta(days=n)) for n, name in enumerate(versions)]
    publisher.promote(manifests[1])
    publisher.release(f"{dataset}-other", "v1")
    assert get(settings, "/v1/datasets", reader[1]).json() == {"datasets": [{"dataset": dataset}]}
    everything = {item["dataset"] for item in get(settings, "/v1/datasets").json()["datasets"]}
    assert {dataset, f"{dataset}-other"} <= everything
    shown = get(settings, f"/v1/datasets/{dataset}", reader[1]).json()
    assert (shown["latest"], shown["release"]["version"], shown["release"]["bytes"]) == ("v10", "v10", 5678)
    listed = get(settings, f"/v1/datasets/{dataset}/releases", reader[1]).json()
    assert listed["latest"] == "v10"
    assert [release["version"] for release in listed["releases"]] == ["v9", "v10", "v1"]


def test_a_promotion_that_does_not_match_its_manifest_is_refused(
    settings: Settings, publisher: Publisher, dataset: str
) -> None:
    publisher.promote(publisher.release(dataset, "v1"), sha256="0" * 64)
    response = ask(settings, dataset=dataset)
    assert (response.status_code, response.json()["code"]) == (502, "release_invalid")


def test_every_request_leaves_an_event_in_the_log_bucket(
    settings: Settings, publisher: Publisher, dataset: str, reader: tuple[str, str]
) -> None:
    publisher.release(dataset, "v1")
    answer = ask(settings, reader[1], dataset=dataset, version="v1", ttl=45).json()
    ask(settings, reader[1], dataset=dataset, version="v2")
    ask(settings, reader[1], dataset=f"{dataset}-other")
    claims = claims_of(settings, answer["token"])
    granted, missing, refused = issuance_events(settings, 3, sub=reader[0])
    assert set(granted) == {
        *("v", "type", "id", "ts", "jti", "sub", "prj", "kid", "dataset", "version", "keys", "ttl_s"),
        *("granted", "code", "reason", "ip", "user_agent"),
    }
    assert granted["granted"] is True
    assert (granted["v"], granted["type"], granted["code"], granted["reason"]) == (1, "issue", "ok", None)
    assert (granted["jti"], granted["prj"], granted["ttl_s"]) == (claims["jti"], "default", 45)
    assert (granted["dataset"], granted["version"], granted["keys"]) == (dataset, "v1", None)
    assert (granted["ip"], granted["user_agent"]) == ("127.0.0.1", "lading-test")
    assert granted["kid"] == jwt.get_unverified_header(answer["token"])["kid"]
    assert (missing["granted"], missing["code"], missing["jti"]) == (False, "version_not_found", None)
    assert (refused["granted"], refused["code"], refused["dataset"]) == (False, "no_grant", f"{dataset}-other")
    text = json.dumps([granted, missing, refused])
    assert answer["token"] not in text
    assert reader[1].rsplit("_")[-1] not in text
