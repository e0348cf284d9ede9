from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lading import __version__
from lading.cli import COMMANDS, EXIT_INTERRUPTED, fail, main
from lading.errors import IntegrityError


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "lading", *arguments], capture_output=True, text=True, cwd=cwd)


def test_help_names_every_command() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert all(name in done.stdout for name in COMMANDS)


def test_the_version_is_data_on_stdout() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"lading {__version__}\n")


def test_an_unknown_command_is_a_usage_error() -> None:
    assert run("nonsense").returncode == 2


def test_an_error_is_one_line_on_stderr_with_the_hint_and_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        fail(IntegrityError("it does not match", "pull again"))
    assert caught.value.code == 5
    output = capsys.readouterr()
    assert (output.out, output.err) == ("", "lading: it does not match; pull again\n")


def test_a_bad_name_ends_without_a_traceback(tmp_path: Path) -> None:
    done = run("pull", "Bad@Name", str(tmp_path / "dest"))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("lading: dataset name 'Bad' is not valid; ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "dest").exists()


def test_ctrl_c_has_an_exit_code_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lading.cli.app", interrupted)
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == EXIT_INTERRUPTED
    assert "interrupted" in capsys.readouterr().err


def test_a_key_is_made_once_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    done = run("keygen", str(path))
    assert done.returncode == 0
    assert len(done.stdout.strip()) == 43
    before = path.read_bytes()
    again = run("keygen", str(path))
    assert again.returncode == 6
    assert path.read_bytes() == before
