from __future__ import annotations

import fcntl
import pickle
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import pytest

from lading.errors import ConflictError
from tasks.work import WorkDir, exclusive

HOLD = """
import sys, time
from pathlib import Path
from tasks.work import WorkDir, exclusive
with exclusive(WorkDir(Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_until_the_first_has_ended_however(tmp_path: Path) -> None:
    root = tmp_path / "work" / "data" / "v1"
    with subprocess.Popen([sys.executable, "-c", HOLD, root], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"
            with pytest.raises(ConflictError, match="another run of this release"), exclusive(WorkDir(root)):
                pass
        finally:
            other.kill()
    with exclusive(WorkDir(root)) as work:
        assert work.root.is_dir()


def test_two_versions_are_released_side_by_side(tmp_path: Path) -> None:
    with exclusive(WorkDir(tmp_path / "v1")), exclusive(WorkDir(tmp_path / "v2")):
        pass


def test_removing_the_folder_leaves_the_lock_alone(tmp_path: Path) -> None:
    with exclusive(WorkDir(tmp_path / "v1")) as work:
        work.prepare()
        work.remove()
        assert not work.root.exists()
        with pytest.raises(ConflictError), exclusive(WorkDir(tmp_path / "v1")):
            pass


def fail(work: WorkDir, made: Path) -> None:
    """A run that makes a file in its work folder, and then fails."""
    with exclusive(work):
        made.parent.mkdir(exist_ok=True)
        made.write_bytes(b"{}")
        raise RuntimeError


def test_a_run_that_failed_leaves_nothing_where_nothing_can_be_resumed(tmp_path: Path) -> None:
    work = WorkDir(tmp_path / "work" / "data" / "v1")
    with pytest.raises(RuntimeError):
        fail(work, work.entries)
    assert not list((tmp_path / "work").iterdir())


def test_a_run_that_failed_keeps_what_the_store_has_of_its_uploads(tmp_path: Path) -> None:
    work = WorkDir(tmp_path / "v1")
    journal = work.upload("0" * 64)
    with pytest.raises(RuntimeError):
        fail(work, journal)
    assert journal.exists()


def test_a_lock_file_that_was_removed_while_it_was_taken_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = WorkDir(tmp_path / "v1")
    real, taken = fcntl.flock, []

    def flock(file: BinaryIO, how: int) -> None:
        if not taken:
            work.lock.unlink()
        taken.append(how)
        real(file, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with exclusive(work):
        assert len(taken) == 2
        assert work.lock.exists()


def test_the_decisions_of_an_unfinished_run_are_found_by_the_next(tmp_path: Path) -> None:
    with exclusive(WorkDir(tmp_path / "v1")) as work:
        assert work.started() is None
        work.start({"parent": None, "full": False})
    with exclusive(WorkDir(tmp_path / "v1")) as work:
        assert work.started() == {"parent": None, "full": False}


def test_preparing_drops_what_an_unfinished_run_packed_but_not_its_decisions(tmp_path: Path) -> None:
    work = WorkDir(tmp_path)
    work.prepare()
    work.start({"full": True})
    stale = [work.placements(0), work.shards / "000001.partial", work.shards / "0.tar.zst"]
    for path in stale:
        path.write_bytes(b"")
    work.prepare()
    assert not any(path.exists() for path in stale)
    assert work.started() == {"full": True}


def test_a_work_folder_is_a_plain_value(tmp_path: Path) -> None:
    assert pickle.loads(pickle.dumps(WorkDir(tmp_path))) == WorkDir(tmp_path)
