"""Bad input gets one clear line that says what to do, a non-zero exit, and nothing lost or half written."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from running_stack import RunningStack
from trees import listing

from lading.names import EXPIRED, latest_key, release_key
from lading.objectstore import bucket
from tasks.preflight import work_dir
from tasks.work import exclusive


def refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """The command failed with `code` and one line on stderr that has all `words`."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("lading: ")
    assert done.stderr.count("\n") == 1, done.stderr
    for word in words:
        assert word in done.stderr


def refused_early(stack: RunningStack, source: Path, dataset: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """A release that is refused before Prefect is needed, whose server takes ten seconds to start."""
    settings["PREFECT_API_URL"] = "http://127.0.0.1:9/api"
    return stack.lading("release", str(source), dataset, "--version", "v1", **settings)


def test_release_of_a_missing_source(stack: RunningStack, dataset: str, tmp_path: Path) -> None:
    refused(refused_early(stack, tmp_path / "nowhere", dataset), 7, "there is no folder", "check the path")


def test_release_of_an_empty_source(stack: RunningStack, dataset: str, tmp_path: Path) -> None:
    refused(refused_early(stack, tmp_path, dataset), 7, "there are no files in")
    assert bucket(stack.settings).head(latest_key(dataset)) is None
    assert not (stack.settings.home / "work" / dataset).exists()


def test_release_that_another_run_is_making(stack: RunningStack, dataset: str, make_tree: Callable[..., Path]) -> None:
    with exclusive(work_dir(stack.settings, dataset, "v1")):
        done = refused_early(stack, make_tree("source", {"a": b"a"}), dataset)
    refused(done, 6, "another run of this release is at work", "wait for it")


def test_release_of_a_version_that_was_removed(
    stack: RunningStack, dataset: str, make_tree: Callable[..., Path]
) -> None:
    bucket(stack.settings).put(release_key(dataset, "v1", EXPIRED), b"{}")
    done = refused_early(stack, make_tree("source", {"a": b"a"}), dataset)
    refused(done, 6, "release 'v1'", "not yet swept", "give another --version")


def test_release_that_could_not_be_tested(
    stack: RunningStack, dataset: str, make_tree: Callable[..., Path], tmp_path: Path
) -> None:
    done = refused_early(
        stack,
        make_tree("source", {"a": b"a"}),
        dataset,
        LADING_API_KEY="",
        LADING_CREDENTIALS=str(tmp_path / "none.json"),
    )
    refused(done, 2, "LADING_API_KEY is not set")


def test_release_with_labels_that_do_not_fit_leaves_nothing(
    stack: RunningStack, dataset: str, make_tree: Callable[..., Path], tmp_path: Path
) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("path,label\nnowhere,1\n")
    source = make_tree("source", {"a": b"a"})
    done = stack.lading("release", str(source), dataset, "--version", "v1", "--labels", str(labels))
    refused(done, 7, "names a path that is not in the source")
    assert not (stack.settings.home / "work" / dataset).exists()
    assert not list(bucket(stack.settings).list(f"{dataset}/"))


def test_release_of_a_source_that_goes_on_changing(
    stack: RunningStack, dataset: str, make_tree: Callable[..., Path]
) -> None:
    source = make_tree("source", {"steady.txt": b"steady", "log.bin": b"x" * 30_000_000})
    with growing(source / "log.bin"):
        done = stack.lading("release", str(source), dataset, "--version", "v1")
    refused(done, 7, "'log.bin'", "release when nothing writes there")
    assert not list(bucket(stack.settings).list(f"{dataset}/"))


@contextmanager
def growing(path: Path) -> Iterator[None]:
    """Append to a file all the time."""
    stop = threading.Event()

    def grow() -> None:
        with path.open("ab") as file:
            while not stop.is_set():
                file.write(b"x" * 1000)
                file.flush()
                time.sleep(0.001)

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    ("name", "version", "word"),
    [
        ("Bad_Name", "v1", "dataset name 'Bad_Name'"),
        ("good", "../v1", "version name '../v1'"),
        ("good", "latest", "latest"),
    ],
)
def test_release_under_a_bad_name(
    stack: RunningStack, make_tree: Callable[..., Path], name: str, version: str, word: str
) -> None:
    done = stack.lading("release", str(make_tree("s", {"a": b"a"})), name, "--version", version)
    refused(done, 2, word)


