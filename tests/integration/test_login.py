"""lading login and logout, against the real issuer."""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from running_stack import RunningStack


class Person:
    """Somebody with a home of their own and no LADING_ variables; `said` is all that any command printed."""

    def __init__(self, stack: RunningStack, home: Path) -> None:
        self.issuer = str(stack.settings.issuer_url)
        self.key = str(stack.settings.api_key)
        self.file = home / ".config/lading/credentials.json"
        own = {
            name: value
            for name, value in stack.environment.items()
            if not name.startswith(("LADING_", "XDG_", "AWS_")) and name != "APPDATA"
        }
        self.environment = {**own, "HOME": str(home), "LADING_HOME": str(home / "lading")}
        self.said = ""

    def runs(self, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "lading", *arguments],
            env={**self.environment, **environment},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.said += done.stdout + done.stderr
        return done

    def signs_in(self) -> None:
        assert self.runs("login", "--issuer", self.issuer, "--stdin", stdin=self.key + "\n").returncode == 0


@pytest.fixture
def person(stack: RunningStack, tmp_path: Path) -> Person:
    return Person(stack, tmp_path)


def test_a_key_is_kept_used_and_forgotten(person: Person) -> None:
    before = person.runs("ls")
    assert (before.returncode, "run 'lading login'" in before.stderr) == (2, True)

    person.signs_in()

    assert stat.S_IMODE(person.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(person.file.parent.stat().st_mode) == 0o700
    assert json.loads(person.file.read_text()) == {
        "api_key": person.key,
        "gateway_url": None,
        "issuer_url": person.issuer,
    }
    assert person.runs("ls").returncode == 0
    assert person.runs("logout").stderr == f"lading: signed out: {person.file} is removed\n"
    assert not person.file.exists()
    assert person.runs("ls").returncode == 2
    assert person.runs("logout").returncode == 0
    assert person.key not in person.said


def test_a_key_that_the_issuer_refuses_is_not_kept_and_the_old_one_stays(person: Person) -> None:
    refused = person.runs("login", "--issuer", person.issuer, "--stdin", stdin="lad_nonsense\n")
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (3, "", 1)
    assert "nothing was kept" in refused.stderr
    assert "lad_nonsense" not in refused.stderr
    assert not person.file.exists()
    person.signs_in()
    before = person.file.read_bytes()
    assert person.runs("login", "--issuer", person.issuer, "--stdin", stdin="lad_nonsense\n").returncode == 3
    assert person.file.read_bytes() == before
    assert list(person.file.parent.iterdir()) == [person.file]


@pytest.mark.parametrize(
    ("arguments", "stdin", "words"),
    [
        (("--stdin",), "", "no issuer is named"),
        (("--issuer", "issuer.example", "--stdin"), "lad_x\n", "begins with http"),
        (("--issuer", "http://127.0.0.1:1", "--stdin"), "\n", "that is no API key"),
        (("--issuer", "http://127.0.0.1:1", "--stdin"), "two words\n", "that is no API key"),
        (("--issuer", "http://127.0.0.1:1"), "lad_x\n", "--stdin"),
    ],
)
def test_what_is_missing_or_malformed_is_one_clear_line(
    person: Person, arguments: tuple[str, ...], stdin: str, words: str
) -> None:
    done = person.runs("login", *arguments, stdin=stdin)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert words in done.stderr
    assert not person.file.exists()


def test_the_environment_wins_and_a_kept_key_goes_to_its_own_issuer_only(person: Person) -> None:
    person.signs_in()
    assert person.runs("ls", LADING_API_KEY="lad_other").returncode == 3
    elsewhere = person.runs("ls", LADING_ISSUER_URL="http://127.0.0.1:1")
    assert (elsewhere.returncode, "LADING_API_KEY is not set" in elsewhere.stderr) == (2, True)


def test_a_login_to_another_issuer_than_the_environment_names_says_what_wins(person: Person) -> None:
    other = {"LADING_ISSUER_URL": "http://127.0.0.1:1", "LADING_GATEWAY_URL": "http://127.0.0.1:2"}
    done = person.runs("login", "--issuer", person.issuer, "--stdin", stdin=person.key + "\n", **other)
    assert done.returncode == 0
    assert "LADING_ISSUER_URL names another issuer, http://127.0.0.1:1: unset it" in done.stderr
    assert json.loads(person.file.read_text())["gateway_url"] is None, "that one goes with the other issuer"


def test_an_issuer_that_is_none_is_a_wrong_url_and_nothing_is_kept(person: Person) -> None:
    for url, code in (("http://127.0.0.1:1", 8), (f"{person.issuer}/elsewhere", 4)):
        done = person.runs("login", "--issuer", url, "--stdin", stdin=person.key + "\n")
        assert (done.returncode, done.stderr.count("\n")) == (code, 1)
        assert done.stderr.endswith("check the key and the issuer's URL; nothing was kept\n")
    assert not person.file.exists()


def test_a_file_that_others_may_read_is_refused(person: Person) -> None:
    person.signs_in()
    person.file.chmod(0o644)
    done = person.runs("ls")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"chmod 600 {person.file}" in done.stderr
    assert person.runs("logout").returncode == 0


def test_on_a_terminal_the_key_is_asked_for_and_not_shown(person: Person) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "lading", "login"]
    process = subprocess.Popen(
        command, env=person.environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    shown = answer(ours, "", "Issuer URL: ", person.issuer)
    shown = answer(ours, shown, "API key: ", person.key)
    shown += rest(ours)
    os.close(ours)
    assert process.wait(timeout=30) == 0, shown
    assert "signed in" in shown
    assert person.key not in shown
    assert json.loads(person.file.read_text())["api_key"] == person.key


def answer(terminal: int, shown: str, question: str, text: str) -> str:
    while not shown.endswith(question):
        shown += os.read(terminal, 1000).decode()
    # Who asks turns the echo off after it has asked: give it the moment that a person takes.
    time.sleep(0.3)
    os.write(terminal, text.encode() + b"\n")
    return shown


def rest(terminal: int) -> str:
    shown = ""
    try:
        while data := os.read(terminal, 1000):
            shown += data.decode()
    except OSError:
        pass  # the other side is closed
    return shown
