"""ls, show, cat, url, verify and the Python interface, on the real stack."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from running_stack import RunningStack
from trees import text

import lading
from lading.manifest import parse


class Released(NamedTuple):
    dataset: str
    files: dict[str, bytes]


@pytest.fixture(scope="module")
def released(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Released:
    from flows.release import release

    files = {
        "train/a.txt": text(1, 5000),
        "train/b.csv": b"n,name\n1,one\n2,two\n",
        "test/a.txt": text(2, 3000),
        "large.bin": random.Random(3).randbytes(10_000_000),
        "empty.txt": b"",
    }
    folder = tmp_path_factory.mktemp("commands")
    for path, data in files.items():
        (folder / "source" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "source" / path).write_bytes(data)
    (folder / "source/link.csv").symlink_to("train/b.csv")
    (folder / "labels.csv").write_text("path,split\ntrain/a.txt,train\ntest/a.txt,test\n")
    release(
        source=str(folder / "source"), dataset="commands", version="v1", labels=str(folder / "labels.csv"), smoke=False
    )
    (folder / "source/added.txt").write_bytes(b"added")
    release(source=str(folder / "source"), dataset="commands", version="v2", smoke=False, promote=False)
    return Released("commands", files)


def out(stack: RunningStack, *arguments: str) -> str:
    done = stack.lading(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_ls_lists_datasets_releases_and_files(stack: RunningStack, released: Released) -> None:
    assert released.dataset in out(stack, "ls").splitlines()
    assert released.dataset in json.loads(out(stack, "ls", "--json"))
    lines = [line.split("\t") for line in out(stack, "ls", released.dataset).splitlines()]
    assert [(line[0], line[-1]) for line in lines] == [("v2", lines[0][-1]), ("v1", "latest")]
    assert lines[0][-1] != "latest"
    described = json.loads(out(stack, "ls", released.dataset, "--json"))
    assert [(release["version"], release["latest"]) for release in described] == [("v2", False), ("v1", True)]
    assert out(stack, "ls", "commands@latest").splitlines() == sorted([*released.files, "link.csv"])


def test_ls_narrows_files_and_shows_their_labels(stack: RunningStack, released: Released) -> None:
    assert out(stack, "ls", "commands@v1", "--include", "*.txt", "--where", "split = 'test'") == "test/a.txt\n"
    (entry,) = json.loads(out(stack, "ls", "commands@v1", "--include", "test", "--json"))
    assert (entry["path"], entry["size"], entry["labels"]) == ("test/a.txt", 3000, {"split": "test"})
    assert out(stack, "ls", "commands@v1", "-l", "--include", "link.csv").endswith("link.csv -> train/b.csv\n")


@pytest.mark.parametrize("arguments", [("nothing-here",), ("commands@v9",), ("commands@v1", "--include", "*.png")])
def test_ls_of_what_is_not_there_is_an_error(stack: RunningStack, released: Released, arguments: tuple[str]) -> None:
    done = stack.lading("ls", *arguments)
    assert done.returncode in (3, 4)
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)


def test_show_describes_a_release_and_prints_its_manifest(stack: RunningStack, released: Released) -> None:
    said = out(stack, "show", "commands@v2")
    assert "commands@v2" in said
    assert "1 added, 0 modified, 0 removed" in said
    manifest = parse(out(stack, "show", released.dataset, "--json").encode())
    assert manifest.version == "v1"


def test_cat_writes_exact_bytes(stack: RunningStack, released: Released) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lading", "cat", "commands/large.bin", "commands@v2/added.txt", "commands/link.csv"],
        env=stack.environment,
        capture_output=True,
        check=True,
    )
    assert done.stdout == released.files["large.bin"] + b"added" + released.files["train/b.csv"]


@pytest.mark.parametrize(
    ("path", "code"), [("commands", 2), ("commands/", 2), ("commands/nothing", 4), ("commands/train", 4)]
)
def test_cat_of_no_file_is_an_error(stack: RunningStack, released: Released, path: str, code: int) -> None:
    done = stack.lading("cat", path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)


def test_cat_into_a_pipe_that_is_closed_ends_quietly(stack: RunningStack, released: Released) -> None:
    command = f"{sys.executable} -m lading cat commands/large.bin | head -c 10 | wc -c"
    done = subprocess.run(command, shell=True, env=stack.environment, capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("10", "")


def test_curl_and_zstd_read_what_url_prints(
    stack: RunningStack, released: Released, tool: Callable[[str], str], tmp_path: Path
) -> None:
    url, span, skip, take = out(stack, "url", "commands", "train/a.txt").strip().split("\t")
    frame = subprocess.run([tool("curl"), "-sSf", "-r", span, url], capture_output=True, check=True).stdout
    raw = subprocess.run([tool("zstd"), "-dc"], input=frame, capture_output=True, check=True).stdout
    assert raw[int(skip) :][: int(take)] == released.files["train/a.txt"]

    parts = json.loads(out(stack, "url", "commands", "large.bin", "--json"))
    assert sum(part["take"] for part in parts) == 10_000_000
    lines = out(stack, "url", "commands").splitlines()
    assert "/shards/" in lines[0]
    assert subprocess.run([tool("curl"), "-sSf", "-o", "/dev/null", lines[0]], check=True).returncode == 0


def test_aria2_takes_the_list_that_url_prints(
    stack: RunningStack, released: Released, tool: Callable[[str], str], tmp_path: Path
) -> None:
    listed = out(stack, "url", "commands", "--aria2")
    subprocess.run(
        [tool("aria2c"), "-i", "-", "-d", str(tmp_path), "--quiet", "--no-conf"], input=listed, text=True, check=True
    )
    assert len(list(tmp_path.glob("*.tar.zst"))) == 1


def test_verify_finds_what_was_damaged(stack: RunningStack, released: Released, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    out(stack, "pull", "commands@v1", str(dest), "--quiet")
    for _ in range(2):
        assert json.loads(out(stack, "verify", str(dest), "--json"))["findings"] == []
    status = (dest / "train/a.txt").stat()
    damaged = bytearray(released.files["train/a.txt"])
    damaged[100] ^= 1
    (dest / "train/a.txt").write_bytes(damaged)
    import os

    os.utime(dest / "train/a.txt", ns=(status.st_atime_ns, status.st_mtime_ns))
    (dest / "large.bin").unlink()
    (dest / "link.csv").unlink()

    done = stack.lading("verify", str(dest))

    assert done.returncode == 5
    assert sorted(done.stdout.splitlines()) == ["changed\ttrain/a.txt", "missing\tlarge.bin", "missing\tlink.csv"]
    assert "make them right with: lading pull commands@v1" in done.stderr
    assert stack.lading("verify", str(dest)).stdout == done.stdout
    out(stack, "pull", "commands@v1", str(dest), "--quiet")
    assert out(stack, "verify", str(dest)) == ""
    assert (dest / "train/a.txt").read_bytes() == released.files["train/a.txt"]


def test_verify_of_a_folder_that_was_not_pulled_is_an_error(stack: RunningStack, tmp_path: Path) -> None:
    done = stack.lading("verify", str(tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (4, 1)
    assert list(tmp_path.iterdir()) == []


def test_verify_and_pull_count_the_same_files(stack: RunningStack, released: Released, tmp_path: Path) -> None:
    pulled = json.loads(out(stack, "pull", "commands@v1", str(tmp_path), "--quiet", "--json"))
    verified = json.loads(out(stack, "verify", str(tmp_path), "--json"))
    assert pulled["files"] == verified["files"] == len(released.files), "the link is no file"
    assert pulled["bytes"] == verified["bytes"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("url", "commands", "--ttl", "0"), "ttl is 0 seconds; ask for 1 to 3600"),
        (("url", "commands", "--ttl", "99999"), "ttl is 99999 seconds; ask for 1 to 3600"),
        (("url", "commands/a\nb"), r"commands@v1/a\nb: The key holds a control character"),
        (("url", "commands/../up"), "bad_request"),
    ],
)
def test_what_a_server_finds_wrong_with_the_request_is_a_usage_error(
    stack: RunningStack, released: Released, arguments: tuple[str, ...], words: str
) -> None:
    done = stack.lading(*arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert words in done.stderr
    assert "try again" not in done.stderr


def test_names_with_control_characters_stay_on_one_line(stack: RunningStack, dataset: str, tmp_path: Path) -> None:
    from flows.release import release

    source, dest = tmp_path / "source", tmp_path / "dest"
    source.mkdir()
    (source / "a.txt").write_bytes(b"a")
    release(source=str(source), dataset=dataset, version="v1", smoke=False)
    evil = "two\nlines \x1b[31m\u202etxt"
    (source / evil).write_bytes(b"b")
    release(source=str(source), dataset=dataset, version="v2", smoke=False)
    shown = r"two\nlines \x1b[31m\u202etxt"

    assert out(stack, "ls", f"{dataset}@v2").split("\n") == ["a.txt", shown, ""]
    assert out(stack, "ls", "-l", f"{dataset}@v2").splitlines()[1].endswith(f"\t{shown}")
    assert [entry["path"] for entry in json.loads(out(stack, "ls", "--json", f"{dataset}@v2"))] == ["a.txt", evil]
    assert out(stack, "diff", f"{dataset}@v1", "v2") == f"+ {shown}\n"
    out(stack, "pull", dataset, str(dest), "--quiet")
    (dest / evil).unlink()
    assert stack.lading("verify", str(dest)).stdout == f"missing\t{shown}\n"


def test_a_yanked_version_is_not_listed_and_whoever_names_it_is_warned(
    stack: RunningStack, dataset: str, tmp_path: Path
) -> None:
    from flows.release import release

    (tmp_path / "source").mkdir()
    (tmp_path / "source/a.txt").write_bytes(b"a")
    for version in ("v1", "v2"):
        release(source=str(tmp_path / "source"), dataset=dataset, version=version, smoke=False)
    out(stack, "yank", dataset, "v1", "--reason", "labels\nare wrong")

    for arguments in (
        ("show", f"{dataset}@v1"),
        ("pull", f"{dataset}@v1", str(tmp_path / "dest")),
        ("cat", f"{dataset}@v1/a.txt"),
        ("diff", f"{dataset}@v1", "v2"),
    ):
        done = stack.lading(*arguments)
        assert done.returncode == 0
        assert f"lading: {dataset}@v1 was yanked at 20" in done.stderr
        assert r"(labels\nare wrong): it is kept, but no longer offered" in done.stderr
    assert "yanked" not in stack.lading("show", dataset).stderr
    assert (tmp_path / "dest/a.txt").read_bytes() == b"a"


def test_a_dataset_that_offers_no_release_is_not_listed(stack: RunningStack, dataset: str, tmp_path: Path) -> None:
    from flows.release import release

    (tmp_path / "source").mkdir()
    (tmp_path / "source/a.txt").write_bytes(b"a")
    release(source=str(tmp_path / "source"), dataset=dataset, version="v1", smoke=False, promote=False)
    assert dataset in out(stack, "ls").splitlines(), "not promoted, but offered by its name"
    out(stack, "yank", dataset, "v1")
    assert dataset not in out(stack, "ls").splitlines()
    assert stack.lading("ls", dataset).returncode == 4


@pytest.mark.usefixtures("released")
class TestPython:
    """The same through `import lading`."""

    def test_a_file_is_read_and_sought_in(self, released: Released) -> None:
        data = released.files["large.bin"]
        with lading.open("commands@v1/large.bin") as file:
            assert file.read(10) == data[:10]
            chosen = random.Random(5)
            for _ in range(20):
                position, count = chosen.randrange(len(data) + 10), chosen.randrange(100_000)
                assert file.seek(position) == position
                assert file.read(count) == data[position : position + count]
            assert file.seek(-5, 2) == len(data) - 5
            assert file.read() == data[-5:]

    def test_text_is_read_by_lines(self) -> None:
        with lading.open("commands/link.csv", "r") as file:
            assert file.read() == "n,name\n1,one\n2,two\n"
        with pytest.raises(ValueError, match="read only"):
            lading.open("commands/link.csv", "w")  # type: ignore[call-overload]

    def test_files_are_narrowed_step_by_step(self, released: Released) -> None:
        with lading.files("commands@v1") as files:
            assert files.release == "commands@v1"
            assert [info.path for info in files.include("*.txt").exclude("empty.txt")] == ["test/a.txt", "train/a.txt"]
            narrowed = files.where("size > 100 -- bytes").where("split = 'train'")
            (info,) = narrowed
            assert (info.path, info.labels) == ("train/a.txt", {"split": "train"})
            assert files.read(info) == released.files["train/a.txt"]
            with pytest.raises(lading.UsageError):
                list(files.where("size > 0 OR").where("true"))

    def test_a_pull_of_a_part(self, tmp_path: Path) -> None:
        result = lading.pull("commands@v1", tmp_path / "dest", include="train")
        assert isinstance(result, lading.PullResult)
        assert result.files == 2
        with pytest.raises(lading.NotFoundError):
            lading.pull("commands@v1", tmp_path / "dest", paths=["nothing"])

    def test_fsspec_reads_a_release(self, released: Released) -> None:
        fsspec = pytest.importorskip("fsspec")
        with fsspec.open("lading://commands@v1/train/b.csv", "r") as file:
            assert file.read() == "n,name\n1,one\n2,two\n"
        fs = fsspec.filesystem("lading")
        assert fs.ls("commands@v1/train", detail=False) == ["commands@v1/train/a.txt", "commands@v1/train/b.csv"]
        assert fs.glob("commands@v1/**/*.txt") == [
            "commands@v1/empty.txt",
            "commands@v1/test/a.txt",
            "commands@v1/train/a.txt",
        ]
        assert fs.cat_file("commands@v1/large.bin", -100, -10) == released.files["large.bin"][-100:-10]
        assert fs.info("commands@v1/large.bin")["size"] == 10_000_000
        assert fs.checksum("commands@v1/large.bin") == hashlib.sha256(released.files["large.bin"]).hexdigest()
        assert fs.modified("commands@v1/large.bin").timestamp() == fs.info("commands@v1/large.bin")["mtime"]
        assert fs.isdir("commands@v1/train")
        assert not fs.exists("commands@v1/nothing")
        with pytest.raises(FileNotFoundError):
            fs.open("commands@v1/nothing")

    def test_duckdb_reads_csv_through_fsspec(self) -> None:
        fsspec = pytest.importorskip("fsspec")
        import duckdb

        connection = duckdb.connect()
        connection.register_filesystem(fsspec.filesystem("lading"))
        rows = connection.execute("SELECT name FROM 'lading://commands@v1/train/b.csv' ORDER BY n").fetchall()
        assert rows == [("one",), ("two",)]

    def test_small_files_that_lie_together_are_fetched_together(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from lading.client.transfer import Transfer

        asked = []
        original = Transfer.pieces
        with lading.files("commands@v1") as files:
            monkeypatch.setattr(
                Transfer, "pieces", lambda self, *arguments: asked.append(1) or original(self, *arguments)
            )
            assert sum(len(files.read(info)) for info in files.include("*.txt", "*.csv") if info.type == "file") > 8000
        assert len(asked) == 1

    def test_samples_are_files_with_one_basename(self, released: Released) -> None:
        from lading.torch import SampleDataset

        samples = list(SampleDataset("commands@v1", include=("train", "test")))
        assert [sample["__key__"] for sample in samples] == ["test/a", "train/a", "train/b"]
        assert samples[1]["txt"] == released.files["train/a.txt"]
        assert samples[1]["__labels__"] == {"split": "train"}

    def test_an_epoch_goes_on_where_its_state_says_and_workers_share_it(self) -> None:
        from lading.torch import SampleDataset, _order

        first = SampleDataset("commands@v1", shuffle=True, buffer=1, seed=3)
        whole = [sample["__key__"] for sample in first]
        assert first.state_dict() == {"release": "commands@v1", "epoch": 1, "given": 0}
        again = SampleDataset("commands@v1", shuffle=True, buffer=1, seed=3)
        begun = iter(again)
        given = [next(begun)["__key__"], next(begun)["__key__"]]
        resumed = SampleDataset("commands@v1", shuffle=True, buffer=1, seed=3)
        resumed.load_state_dict(again.state_dict())
        assert given + [sample["__key__"] for sample in resumed] == whole
        for shuffle in (False, True):
            parts = [_order(1003, shuffle, 1, 100, 0, part, 7) for part in range(7)]
            assert sorted(number for part in parts for number in part) == list(range(1003))
