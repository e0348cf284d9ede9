"""Fixtures for all tests: the real local stack, started once, and small source trees."""

from __future__ import annotations

import atexit
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

# A shell that runs the tests in the background has them ignore SIGINT, and so would the programs that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Prefect reads these when it is imported, so they are set before any test module is. Its server gets a database of its
# own: tests must neither see nor touch the user's. One server serves this process and the commands that tests run:
# each would start its own otherwise, which takes ten seconds and more. Kept in the environment, because this module may
# be imported a second time, by its name.
if "TESTS_PREFECT_PORT" not in os.environ:
    _home = tempfile.mkdtemp(prefix="lading-tests-prefect-")
    atexit.register(shutil.rmtree, _home, ignore_errors=True)
    with socket.socket() as _probe:
        _probe.bind(("127.0.0.1", 0))
        os.environ["TESTS_PREFECT_PORT"] = str(_probe.getsockname()[1])
    os.environ.update(
        {
            "PREFECT_HOME": _home,
            "PREFECT_LOGGING_LEVEL": "CRITICAL",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_API_URL": f"http://127.0.0.1:{os.environ['TESTS_PREFECT_PORT']}/api",
            "DO_NOT_TRACK": "1",
        }
    )
_PREFECT_PORT = int(os.environ["TESTS_PREFECT_PORT"])
for _name in [name for name in os.environ if name.startswith(("LADING_", "AWS_"))]:
    if _name != "AWS_CA_BUNDLE":
        del os.environ[_name]

from running_stack import RunningStack  # noqa: E402

from lading.settings import Settings  # noqa: E402
from lading.stack.config import prepare  # noqa: E402
from lading.stack.part import Part  # noqa: E402
from lading.stack.supervisor import Stack  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Prefect server for every flow that tests run in this process, and the commands that they run."""
    from prefect.flow_engine import FlowRunEngine

    real = FlowRunEngine.handle_exception

    def handle(engine: FlowRunEngine[Any, Any], error: Exception, *arguments: Any, **options: Any) -> Any:
        # Prefect keeps the exceptions of failed runs, and with them all that was in memory when they failed.
        traceback.clear_frames(error.__traceback__)
        return real(engine, error, *arguments, **options)

    log = tmp_path_factory.mktemp("prefect") / "server.log"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(_PREFECT_PORT)]
    server = Part("prefect", command, {**os.environ, "PREFECT_UI_ENABLED": "false"}, log.parent, log)
    server.wait_ready(f"http://127.0.0.1:{_PREFECT_PORT}/api/health", 120)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(FlowRunEngine, "handle_exception", handle)
        yield
    server.stop()
    server.wait()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, prefect_server: None) -> Iterator[RunningStack]:
    """Gateway, store and issuer, real ones, for the whole session; each test uses a dataset name of its own."""
    home = tmp_path_factory.mktemp("stack")
    config = prepare(Settings(home=home), gateway_port=0, issuer_port=0)
    environment = {**config.issuer_environment(), "LADING_TOKEN_MIN_TTL": "1"}
    os.environ.update(environment)
    with Stack(config):
        yield RunningStack(config, Settings.from_env(), dict(os.environ))
    for name in environment:
        os.environ.pop(name, None)


@pytest.fixture
def dataset(request: pytest.FixtureRequest) -> str:
    """A dataset name that no other test uses."""
    letters = "".join(letter if letter.isalnum() else "-" for letter in request.node.name.lower())
    return f"{letters[:40].strip('-')}-{random.randrange(16**6):06x}"


@pytest.fixture
def make_tree(tmp_path: Path) -> Callable[..., Path]:
    """A factory of source trees: `make_tree("v1", {"a/b.txt": b"..."})`."""

    def make(name: str, files: dict[str, bytes]) -> Path:
        root = tmp_path / name
        for path, data in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
        return root

    return make


def missing(what: str) -> NoReturn:
    """End a test for want of something that it needs: it is skipped, but not in CI: there it fails."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}, and CI must run this test")
    pytest.skip(what)


@pytest.fixture
def tool() -> Callable[[str], str]:
    """Find a program that a test needs."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            missing(f"the program {name!r} is not installed")
        return path

    return find


@pytest.fixture(scope="session")
def torch_packages() -> str:
    """A folder with PyTorch and torchdata: they are no dependency of ours, and too large for every developer's."""
    folder = os.environ.get("TESTS_TORCH", "")
    if not (Path(folder) / "torch").is_dir() or not folder:
        missing("TESTS_TORCH names no folder that PyTorch is installed in (.ci/run makes one)")
    return folder
