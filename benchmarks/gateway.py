"""The self-hosted gateway beside nginx and a bare Worker, in front of the same origin: python -m benchmarks.gateway

    bare         a Worker that only hands a request on: no token, no count, no cache. What workerd itself can do.
    nginx        secure_link (MD5 of path and expiry) and proxy_pass with nginx's own buffers, keep-alive, no cache
    nginx-tuned  the same with larger buffers
    nginx-cache  the same with slice of 8 MiB into proxy_cache and sendfile
    lading       Ed25519 token verified, limits, ranges, events, slices of 8 MiB on disk
    lading-off   the same without a slice cache (SLICE_CACHE=off): what it does where the store is near

The origin is nginx with files; it does not check the S3 signature that lading sends. All processes run on this machine,
one after the other, the peers in alternating order. Cold: the cache was emptied; warm: after a full read.
Servers without a cache are measured once for both. CPU seconds are the gateway's own. Needs Debian's nginx and wrk.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.plain_gateway import plain_gateway
from lading.stack.ports import free_port
from lading.stack.selfhost import WORKER, build

MIB = 1024 * 1024
GIB = 1024 * MIB
OBJECT_BYTES = 512 * MIB
READ_BYTES = 4 * MIB
PARALLEL = 16
WRK_SECONDS = 4
REPEATS = int(os.environ.get("REPEATS", "3"))
STOP_TIMEOUT_S = 5
READ_TIMEOUT_S = 60
SECRET = "benchmark"
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Server:
    """A gateway under test: its process, the path with credentials, how its cache is emptied (None: it has none)."""

    name: str
    port: int
    path: str
    process: subprocess.Popen[bytes]
    empty: Callable[[], None] | None

    def cpu_seconds(self) -> float:
        """CPU of the process and its children so far."""
        return sum(_cpu(pid) for pid in _family(self.process.pid))


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement: bytes per second, requests per second, and latencies in ms where they say something."""

    rate: float
    requests: float = 0.0
    p50: float = 0.0
    p99: float = 0.0
    cpu_per_gib: float = 0.0


def main() -> None:
    """Measure everything and print a table and the ratios."""
    missing = [program for program in ("nginx", "wrk") if shutil.which(program) is None]
    if missing:
        sys.exit(f"missing: {', '.join(missing)}; install with: apt-get install nginx wrk")
    # So that a SIGTERM ends the servers as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    build()
    with tempfile.TemporaryDirectory(prefix="lading-benchmark-") as folder, contextlib.ExitStack() as stack:
        home = Path(folder)
        home.chmod(0o755)
        key = _make_object(home / "origin")
        origin = stack.enter_context(_origin(home, key))
        servers = [
            stack.enter_context(_bare(home, origin, key)),
            stack.enter_context(_nginx(home, origin, key, "nginx", "")),
            stack.enter_context(_nginx(home, origin, key, "nginx-tuned", NGINX_BUFFERS)),
            stack.enter_context(_nginx(home, origin, key, "nginx-cache", NGINX_BUFFERS + NGINX_SLICES)),
            stack.enter_context(_lading(home, origin, key, "lading", "disk")),
            stack.enter_context(_lading(home, origin, key, "lading-off", "off")),
        ]
        results = _rounds(servers)
    _print(results)


def _rounds(servers: list[Server]) -> dict[str, dict[str, Figure]]:
    """Medians over the rounds; the order is turned around each time, so that a noisy minute hits all alike."""
    rounds: dict[str, list[dict[str, Figure]]] = {server.name: [] for server in servers}
    for number in range(REPEATS):
        for server in servers if number % 2 == 0 else reversed(servers):
            rounds[server.name].append(_measure_all(server))
    return {
        name: {
            case: Figure(
                *(
                    statistics.median(getattr(measured[case], field) for measured in several)
                    for field in ("rate", "requests", "p50", "p99", "cpu_per_gib")
                )
            )
            for case in several[0]
        }
        for name, several in rounds.items()
    }


def _measure_all(server: Server) -> dict[str, Figure]:
    print(f"measuring {server.name}", file=sys.stderr)
    cases: dict[str, Callable[[], tuple[int, float, Figure | None]]] = {
        "large": lambda: _download(server),
        "16 ranges": lambda: _parallel(server),
        "1 MiB ranges": lambda: _wrk(server, MIB),
        "4 KiB ranges": lambda: _wrk(server, 4096),
    }
    results = {}
    for case, run in cases.items():
        if server.empty is None:
            _download(server)
            results[f"{case}, cold"] = results[f"{case}, warm"] = _measured(server, run)
            continue
        server.empty()
        results[f"{case}, cold"] = _measured(server, run)
        # Random ranges leave gaps.
        _download(server)
        results[f"{case}, warm"] = _measured(server, run)
    return results


def _measured(server: Server, run: Callable[[], tuple[int, float, Figure | None]]) -> Figure:
    """Run, and add rate and CPU seconds."""
    before = server.cpu_seconds()
    count, seconds, figure = run()
    cpu = (server.cpu_seconds() - before) / (count / GIB) if count else 0.0
    base = figure or Figure(count / seconds)
    return Figure(base.rate, base.requests, base.p50, base.p99, cpu)