def test_release_of_a_version_that_exists(stack: RunningStack, dataset: str, make_tree: Callable[..., Path]) -> None:
    from flows.release import release

    release(source=str(make_tree("one", {"a": b"1"})), dataset=dataset, version="v1", smoke=False)
    before = {item.key: item.etag for item in bucket(stack.settings).list(f"{dataset}/")}
    done = refused_early(stack, make_tree("two", {"a": b"2"}), dataset)
    refused(done, 6, "release 'v1'", "exists already", "give another --version")
    assert {item.key: item.etag for item in bucket(stack.settings).list(f"{dataset}/")} == before


def test_up_on_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "lading", "up", "--gateway-port", str(port), "--issuer-port", "0"],
            env={**os.environ, "LADING_HOME": str(tmp_path / "home")},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    refused(done, 2, f"port {port} for the gateway is taken", "--gateway-port")


def test_pull_with_a_wrong_api_key(stack: RunningStack, tmp_path: Path) -> None:
    done = stack.lading("pull", "any", str(tmp_path / "dest"), LADING_API_KEY="lad_wrong")
    refused(done, 3, "HTTP 401", "LADING_API_KEY")
    assert not (tmp_path / "dest").exists()


def test_pull_without_a_grant(stack: RunningStack, tmp_path: Path) -> None:
    admin = {"LADING_ISSUER_SECRET": stack.config.secrets["issuer_secret"]}
    assert stack.lading("admin", "user", "add", "stranger", **admin).returncode == 0
    key = stack.lading("admin", "key", "create", "stranger", **admin).stdout.split()[-1]
    done = stack.lading("pull", "any", str(tmp_path / "dest"), LADING_API_KEY=key)
    refused(done, 3, "no_grant", "ask the dataset's owner")


def test_pull_of_a_version_that_is_not_there(
    stack: RunningStack, dataset: str, make_tree: Callable[..., Path], tmp_path: Path
) -> None:
    from flows.release import release

    release(source=str(make_tree("one", {"a": b"1"})), dataset=dataset, version="v1", smoke=False)
    refused(stack.lading("pull", f"{dataset}@v9", str(tmp_path / "dest")), 4, "v9")
    assert not (tmp_path / "dest").exists()


