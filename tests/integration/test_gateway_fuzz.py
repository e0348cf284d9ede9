"""The gateway against a second opinion: random requests, judged by a small reference of our own, written from RFC 9110.

The decisions are asked of the Worker's own code in Node, a hundred thousand in some seconds; a few thousand requests
more go over the socket, with whole bodies compared.
"""

from __future__ import annotations

import hashlib
import http.client
import itertools
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from email.utils import formatdate
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes, urlsplit

import pytest
from running_stack import RunningStack

from lading.objectstore import bucket

WORKER = Path(__file__).resolve().parents[2] / "gateway_worker"
SEED = 20260101
DECISIONS = 100_000
REQUESTS = 3000
MAX_RANGES = 16
COALESCE_GAP = 128
ETAG = '"v1"'
MODIFIED_S = 1_767_225_600


@dataclass(frozen=True, slots=True)
class Question:
    """One request for an object, as the harness takes it."""

    method: str
    key: str
    headers: dict[str, str]
    size: int
    etag: str = ETAG
    lastModifiedMs: int = MODIFIED_S * 1000  # noqa: N815 - the harness's name


Decision = tuple[int, "list[tuple[int, int]] | None"]
"""Status, and for 206 the (offset, length) of each part."""


def decide(question: Question) -> Decision:
    """What RFC 9110 and the design say about a request for an object that exists."""
    if key_of(question.key) is None:
        return 400, None
    headers = question.headers
    failed = precondition(headers, question.etag)
    if failed is not None:
        return failed, None
    if (
        question.method == "HEAD"
        or "Range" not in headers
        or not if_range_holds(headers.get("If-Range"), question.etag)
    ):
        return 200, None
    return decide_range(headers["Range"], question.size)


def key_of(encoded: str) -> str | None:
    """The decoded key; None where it must be refused."""
    if re.search(r"%(?![0-9A-Fa-f]{2})", encoded):
        return None
    try:
        key = unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError:
        return None
    if len(key.encode()) > 1024 or any(ord(letter) < 32 or ord(letter) == 127 for letter in key):
        return None
    return None if set(key.split("/")) & {"", ".", ".."} else key


def precondition(headers: dict[str, str], etag: str) -> int | None:
    """304 or 412 where a precondition decides, in the order of section 13.2.2."""
    since = {name: http_seconds(headers.get(name, "")) for name in ("If-Unmodified-Since", "If-Modified-Since")}
    if "If-Match" in headers:
        if headers["If-Match"].strip() != "*" and etag not in tags(headers["If-Match"]):
            return 412
    elif (limit := since["If-Unmodified-Since"]) is not None and limit < MODIFIED_S:
        return 412
    if "If-None-Match" in headers:
        weak = {tag.removeprefix("W/") for tag in tags(headers["If-None-Match"])}
        if headers["If-None-Match"].strip() == "*" or etag in weak:
            return 304
    elif (limit := since["If-Modified-Since"]) is not None and limit >= MODIFIED_S:
        return 304
    return None


def tags(field: str) -> set[str]:
    """The entity tags of a list."""
    return {part.strip() for part in field.split(",")}


def http_seconds(field: str) -> int | None:
    """The dates that the generator makes, in seconds; None for anything else."""
    for shift in (-1, 0, 1):
        if field == formatdate(MODIFIED_S + shift, usegmt=True):
            return MODIFIED_S + shift
    return None


def if_range_holds(field: str | None, etag: str) -> bool:
    return field is None or field in (etag, formatdate(MODIFIED_S, usegmt=True))


def decide_range(field: str, size: int) -> Decision:
    """Section 14: 200 where the field is ignored, else 206 with its parts or 416."""
    whole = 200, None
    unit, equals, listed = field.strip(" \t").partition("=")
    if unit.lower() != "bytes" or not equals:
        return whole
    specs = [spec.strip(" \t") for spec in listed.split(",") if spec.strip(" \t")]
    if not specs:
        return whole
    spans: list[tuple[int, int]] = []
    for spec in specs:
        found = re.fullmatch(r"([0-9]*)-([0-9]*)", spec)
        if found is None or found.group(0) == "-":
            return whole
        first, last = (int(text) if text else None for text in found.groups())
        if first is None:
            assert last is not None
            if last and size == 0:
                return whole
            first, last = max(0, size - last) if last else size, size - 1
        elif last is not None and last < first:
            return whole
        if first < size:
            spans.append((first, min(size - 1, last if last is not None else size - 1)))
    if not spans:
        return 416, None
    joined = join(spans)
    return whole if len(joined) > MAX_RANGES else (206, [(first, last - first + 1) for first, last in joined])