def _download(server: Server) -> tuple[int, float, None]:
    started = time.perf_counter()
    count = _read(server, None)
    seconds = time.perf_counter() - started
    assert count == OBJECT_BYTES, (server.name, count)
    return count, seconds, None


def _parallel(server: Server) -> tuple[int, float, None]:
    counts: list[int] = []
    step = OBJECT_BYTES // PARALLEL

    def one(index: int) -> None:
        counts.append(_read(server, (index * step, (index + 1) * step - 1)))

    threads = [threading.Thread(target=one, args=(index,)) for index in range(PARALLEL)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    assert sum(counts) == OBJECT_BYTES, (server.name, counts)
    return sum(counts), seconds, None


def _read(server: Server, span: tuple[int, int] | None) -> int:
    """Read a body and throw it away; returns its bytes. A raw socket: http.client would be the slowest part."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=READ_TIMEOUT_S) as connection:
        headers = f"Range: bytes={span[0]}-{span[1]}\r\n" if span else ""
        connection.sendall(f"GET {server.path} HTTP/1.1\r\nHost: g\r\nConnection: close\r\n{headers}\r\n".encode())
        buffer = bytearray(READ_BYTES)
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(4096)
        count = len(head) - head.index(b"\r\n\r\n") - 4
        assert b" 20" in head[:12], head
        while received := connection.recv_into(buffer):
            count += received
        return count


def _wrk(server: Server, size: int) -> tuple[int, float, Figure]:
    """Random ranges of `size` bytes of the first 256 MiB, by wrk on 16 connections."""
    slots = 256 * MIB // size
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(
            f"""request = function()
  local first = math.random(0, {slots - 1}) * {size}
  return wrk.format("GET", nil, {{ Range = string.format("bytes=%d-%d", first, first + {size - 1}) }})
end
done = function(summary, latency)
  io.write(string.format("RESULT %d %d %d %f %f\\n", summary.requests, summary.errors.status + summary.errors.read,
    summary.duration, latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
"""
        )
        script.flush()
        url = f"http://127.0.0.1:{server.port}{server.path}"
        command = ["wrk", "-t1", f"-c{PARALLEL}", f"-d{WRK_SECONDS}s", "-s", script.name, url]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    line = next(line for line in output.splitlines() if line.startswith("RESULT"))
    requests, errors, micros, p50, p99 = (float(part) for part in line.split()[1:])
    assert errors == 0, (server.name, output)
    seconds = micros / 1e6
    count = int(requests) * size
    return count, seconds, Figure(count / seconds, requests / seconds, p50, p99)


def _make_object(folder: Path) -> str:
    """An object of random bytes, named as a shard is."""
    folder.mkdir()
    digest = hashlib.sha256()
    block = os.urandom(8 * MIB)
    partial = folder / "partial"
    with partial.open("wb") as file:
        for number in range(OBJECT_BYTES // len(block)):
            piece = number.to_bytes(8) + block[8:]
            digest.update(piece)
            file.write(piece)
    key = f"bench/shards/{digest.hexdigest()}.tar.zst"
    target = folder / "bucket" / key
    target.parent.mkdir(parents=True)
    partial.rename(target)
    return key


NGINX_HEAD = """daemon off; pid {home}/{name}.pid; error_log {home}/{name}.err; worker_processes {workers};
worker_rlimit_nofile 8192; events {{ worker_connections 2048; }}
http {{ access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 1000000;
  default_type application/zstd;
  client_body_temp_path {home}/{name}-body; proxy_temp_path {home}/{name}-proxy; fastcgi_temp_path {home}/{name}-f;
  uwsgi_temp_path {home}/{name}-u; scgi_temp_path {home}/{name}-s;
"""


@contextlib.contextmanager
def _origin(home: Path, key: str) -> Iterator[int]:
    port = free_port()
    text = NGINX_HEAD.format(home=home, name="origin", workers=1)
    text += f"server {{ listen 127.0.0.1:{port} reuseport; root {home}/origin; open_file_cache max=100; }} }}\n"
    with _run_nginx(home, "origin", text, port, f"/bucket/{key}"):
        yield port


NGINX_BUFFERS = "proxy_buffers 16 64k; proxy_buffer_size 64k; proxy_busy_buffers_size 128k;"
NGINX_SLICES = """slice 8m; proxy_cache slices; proxy_cache_key $uri$slice_range; proxy_set_header Range $slice_range;
      proxy_cache_valid 200 206 1d; proxy_cache_lock on;"""


@contextlib.contextmanager
def _nginx(home: Path, origin: int, key: str, name: str, tuning: str) -> Iterator[Server]:
    port = free_port()
    cache = home / f"{name}-slices"
    text = NGINX_HEAD.format(home=home, name=name, workers="auto")
    text += f"""  proxy_cache_path {cache} levels=1:2 keys_zone=slices:16m max_size=20g use_temp_path=off inactive=1d;
  upstream origin {{ server 127.0.0.1:{origin}; keepalive 64; }}
  server {{ listen 127.0.0.1:{port} reuseport backlog=1024;
    location /d/ {{
      secure_link $arg_md5,$arg_expires; secure_link_md5 "$secure_link_expires$uri {SECRET}";
      if ($secure_link = "") {{ return 403; }} if ($secure_link = "0") {{ return 410; }}
      proxy_http_version 1.1; proxy_set_header Connection "";
      {tuning}
      proxy_pass http://origin/bucket/;
    }} }} }}
"""
    expires = int(time.time()) + 36_000
    digest = hashlib.md5(f"{expires}/d/{key} {SECRET}".encode(), usedforsecurity=False).digest()
    signature = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    path = f"/d/{key}?md5={signature}&expires={expires}"

    def empty() -> None:
        # nginx keeps the index of its cache in memory: files that are gone are fetched again.
        for file in cache.rglob("*"):
            if file.is_file():
                file.unlink()

    with _run_nginx(home, name, text, port, path) as process:
        yield Server(name, port, path, process, empty if "proxy_cache " in tuning else None)


@contextlib.contextmanager
def _run_nginx(home: Path, name: str, text: str, port: int, path: str) -> Iterator[subprocess.Popen[bytes]]:
    configuration = home / f"{name}.conf"
    configuration.write_text("user root;\n" + text if os.geteuid() == 0 else text)
    with _running(["nginx", "-c", str(configuration), "-e", str(home / f"{name}.err")], {}, port, path) as process:
        yield process


@contextlib.contextmanager
def _bare(home: Path, origin: int, key: str) -> Iterator[Server]:
    port = free_port()
    script = f"""export default {{ async fetch(request) {{
  const {{ pathname }} = new URL(request.url);
  return fetch("http://127.0.0.1:{origin}/bucket/" + pathname.slice(3), {{ headers: request.headers }});
}} }};
"""
    (home / "bare.js").write_text(script)
    (home / "bare.capnp").write_text(
        f"""using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .main), (name = "internet", network = (allow = ["public", "private"]))],
  sockets = [(name = "http", address = "127.0.0.1:{port}", http = (), service = "main")] );
