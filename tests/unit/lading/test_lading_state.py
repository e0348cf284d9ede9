from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lading.client.state import State
from lading.errors import ConflictError, UsageError
from lading.tables import Tables

HASH, OTHER = b"\x01" * 32, b"\x02" * 32
RELEASE = {"dataset": "data", "version": "v1", "manifest_sha256": "m"}

HOLD = """
import sys, time
from pathlib import Path
from lading.client.state import State
state = State(Path(sys.argv[1]))
state.open()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    opened = State(tmp_path / "dest")
    opened.open()
    yield opened
    opened.close()


def load(state: State) -> tuple[dict[str, tuple[object, ...]], set[tuple[object, ...]]]:
    """What a new process would read: installed files by path, and chunks that are done."""
    with Tables() as tables:
        state.load(tables)
        installed = {row[0]: row[1:] for row in tables.rows("SELECT path, size, mtime_ns, sha256 FROM installed")}
        return installed, set(tables.rows("SELECT partial, seq FROM done"))


def reopen(state: State) -> State:
    state.close()
    again = State(state.dest)
    again.open()
    return again


def test_a_new_folder_has_nothing(state: State) -> None:
    assert load(state) == ({}, set())
    assert state.release() is None


def test_notes_are_found_by_the_next_pull(state: State) -> None:
    load(state)
    state.note_file("a", 1, 10, HASH)
    state.note_chunk("p", 0)
    state.note_chunk("p", 3)
    again = reopen(state)
    assert load(again) == ({"a": (1, 10, HASH)}, {("p", 0), ("p", 3)})
    again.close()


def test_the_last_note_of_a_file_counts(state: State) -> None:
    load(state)
    state.note_file("a", 1, 10, HASH)
    state.note_file("a", 2, 20, OTHER)
    state.note_file("b", 1, 10, HASH)
    state.note_gone("b")
    state.note_gone("c")
    state.note_file("c", 1, 10, HASH)
    assert load(state)[0] == {"a": (2, 20, OTHER), "c": (1, 10, HASH)}


def test_chunks_before_a_drop_do_not_count_and_those_after_it_do(state: State) -> None:
    load(state)
    state.note_chunk("p", 0)
    state.note_chunk("other", 0)
    state.note_dropped("p")
    state.note_chunk("p", 1)
    assert load(state)[1] == {("p", 1), ("other", 0)}


def test_a_torn_last_line_is_passed_over_and_later_notes_survive(state: State) -> None:
    load(state)
    state.note_file("a", 1, 10, HASH)
    state.note_chunk("p", 0)
    journal = state.root / "journal.ndjson"
    whole = journal.read_bytes()
    line = len(whole.splitlines(keepends=True)[-1])
    for cut in (1, 2, line // 2, line - 1, line):
        journal.write_bytes(whole[:-cut])
        again = reopen(state)
        # A line that lacks nothing but its newline is whole.
        assert load(again) == ({"a": (1, 10, HASH)}, {("p", 0)} if cut == 1 else set())
        again.note_chunk("p", 1)
        state = reopen(again)
        assert ("p", 1) in load(state)[1]
    state.close()


def test_finishing_folds_the_journal_and_tidies_up(state: State) -> None:
    load(state)
    state.note_file("a", 1, 10, HASH)
    (state.partial / "p").write_bytes(b"half")
    for name in ("m", "old"):
        (state.indexes / name).mkdir()
    with Tables() as tables:
        state.finish(tables, RELEASE)
    assert not (state.root / "journal.ndjson").exists()
    assert not state.partial.exists()
    assert [index.name for index in state.indexes.iterdir()] == ["m"]
    again = reopen(state)
    assert again.release() == RELEASE
    assert load(again) == ({"a": (1, 10, HASH)}, set())
    again.note_gone("a")
    again.note_file("b", 2, 20, OTHER)
    assert load(again)[0] == {"b": (2, 20, OTHER)}
    again.close()


def test_a_journal_that_outlived_its_folding_is_replayed_without_harm(state: State) -> None:
    load(state)
    state.note_file("a", 1, 10, HASH)
    state.note_gone("b")
    journal = state.root / "journal.ndjson"
    saved = journal.read_bytes()
    with Tables() as tables:
        state.finish(tables, RELEASE)
    journal.write_bytes(saved)
    again = reopen(state)
    assert load(again)[0] == {"a": (1, 10, HASH)}
    again.close()


NOTES = st.lists(
    st.one_of(
        st.tuples(st.just("file"), st.sampled_from("abc"), st.integers(0, 9)),
        st.tuples(st.just("gone"), st.sampled_from("abc"), st.just(0)),
        st.tuples(st.just("chunk"), st.sampled_from("pq"), st.integers(0, 3)),
        st.tuples(st.just("drop"), st.sampled_from("pq"), st.just(0)),
        st.tuples(st.just("finish"), st.just(""), st.just(0)),
        st.tuples(st.just("restart"), st.just(""), st.just(0)),
    ),
    max_size=25,
)


@given(notes=NOTES)
@settings(max_examples=12, deadline=None)
def test_any_history_reads_as_if_it_were_kept_in_memory(
    tmp_path_factory: pytest.TempPathFactory, notes: list[tuple[str, str, int]]
) -> None:
    state = State(tmp_path_factory.mktemp("state"))
    state.open()
    load(state)
    installed: dict[str, tuple[object, ...]] = {}
    done: set[tuple[object, ...]] = set()
    for op, name, number in notes:
        match op:
            case "file":
                state.note_file(name, number, number, HASH)
                installed[name] = (number, number, HASH)
            case "gone":
                state.note_gone(name)
                installed.pop(name, None)
            case "chunk":
                state.note_chunk(name, number)
                done.add((name, number))
            case "drop":
                state.note_dropped(name)
                done = {entry for entry in done if entry[0] != name}
            case "finish":
                with Tables() as tables:
                    state.finish(tables, RELEASE)
                done = set()
                state = reopen(state)
                load(state)
            case "restart":
                state = reopen(state)
                load(state)
    assert load(state) == (installed, done)
    state.close()


def test_names_of_any_kind_survive(state: State) -> None:
    names = ["new\nline", 'quo"te', "日本", "back\\slash", "\u2028", "x" * 4000]
    load(state)
    for name in names:
        state.note_file(name, 1, 1, HASH)
    assert set(load(state)[0]) == set(names)


def test_a_second_process_is_refused_until_the_first_has_ended_however(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"
            with pytest.raises(ConflictError, match="another pull is at work"):
                State(tmp_path).open()
        finally:
            other.kill()
    state = State(tmp_path)
    state.open()
    state.close()


def test_a_file_in_place_of_the_folder_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="cannot be written"):
        State(tmp_path / "file").open()


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_a_malformed_note_of_the_last_release_counts_as_none(state: State, text: str) -> None:
    (state.root / "release.json").write_text(text)
    assert state.release() is None
    (state.root / "release.json").write_text(json.dumps(RELEASE))
    assert state.release() == RELEASE