def test_pull_without_settings(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LADING_")}
    done = subprocess.run(
        [sys.executable, "-m", "lading", "pull", "any", str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    refused(done, 2, "LADING_ISSUER_URL is not set")


def test_pull_when_the_issuer_is_away(stack: RunningStack, tmp_path: Path) -> None:
    done = stack.lading("pull", "any", str(tmp_path / "dest"), LADING_ISSUER_URL="http://127.0.0.1:9")
    refused(done, 8, "cannot be reached", "LADING_ISSUER_URL")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 MiB; only root may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here: that needs root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_release_that_fills_its_disk_goes_on_when_there_is_room(
    stack: RunningStack, dataset: str, make_tree: Callable[..., Path], small_disk: Path
) -> None:
    source = make_tree("source", {"large.bin": os.urandom(80_000_000), "small.txt": b"small"})
    command = ("release", str(source), dataset, "--version", "v1", "--no-smoke")
    home = {"LADING_HOME": str(small_disk / "home")}
    refused(stack.lading(*command, "--quiet", **home), 1, "no space left", "LADING_HOME")
    assert bucket(stack.settings).head(latest_key(dataset)) is None

    subprocess.run(["mount", "-o", "remount,size=300m", str(small_disk)], check=True)
    done = stack.lading(*command, "--json", **home)
    assert done.returncode == 0, done.stderr
    assert bucket(stack.settings).head(latest_key(dataset)) is not None
    assert not list((small_disk / "home" / "work" / dataset).glob("v1/*"))


def test_a_full_disk_is_named_by_what_did_not_fit(
    stack: RunningStack, dataset: str, make_tree: Callable[..., Path], small_disk: Path, tmp_path: Path
) -> None:
    from flows.release import release

    release(source=str(make_tree("source", {"a.txt": b"a"})), dataset=dataset, version="v1", smoke=False)
    with (small_disk / "filler").open("wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(100_000))
            file.flush()
    assert stack.lading("show", dataset).returncode == 0, "the publisher's key is trusted from here on"
    trust, home = small_disk / "trust.json", small_disk / "home"
    refused(stack.lading("show", dataset, LADING_TRUST_STORE=str(trust)), 1, f"no space left for {trust};")
    pulled = stack.lading("pull", dataset, str(tmp_path / "dest"), "--quiet", LADING_TRUST_STORE=str(trust))
    refused(pulled, 1, f"no space left for {trust};")
    refused(stack.lading("ls", f"{dataset}@v1", LADING_HOME=str(home)), 1, f"no space left for LADING_HOME ({home})")
    command = [sys.executable, "-m", "lading", "ls", f"{dataset}@v1"]
    with Path("/dev/full").open("wb") as full:
        listed = subprocess.run(command, env=stack.environment, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (listed.returncode, listed.stderr.count("\n")) == (1, 1)
    assert "no space left for LADING_HOME" in listed.stderr
    assert " or stdout;" in listed.stderr


def test_pull_onto_a_disk_that_gets_full(
    stack: RunningStack, dataset: str, make_tree: Callable[..., Path], small_disk: Path
) -> None:
    from flows.release import release

    files = {f"{number:02d}.bin": os.urandom(2_000_000) for number in range(20)}
    source = make_tree("source", files)
    release(source=str(source), dataset=dataset, version="v1", smoke=False)
    dest = small_disk / "dest"
    # There is room when the pull begins; something else takes it meanwhile.
    filler = small_disk / "filler"
    command = [sys.executable, "-m", "lading", "pull", dataset, str(dest), "--jobs", "1", "--quiet"]
    process = subprocess.Popen(
        command, env=stack.environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    while process.poll() is None and not (dest / "00.bin").exists():
        time.sleep(0.001)
    with filler.open("wb") as file:
        try:
            while True:
                file.write(bytes(100_000))
                file.flush()
        except OSError:
            pass
    out, err = process.communicate()
    refused(subprocess.CompletedProcess(command, process.returncode, out, err), 1, "no space left for", "pull again")

    filler.unlink()
    done = stack.lading("pull", dataset, str(dest), "--json", "--quiet")

    assert done.returncode == 0, done.stderr
    assert listing(dest, mtimes=False) == listing(source, mtimes=False)
    assert '"already_bytes": 0' not in done.stdout


def test_pull_onto_a_disk_that_is_too_small(
    stack: RunningStack, dataset: str, make_tree: Callable[..., Path], small_disk: Path
) -> None:
    from flows.release import release

    source = make_tree("source", {"a.bin": os.urandom(70_000_000)})
    release(source=str(source), dataset=dataset, version="v1", smoke=False)
    done = stack.lading("pull", dataset, str(small_disk / "dest"), "--quiet")
    refused(done, 1, "free and needs", "free some space")


def test_a_second_stack_in_the_same_home_is_refused(stack: RunningStack) -> None:
    done = stack.lading("up", "--gateway-port", "0", "--issuer-port", "0")
    refused(done, 6, "runs in", "already", "LADING_HOME")


def test_a_failed_release_does_not_bind_a_later_one_to_its_options(
    stack: RunningStack, dataset: str, make_tree: Callable[..., Path], tmp_path: Path
) -> None:
    from flows.release import release

    source = make_tree("source", {"a.txt": b"a" * 1000})
    release(source=str(source), dataset=dataset, version="v1", smoke=False)
    (tmp_path / "bad.csv").write_text("no path here\n1\n")
    done = stack.lading("release", str(source), dataset, "--version", "v2", "--labels", str(tmp_path / "bad.csv"))
    refused(done, 7, "has no column 'path'")

    made = release(source=str(source), dataset=dataset, version="v2", full=True, smoke=False)

    assert made["new_shards"] == 1


def test_names_that_collide_on_other_systems_are_reported(
    stack: RunningStack, dataset: str, make_tree: Callable[..., Path]
) -> None:
    source = make_tree("source", {"Case.txt": b"1", "case.txt": b"2"})
    done = stack.lading("release", str(source), dataset, "--version", "v1", "--no-smoke")
    assert done.returncode == 0, done.stderr
    assert "warning: 'Case.txt' and 'case.txt' are one name on some file systems" in done.stderr