const main :Workerd.Worker = (
  modules = [(name = "bare.js", esModule = embed "bare.js")], compatibilityDate = "2026-11-01" );
"""
    )
    path = f"/d/{key}"
    with _running(
        [str(WORKER / "node_modules" / ".bin" / "workerd"), "serve", str(home / "bare.capnp")], {}, port, path
    ) as process:
        yield Server("bare", port, path, process, None)


@contextlib.contextmanager
def _lading(home: Path, origin: int, key: str, name: str, slice_cache: str) -> Iterator[Server]:
    plain = plain_gateway(
        home / name,
        f"http://127.0.0.1:{origin}",
        "bench/",
        SLICE_CACHE=slice_cache,
        LIMIT_USER_REQUESTS_PER_MINUTE="0",
        LIMIT_TOKEN_REQUESTS_PER_MINUTE="0",
        LIMIT_USER_BYTES_PER_DAY="0",
    )
    path = f"/d/{key}?token={plain.token}"

    def empty() -> None:
        for folder in plain.slices.iterdir():
            shutil.rmtree(folder)

    with _running(plain.command, plain.environment, plain.port, path) as process:
        yield Server(name, plain.port, path, process, empty if slice_cache == "disk" else None)


@contextlib.contextmanager
def _running(
    command: list[str], environment: dict[str, str], port: int, path: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own, from its first good answer until the end of the block."""
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                connection.request("GET", path, headers={"Range": "bytes=0-0"})
                status = connection.getresponse().status
                connection.close()
                if status == 206:
                    break
                raise RuntimeError(f"{command[0]} answers {status}")
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _family(pid: int) -> list[int]:
    """A process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(member for child in children for member in _family(int(child)))]


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def _print(results: dict[str, dict[str, Figure]]) -> None:
    print(f"{'case':<20}{'server':<13}{'MB/s':>8}{'req/s':>9}{'p50 ms':>8}{'p99 ms':>8}{'CPU s/GiB':>11}")
    cases = list(results["lading"])
    for case in cases:
        for name, measured in results.items():
            figure = measured[case]
            by_wrk = f"{figure.requests:>9.0f}{figure.p50:>8.2f}{figure.p99:>8.2f}"
            latency = by_wrk if figure.requests else " " * len(by_wrk)
            print(f"{case:<20}{name:<13}{figure.rate / 1e6:>8.0f}{latency}{figure.cpu_per_gib:>11.2f}")
    ours = ("lading", "lading-off")
    peers = [name for name in results if name not in ours]
    print(f"\n{'throughput as a multiple of':<32}" + "".join(f"{peer:>13}" for peer in peers))
    for case in cases:
        for name in ours:
            ratios = (results[name][case].rate / results[peer][case].rate for peer in peers)
            print(f"  {case:<19}{name:<11}" + "".join(f"{ratio:>13.2f}" for ratio in ratios))


if __name__ == "__main__":
    main()
