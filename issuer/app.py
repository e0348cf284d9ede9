"""The HTTP interface. Routes translate between HTTP and issuer.service, and decide nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import Depends, FastAPI, Header, Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from issuer import problems
from issuer.authorize import MAX_KEYS, RefusedError, TokenRequest
from issuer.catalog import Release, StoreCatalog
from issuer.database import Database
from issuer.exporter import Exporter
from issuer.middleware import RequestGuard
from issuer.problems import Problem
from issuer.revocations import Deliverer, Kind, RevocationView
from issuer.sealing import Vault
from issuer.service import Caller, IssuerService, Origin
from issuer.signingkeys import JWKS_MAX_AGE
from lading import __version__
from lading.names import LATEST
from lading.objectstore import Bucket, s3_client
from lading.settings import Settings


class TokenBody(BaseModel):
    """Ask for a token."""

    model_config = ConfigDict(extra="forbid")

    dataset: str = Field(examples=["imagenet-mini"])
    version: str = Field(default=LATEST, description="a version, or 'latest' for the promoted one")
    keys: list[str] | None = Field(
        default=None, description=f"exact object keys, at most {MAX_KEYS}; default: all objects of the release"
    )
    ttl: int | None = Field(default=None, description="lifetime in seconds")
    project: str | None = Field(default=None, description="project that pays; default: that of your grant")
    bind_ip: bool | str | None = Field(
        default=None, description="address or CIDR that may use the token; true: the address that asks"
    )


class FileBody(BaseModel):
    """An object that the token gives access to. Append `?token=` to `url`, or send the token as a Bearer header."""

    key: str
    url: str
    size: int | None = Field(description="bytes")
    sha256: str | None = Field(description="hex")


class YankBody(BaseModel):
    """When a release was yanked (UTC), and why if that was said."""

    yanked_at: str
    reason: str | None


class TokenAnswer(BaseModel):
    """A token for one release."""

    token: str
    expires_at: AwareDatetime
    dataset: str
    version: str
    gateway: str
    manifest_url: str
    files: list[FileBody]
    yanked: YankBody | None = Field(description="set where the release is kept, but no longer offered")


class DatasetName(BaseModel):
    """A dataset in the list."""

    dataset: str


class DatasetList(BaseModel):
    """The released datasets that the caller may read."""

    datasets: list[DatasetName]


class ReleaseAnswer(BaseModel):
    """A release. Sizes in bytes: `bytes` of all files, `stored_bytes` of the shards that hold them."""

    version: str
    parent: str | None
    created_at: AwareDatetime
    title: str | None
    license: str | None
    labels: dict[str, str]
    files: int
    bytes: int
    stored_bytes: int
    manifest_url: str
    manifest_sha256: str


class DatasetAnswer(BaseModel):
    """A dataset and its promoted release, if there is one."""

    dataset: str
    latest: str | None
    release: ReleaseAnswer | None


class ReleaseList(BaseModel):
    """All releases of a dataset, newest first."""

    dataset: str
    latest: str | None
    releases: list[ReleaseAnswer]


class RevocationBody(BaseModel):
    """Revoke one token by its id, or all tokens of a user or of a signing key."""

    model_config = ConfigDict(extra="forbid")

    kind: Kind
    value: str = Field(examples=["tx1Zrb0Xg0lq8a0V1fQ3Ow"])


class RevocationAnswer(BaseModel):
    """A revocation; `pending` until the gateway has taken it, which is tried again until it has."""

    kind: str
    value: str
    state: str = Field(examples=["delivered", "pending"])
    revoked_at: AwareDatetime
    error: str | None = Field(description="why it is pending")


class Health(BaseModel):
    """The issuer can sign tokens."""

    status: str = "ok"


class JwkSetResponse(JSONResponse):
    """A JWK Set with the media type of RFC 7517, section 8.5.2."""

    media_type = "application/jwk-set+json"


_bearer = HTTPBearer(auto_error=False, description="an API key, lad_…")


def _service(request: Request) -> IssuerService:
    service: IssuerService = request.app.state.service
    return service


def _origin(request: Request) -> Origin:
    return Origin(request.client.host if request.client else None, request.headers.get("user-agent"))


Service = Annotated[IssuerService, Depends(_service)]
From = Annotated[Origin, Depends(_origin)]
Authorization = Annotated[str | None, Header(include_in_schema=False)]


def _caller(service: Service, authorization: Authorization = None) -> Caller:
    return service.authenticate(authorization)


async def _raw_body(request: Request) -> bytes:
    return await request.body()


def _token_caller(
    service: Service,
    origin: From,
    body: Annotated[bytes, Depends(_raw_body)],
    authorization: Authorization = None,
) -> Caller:
    """The caller of a token request. Refuses a wrong key before a wrong body."""
    try:
        return service.authenticate(authorization)
    except RefusedError as error:
        service.record_refusal(error, _claimed_dataset(body), origin)
        raise


def _claimed_dataset(body: bytes) -> object:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document.get("dataset") if isinstance(document, dict) else None


SignedIn = Annotated[Caller, Depends(_caller)]


def create_app(settings: Settings) -> FastAPI:
    """The issuer for these settings. Raises UsageError or LadingError if one is missing or the schema is not current.

    The exporter of audit events runs while the app does (ASGI lifespan).
    """
    vault = Vault.open(settings)
    database = Database(settings.database_url)
    database.require_current()
    client = s3_client(settings, attempts=2, read_timeout=10)
    exporter = Exporter(database, Bucket(client, settings.logs_bucket))
    deliverer = Deliverer(settings, database, vault)
    catalog = StoreCatalog(Bucket(client, settings.s3_bucket))
    service = IssuerService(settings, database, catalog, vault, exporter, deliverer)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        exporter.start()
        deliverer.start()
        yield
        await run_sync(deliverer.stop)
        await run_sync(exporter.stop)
        database.close()

    app = FastAPI(
        title="Lading issuer",
        version=__version__,
        summary="Signs short-lived tokens for downloading dataset releases.",
        lifespan=lifespan,
        responses={"default": {"model": Problem, "description": "A problem, RFC 9457"}},
    )
    app.state.service = service
    app.add_middleware(RequestGuard)
    problems.install(app)
    _routes(app)
    return app


def _routes(app: FastAPI) -> None:
    signed_in = [Depends(_bearer)]

    @app.post("/v1/tokens", dependencies=signed_in, tags=["tokens"], summary="Get a token for a release")
    def issue_token(
        body: TokenBody,
        service: Service,
        origin: From,
        caller: Annotated[Caller, Depends(_token_caller)],
        response: Response,
    ) -> TokenAnswer:
        issued = service.issue(caller, _token_request(body, origin), origin)
        response.headers["Cache-Control"] = "no-store"
        return TokenAnswer(
            token=issued.token,
            expires_at=issued.expires_at,
            dataset=issued.dataset,
            version=issued.version,
            gateway=issued.gateway,
            manifest_url=issued.manifest_url,
            files=[
                FileBody(key=file.key, url=service.url(file.key), size=file.size, sha256=file.sha256)
                for file in issued.files
            ],
            yanked=YankBody(yanked_at=issued.yanked.yanked_at, reason=issued.yanked.reason) if issued.yanked else None,
        )

    @app.get("/v1/datasets", dependencies=signed_in, tags=["datasets"], summary="Datasets that you may read")
    def list_datasets(service: Service, caller: SignedIn) -> DatasetList:
        return DatasetList(datasets=[DatasetName(dataset=name) for name in service.datasets(caller)])

    @app.get("/v1/datasets/{dataset}", dependencies=signed_in, tags=["datasets"], summary="One dataset")
    def show_dataset(dataset: str, service: Service, caller: SignedIn) -> DatasetAnswer:
        latest, release = service.dataset(caller, dataset)
        return DatasetAnswer(
            dataset=dataset, latest=latest, release=_release_answer(service, release) if release else None
        )

    @app.get("/v1/datasets/{dataset}/releases", dependencies=signed_in, tags=["datasets"], summary="Its releases")
    def list_releases(dataset: str, service: Service, caller: SignedIn) -> ReleaseList:
        latest, releases = service.releases(caller, dataset)
        return ReleaseList(
            dataset=dataset, latest=latest, releases=[_release_answer(service, release) for release in releases]
        )

    @app.post(
        "/v1/revocations",
        dependencies=signed_in,
        tags=["tokens"],
        summary="Revoke tokens: the gateway refuses them within 10 seconds",
        responses={202: {"model": RevocationAnswer, "description": "The gateway does not listen; it is told again"}},
    )
    def revoke(body: RevocationBody, service: Service, caller: SignedIn, response: Response) -> RevocationAnswer:
        revocation = service.revoke(caller, body.kind, body.value)
        response.status_code = 202 if revocation.state == "pending" else 200
        response.headers["Cache-Control"] = "no-store"
        return _revocation_answer(revocation)

    @app.get("/.well-known/jwks.json", tags=["keys"], summary="Public keys (RFC 7517)", response_class=JwkSetResponse)
    def jwks(service: Service, response: Response) -> dict[str, list[dict[str, Any]]]:
        response.headers["Cache-Control"] = f"public, max-age={JWKS_MAX_AGE}"
        return service.jwks()

    @app.get("/healthz", tags=["operations"], summary="Whether tokens can be signed now")
    def healthz(service: Service, response: Response) -> Health:
        service.check_health()
        response.headers["Cache-Control"] = "no-store"
        return Health()


def _revocation_answer(revocation: RevocationView) -> RevocationAnswer:
    return RevocationAnswer(
        kind=revocation.kind,
        value=revocation.value,
        state=revocation.state,
        revoked_at=revocation.changed_at,
        error=revocation.error,
    )


def _token_request(body: TokenBody, origin: Origin) -> TokenRequest:
    bind_ip = body.bind_ip
    if isinstance(bind_ip, bool):
        bind_ip = origin.ip if bind_ip else None
    return TokenRequest(
        dataset=body.dataset,
        version=body.version,
        keys=None if body.keys is None else tuple(body.keys),
        ttl=body.ttl,
        project=body.project,
        bind_ip=bind_ip,
    )


def _release_answer(service: IssuerService, release: Release) -> ReleaseAnswer:
    manifest = release.manifest
    return ReleaseAnswer(
        version=manifest.version,
        parent=manifest.parent,
        created_at=manifest.created_at,
        title=manifest.title,
        license=manifest.license,
        labels=manifest.labels,
        files=manifest.totals.files,
        bytes=manifest.totals.bytes,
        stored_bytes=manifest.totals.stored_bytes,
        manifest_url=service.manifest_url(manifest.dataset, manifest.version),
        manifest_sha256=release.manifest_sha256,
    )
