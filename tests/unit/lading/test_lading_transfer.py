"""Access and transfer against a small HTTP server in this process that answers as it is told."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
from requests.structures import CaseInsensitiveDict

from lading.client import access as access_module
from lading.client import transfer as transfer_module
from lading.client.access import Access
from lading.client.transfer import MAX_ATTEMPTS, Stopped, StoredObject, Transfer, _retry_after
from lading.errors import AccessError, IntegrityError, NotFoundError, TransferError, UsageError
from lading.http import session as http_session
from lading.settings import Settings

CONTENT = bytes(range(256)) * 40
STORED = StoredObject("data/shards/x.tar.zst", len(CONTENT), "5" * 64)
ETAG = f'"{STORED.sha256}"'


@dataclass
class Answer:
    """An answer; `promised` is a Content-Length that the body does not keep."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    promised: int | None = None


@dataclass
class Request:
    method: str
    path: str
    headers: CaseInsensitiveDict[str]
    body: bytes


class Server:
    """Gateway and issuer: `answers` are given first, then objects are served and tokens issued as they should be."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answers: deque[Answer | Callable[[Request], Answer]] = deque()
        self.token_answers: deque[Answer] = deque()
        self.tokens = 0
        self.lifetime = 300.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                request = Request(self.command, self.path, CaseInsensitiveDict(self.headers), self.rfile.read(length))
                outer.requests.append(request)
                answer = outer.answer(request)
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header(
                    "Content-Length", str(len(answer.body) if answer.promised is None else answer.promised)
                )
                self.end_headers()
                self.wfile.write(answer.body)
                self.close_connection = answer.promised is not None

            do_GET = do_POST = _answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, request: Request) -> Answer:
        if request.method == "POST":
            return self.token_answers.popleft() if self.token_answers else self._token()
        if not self.answers:
            return ranged(request)
        answer = self.answers.popleft()
        return answer if isinstance(answer, Answer) else answer(request)

    def _token(self) -> Answer:
        self.tokens += 1
        document = {
            "token": f"token-{self.tokens}",
            "dataset": "data",
            "version": "v1",
            "gateway": self.url + "/",
            "expires_at": time.time() + self.lifetime,
            "files": [{"key": STORED.key, "size": STORED.size}],
        }
        return Answer(200, json.dumps(document).encode(), {"Content-Type": "application/json"})

    @property
    def gets(self) -> list[Request]:
        return [request for request in self.requests if request.method == "GET"]


def asked(request: Request) -> tuple[int, int]:
    first, last = request.headers["Range"].removeprefix("bytes=").split("-")
    return int(first), int(last)


def ranged(request: Request, **changes: str) -> Answer:
    """The right answer to a request, with other headers on demand."""
    if "Range" not in request.headers:
        return Answer(200, CONTENT, {"ETag": ETAG, **changes})
    first, last = asked(request)
    headers = {"ETag": ETAG, "Content-Range": f"bytes {first}-{last}/{len(CONTENT)}"}
    return Answer(206, CONTENT[first : last + 1], {**headers, **{n.replace("_", "-"): v for n, v in changes.items()}})


def cut(after: int) -> Callable[[Request], Answer]:
    """The right answer, broken off after some bytes."""

    def answer(request: Request) -> Answer:
        right = ranged(request)
        return Answer(right.status, right.body[:after], right.headers, promised=len(right.body))

    return answer


def problem(status: int, code: str, **headers: str) -> Answer:
    document = {"title": "No", "code": code, "request_id": "r-1"}
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, json.dumps(document).encode(), {"Content-Type": "application/problem+json", **headers})


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with http_session() as made:
        made.trust_env = False
        yield made


@pytest.fixture(autouse=True)
def _no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer_module, "BACKOFF_BASE_S", 0.001)
    monkeypatch.setattr(access_module, "BACKOFF_S", 0.001)


def settings(server: Server, **changes: str) -> Settings:
    return Settings.from_env({"LADING_ISSUER_URL": server.url, "LADING_API_KEY": "lad_key", **changes})


@pytest.fixture
def access(server: Server, session: requests.Session) -> Access:
    return Access(session, settings(server), "data", "latest")


@pytest.fixture
def transfer(session: requests.Session, access: Access) -> Transfer:
    return Transfer(session, access)


PIECES = [(0, 100), (100, 50), (1000, 24)]


def content(pieces: list[tuple[int, int]]) -> list[bytes]:
    return [CONTENT[offset : offset + length] for offset, length in pieces]


def test_pieces_come_by_one_request_and_gaps_are_thrown_away(server: Server, transfer: Transfer) -> None:
    assert list(transfer.pieces(STORED, PIECES)) == content(PIECES)
    (request,) = server.gets
    assert request.path == "/d/data/shards/x.tar.zst"
    assert request.headers["Range"] == "bytes=0-1023"
    assert request.headers["Authorization"] == "Bearer token-1"
    assert request.headers["Accept-Encoding"] == "identity"


def test_every_byte_on_the_wire_is_counted(session: requests.Session, access: Access) -> None:
    counts: list[int] = []
    list(Transfer(session, access, counts.append).pieces(STORED, PIECES))
    assert sum(counts) == 1024


@pytest.mark.parametrize("after", [0, 1, 99, 100, 149, 150, 500, 1023])
def test_a_body_that_breaks_off_is_gone_on_with_at_the_missing_byte(
    server: Server, transfer: Transfer, after: int
) -> None:
    server.answers.append(cut(after))
    assert list(transfer.pieces(STORED, PIECES)) == content(PIECES)
    first, second = server.gets
    assert asked(first) == (0, 1023)
    # Bytes of the gap between two pieces are not missing.
    assert asked(second) == (after if after < 150 else max(after, 1000), 1023)


def test_progress_begins_a_new_count_of_failures(server: Server, transfer: Transfer) -> None:
    pieces = [(number * 10, 10) for number in range(3 * MAX_ATTEMPTS)]
    server.answers.extend([cut(10)] * (len(pieces) - 1))
    assert list(transfer.pieces(STORED, pieces)) == content(pieces)


def test_without_progress_it_gives_up_and_says_what_to_do(server: Server, transfer: Transfer) -> None:
    server.answers.extend([cut(0)] * MAX_ATTEMPTS)
    with pytest.raises(TransferError, match=f"failed {MAX_ATTEMPTS} times") as caught:
        list(transfer.pieces(STORED, PIECES))
    assert "what was fetched is kept" in str(caught.value.hint)
    assert len(server.gets) == MAX_ATTEMPTS


@pytest.mark.parametrize(
    "wrong",
    [
        f"bytes 0-1022/{len(CONTENT)}",
        f"bytes 1-1023/{len(CONTENT)}",
        "bytes 0-1023/1024",
        "bytes 0-1023/*",
        f"items 0-1023/{len(CONTENT)}",
        "",
    ],
)
def test_a_wrong_content_range_is_refused(server: Server, transfer: Transfer, wrong: str) -> None:
    server.answers.append(lambda request: ranged(request, Content_Range=wrong))
    with pytest.raises(IntegrityError, match="answered with range"):
        list(transfer.pieces(STORED, PIECES))


@pytest.mark.parametrize("etag", ['"other"', f"W/{ETAG}", STORED.sha256])
def test_another_object_than_the_known_one_is_refused(server: Server, transfer: Transfer, etag: str) -> None:
    server.answers.append(lambda request: ranged(request, ETag=etag))
    with pytest.raises(IntegrityError, match="another object"):
        list(transfer.pieces(STORED, PIECES))


def test_an_object_that_changes_between_two_attempts_is_refused(server: Server, transfer: Transfer) -> None:
    server.answers.extend([cut(120), lambda request: ranged(request, ETag='"other"')])
    got = []
    with pytest.raises(IntegrityError, match="another object"):
        got.extend(transfer.pieces(STORED, PIECES))
    assert len(server.gets) == 2


def test_a_whole_answer_to_a_range_is_refused(server: Server, transfer: Transfer) -> None:
    server.answers.append(Answer(200, CONTENT, {"ETag": ETAG}))
    with pytest.raises(TransferError, match="ignored the range"):
        list(transfer.pieces(STORED, PIECES))


def test_a_whole_answer_to_a_range_of_everything_is_taken(server: Server, transfer: Transfer) -> None:
    server.answers.append(Answer(200, CONTENT, {"ETag": ETAG}))
    assert list(transfer.pieces(STORED, [(0, len(CONTENT))])) == [CONTENT]


def test_a_content_coding_is_refused(server: Server, transfer: Transfer) -> None:
    server.answers.append(lambda request: ranged(request, Content_Encoding="gzip"))
    with pytest.raises(TransferError, match="content coding"):
        list(transfer.pieces(STORED, PIECES))


def test_a_redirect_is_not_followed_with_the_token(server: Server, transfer: Transfer) -> None:
    server.answers.append(Answer(302, b"", {"Location": server.url + "/elsewhere"}))
    with pytest.raises(TransferError):
        list(transfer.pieces(STORED, PIECES))
    assert len(server.gets) == 1


def test_a_busy_server_is_waited_for_as_long_as_it_asks(server: Server, transfer: Transfer) -> None:
    server.answers.append(problem(429, "rate_limited", Retry_After="1"))
    started = time.monotonic()
    assert list(transfer.pieces(STORED, PIECES)) == content(PIECES)
    assert 1 <= time.monotonic() - started < 3


def test_a_server_that_asks_for_too_long_a_wait_is_an_error_at_once(server: Server, transfer: Transfer) -> None:
    server.answers.append(problem(429, "quota_exceeded", Retry_After="3600"))
    with pytest.raises(TransferError, match=r"429, quota_exceeded, request r-1"):
        list(transfer.pieces(STORED, PIECES))
    assert len(server.gets) == 1


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_passing_failure_is_tried_again(server: Server, transfer: Transfer, status: int) -> None:
    server.answers.append(problem(status, "x"))
    assert list(transfer.pieces(STORED, PIECES)) == content(PIECES)


@pytest.mark.parametrize(
    ("status", "error"), [(400, UsageError), (401, AccessError), (403, AccessError), (404, NotFoundError)]
)
def test_a_lasting_failure_is_not_tried_again(
    server: Server, transfer: Transfer, status: int, error: type[Exception]
) -> None:
    server.answers.append(problem(status, "x"))
    with pytest.raises(error, match=rf"HTTP {status}, x, request r-1"):
        list(transfer.pieces(STORED, PIECES))
    assert len(server.gets) == 1


def test_a_request_that_a_proxy_finds_wrong_is_not_the_callers_fault(server: Server, transfer: Transfer) -> None:
    server.answers.append(Answer(400, b"<h1>Bad Request</h1>", {"Content-Type": "text/html"}))
    with pytest.raises(TransferError, match="HTTP 400"):
        list(transfer.pieces(STORED, PIECES))


def test_a_piece_is_fetched_again_in_the_middle_of_a_transfer_that_holds_the_only_slot(
    session: requests.Session, access: Access
) -> None:
    transfer = Transfer(session, access, jobs=1)
    got = []
    for piece, (offset, length) in zip(transfer.pieces(STORED, PIECES), PIECES, strict=True):
        got.append(transfer.again(STORED, offset, length))
        assert got[-1] == piece
    assert got == content(PIECES)


@pytest.mark.parametrize("refusals", [1, 2, 5])
def test_a_token_that_the_gateway_calls_expired_is_renewed_each_time(
    server: Server, transfer: Transfer, refusals: int
) -> None:
    server.answers.extend([problem(403, "token_expired")] * refusals)
    assert list(transfer.pieces(STORED, PIECES)) == content(PIECES)
    tokens = [f"Bearer token-{number + 1}" for number in range(refusals + 1)]
    assert [request.headers["Authorization"] for request in server.gets] == tokens


def test_a_gateway_that_calls_every_token_expired_is_named_after_some_attempts(
    server: Server, transfer: Transfer
) -> None:
    server.answers.extend([problem(403, "token_expired")] * 1000)
    with pytest.raises(TransferError, match="calls every token expired") as caught:
        list(transfer.pieces(STORED, PIECES))
    assert "clock" in str(caught.value.hint)
    assert server.tokens == 2 * MAX_ATTEMPTS + 1


def test_a_revoked_token_is_not_renewed(server: Server, transfer: Transfer) -> None:
    server.answers.append(problem(403, "token_revoked"))
    with pytest.raises(AccessError, match="token_revoked"):
        list(transfer.pieces(STORED, PIECES))
    assert server.tokens == 1


def test_a_stopped_transfer_ends_quietly(session: requests.Session, access: Access) -> None:
    stop = threading.Event()
    pieces = Transfer(session, access, stop=stop).pieces(STORED, PIECES)
    next(pieces)
    stop.set()
    with pytest.raises(Stopped):
        list(pieces)


def test_a_small_object_comes_whole(server: Server, transfer: Transfer) -> None:
    server.answers.append(cut(10))
    assert transfer.whole(STORED.key, len(CONTENT)) == CONTENT
    assert len(server.gets) == 2


def test_an_object_above_the_limit_is_refused(transfer: Transfer) -> None:
    with pytest.raises(IntegrityError, match=f"larger than {len(CONTENT) - 1} bytes"):
        transfer.whole(STORED.key, len(CONTENT) - 1)


@pytest.mark.parametrize(
    ("value", "seconds"), [("0", 0.0), ("7", 7.0), ("", None), ("-1", None), ("1.5", None), ("٣", None), ("soon", None)]
)
def test_retry_after_is_read_in_whole_seconds(value: str, seconds: float | None) -> None:
    response = requests.Response()
    response.headers["Retry-After"] = value
    assert _retry_after(response) == seconds


def test_access_is_asked_for_with_the_api_key_and_then_for_the_version_it_named(
    server: Server, session: requests.Session, access: Access
) -> None:
    access.renew("token-1")
    first, second = (request for request in server.requests if request.method == "POST")
    assert first.headers["Authorization"] == "Bearer lad_key"
    assert json.loads(first.body) == {"dataset": "data", "version": "latest"}
    assert json.loads(second.body) == {"dataset": "data", "version": "v1"}


def test_a_fresh_token_is_shared_and_an_old_one_renewed_in_time(server: Server, session: requests.Session) -> None:
    access = Access(session, settings(server), "data", "v1")
    assert [access.token(), access.token()] == ["token-1", "token-1"]
    server.lifetime = 1.0
    short = Access(session, settings(server), "data", "v1")
    assert short.token() == "token-2"
    time.sleep(0.8)
    assert short.token() == "token-3"


def test_threads_that_were_refused_together_ask_for_one_token(server: Server, access: Access) -> None:
    threads = [threading.Thread(target=access.renew, args=("token-1",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.tokens == 2


def test_a_busy_issuer_is_asked_again(server: Server, session: requests.Session) -> None:
    server.token_answers.extend([Answer(503), Answer(429)])
    assert Access(session, settings(server), "data", "v1").token() == "token-1"


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"token": 1}', b"<html>"])
def test_an_answer_of_unknown_form_is_an_error(server: Server, session: requests.Session, body: bytes) -> None:
    server.token_answers.append(Answer(200, body))
    with pytest.raises(TransferError, match="unknown form"):
        Access(session, settings(server), "data", "v1")


@pytest.mark.parametrize(("status", "error"), [(401, AccessError), (403, AccessError), (404, NotFoundError)])
def test_a_refusal_of_the_issuer_is_an_error_with_its_words(
    server: Server, session: requests.Session, status: int, error: type[Exception]
) -> None:
    server.token_answers.append(problem(status, "no_grant"))
    with pytest.raises(error, match="no_grant"):
        Access(session, settings(server), "data", "v1")


def test_an_issuer_that_cannot_be_reached_is_an_error_that_names_it(server: Server, session: requests.Session) -> None:
    closed = settings(server, LADING_ISSUER_URL="http://127.0.0.1:9")
    with pytest.raises(TransferError, match=r"http://127\.0\.0\.1:9/v1/tokens cannot be reached"):
        Access(session, closed, "data", "v1")


@pytest.mark.parametrize("key", ["lad_ä\n", "a\r\nb: c"])
def test_an_api_key_that_no_header_takes_is_an_access_error(
    server: Server, session: requests.Session, key: str
) -> None:
    with pytest.raises(AccessError, match="characters that no key has"):
        Access(session, settings(server, LADING_API_KEY=key), "data", "v1")


def test_the_configured_gateway_goes_before_the_one_that_the_issuer_names(
    server: Server, session: requests.Session
) -> None:
    configured = settings(server, LADING_GATEWAY_URL="https://g.example")
    assert Access(session, configured, "data", "v1").url("data/a b") == "https://g.example/d/data/a%20b"


def test_missing_settings_are_usage_errors(session: requests.Session) -> None:
    with pytest.raises(UsageError, match="LADING_ISSUER_URL"):
        Access(session, Settings.from_env({}), "data", "v1")


def test_a_grant_does_not_show_its_token(access: Access) -> None:
    assert "token-1" not in repr(access.grant)