def join(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join what overlaps or nearly touches until nothing does; each group stands where its earliest member stood."""
    groups = list(spans)
    while True:
        for i, j in itertools.combinations(range(len(groups)), 2):
            (a, b), (c, d) = groups[i], groups[j]
            if a <= d + 1 + COALESCE_GAP and c <= b + 1 + COALESCE_GAP:
                groups[i] = (min(a, c), max(b, d))
                del groups[j]
                break
        else:
            return groups


def random_number(choose: random.Random, size: int) -> str:
    near = size + choose.randrange(-3, 4)
    special = choose.choice([0, 1, near, near, 2**31, 2**32, 2**53, 2**53 + 1, 2**64, 10**30])
    number = special if choose.random() < 0.4 else choose.randrange(size + 2)
    return "0" * choose.choice([0, 0, 0, 0, 3]) + str(max(0, number))


def random_range(choose: random.Random, size: int) -> str:
    def spec() -> str:
        kind = choose.random()
        if kind < 0.04:
            return choose.choice(["", " ", "-", "--", "a-b", "1-2-3", "0x1-2", "1 -2", "+1-2", "1.0-2", "1e3-"])
        low, high = random_number(choose, size), random_number(choose, size)
        if kind < 0.25:
            return f"{low}-"
        if kind < 0.45:
            return f"-{high}"
        if kind < 0.9 and int(low) > int(high):
            low, high = high, low
        return choose.choice(["", " ", "\t"]) + f"{low}-{high}" + choose.choice(["", "", " "])

    count = choose.choice([1, 1, 1, 2, 3, 5, 16, 17, 40])
    unit = choose.choice(["bytes="] * 12 + ["Bytes=", "BYTES=", "items=", "bytes", "bytes =", "bytes:", ""])
    return unit + ",".join(spec() for _ in range(count))


def random_headers(choose: random.Random, size: int, etag: str = ETAG) -> dict[str, str]:
    def date() -> str:
        return choose.choice([*(formatdate(MODIFIED_S + shift, usegmt=True) for shift in (-1, 0, 1)), "now", "0", ""])

    def tag() -> str:
        return choose.choice([etag, etag, f"W/{etag}", '"other"', 'W/"other"', '""', "bare"])

    def listed() -> str:
        if choose.random() < 0.15:
            return choose.choice(["*", " * ", "", ",", "bare"])
        return choose.choice([",", ", ", " ,\t"]).join(tag() for _ in range(choose.randrange(1, 4)))

    makers = {
        "Range": (0.85, lambda: random_range(choose, size)),
        "If-Range": (0.25, lambda: choose.choice([tag(), date()])),
        "If-Match": (0.15, listed),
        "If-None-Match": (0.15, listed),
        "If-Modified-Since": (0.15, date),
        "If-Unmodified-Since": (0.15, date),
    }
    return {name: make() for name, (share, make) in makers.items() if choose.random() < share}


def random_key(choose: random.Random) -> str:
    letters = "abz019-_~.+!*'()@:&=$, "
    pieces = [
        "%2e",
        "%2E%2e",
        "..",
        ".",
        "//",
        "%2f",
        "%00",
        "%0a",
        "%7f",
        "%ff",
        "%c0%af",
        "%e2%82%ac",
        "%",
        "%4",
        "%zz",
    ]
    parts = []
    for _ in range(choose.randrange(1, 6)):
        if choose.random() < 0.2:
            parts.append(choose.choice(pieces))
        else:
            parts.append(
                quote("".join(choose.choice(letters) for _ in range(choose.randrange(1, 8))), safe="~+!*'()@:&=$,")
            )
        if choose.random() < 0.4:
            parts.append("/")
    return "".join(parts)


def test_a_hundred_thousand_decisions_are_those_of_the_reference(tmp_path: Path) -> None:
    choose = random.Random(SEED)
    questions = []
    for _ in range(DECISIONS):
        size = choose.choice([0, 1, 2, 10, 3000, 1_000_000, 6 * 2**30])
        key = random_key(choose) if choose.random() < 0.3 else "ds/x"
        questions.append(Question(choose.choice(["GET"] * 9 + ["HEAD"]), key, random_headers(choose, size), size))
    answers = ask_worker(questions, tmp_path)
    for question, answer in zip(questions, answers, strict=True):
        ranges = answer["ranges"] and [tuple(part) for part in answer["ranges"]]
        assert (answer["status"], ranges) == decide(question), question
        if answer["key"] is not None:
            assert answer["key"] == key_of(question.key), question


def ask_worker(questions: list[Question], folder: Path) -> Iterator[dict[str, object]]:
    """Put all questions to the Worker's decision functions, run by Node."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(["npm", "run", "--silent", "build:fuzz"], cwd=WORKER, env=environment, check=True)
    asked = folder / "questions.ndjson"
    asked.write_text("".join(json.dumps(asdict(question)) + "\n" for question in questions))
    with asked.open() as source:
        done = subprocess.run(
            ["node", str(WORKER / "dist" / "fuzz" / "harness.mjs")],
            stdin=source,
            capture_output=True,
            env=environment,
            check=True,
        )
    return map(json.loads, done.stdout.splitlines())


@pytest.mark.slow
def test_thousands_of_requests_get_no_5xx_and_no_wrong_body(stack: RunningStack, dataset: str) -> None:
    choose = random.Random(SEED)
    contents = {f"{dataset}/{size}": choose.randbytes(size) for size in (0, 1, 3000, 100_000)}
    for key, data in contents.items():
        bucket(stack.settings).put(key, data)
    made = stack.lading("admin", "token", "--scp", f"{dataset}/", "--ttl", "600", "--sub", "fuzz")
    token = made.stdout.strip()
    address = urlsplit(str(stack.settings.gateway_url)).netloc
    connection = http.client.HTTPConnection(address, timeout=30)
    for _ in range(REQUESTS):
        key = choose.choice(list(contents))
        data = contents[key]
        etag = f'"{hashlib.sha256(data).hexdigest()}"'
        headers = random_headers(choose, len(data), etag)
        # Dates of the object are the store's: without them, the reference can say what must come.
        # And what is in front of the gateway may drop a field that is empty.
        headers = {
            name: value
            for name, value in headers.items()
            if value.strip() and "GMT" not in value and not name.endswith("-Since")
        }
        kind = choose.random()
        path, sent = quote(key), token
        if kind < 0.1:
            path, sent = random_key(choose), token
        elif kind < 0.2:
            sent = mutated(choose, token)
        connection.request("GET", f"/d/{path}", headers={**headers, "Authorization": f"Bearer {sent}"})
        response = connection.getresponse()
        body = response.read()
        assert response.status < 500, (path, headers)
        if kind < 0.2:
            # A path may be cleaned on the way to the gateway: then it is another key, and none that is there.
            assert response.status in (400, 401, 403, 404), (path, sent, response.status)
            continue
        status, ranges = decide(Question("GET", "x", headers, len(data), etag))
        assert response.status == status, (key, headers)
        if status == 200:
            assert body == data
        elif status == 206 and ranges is not None and len(ranges) == 1:
            assert body == data[ranges[0][0] : sum(ranges[0])]
        elif status == 206 and ranges is not None:
            for offset, length in ranges:
                part = b"Content-Range: bytes %d-%d/%d\r\n\r\n" % (offset, offset + length - 1, len(data))
                assert part + data[offset : offset + length] + b"\r\n--" in body
    connection.close()


def mutated(choose: random.Random, token: str) -> str:
    """A token with a letter changed. Not among the last ones: what they hold beyond the signature's bits is ignored."""
    position = choose.randrange(len(token) - 4)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
    letter = choose.choice(letters.replace(token[position], ""))
    return token[:position] + letter + token[position + 1 :]
