from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.staging import KEPT_CHARACTERS, MAX_LINE_BYTES, stage_object

LINES = st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"])).map(str.encode), min_size=1, max_size=30)


@given(lines=LINES, compressed=st.booleans(), members=st.integers(1, 3), final_newline=st.booleans())
def test_lines_survive_however_they_are_packed(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], compressed: bool, members: int, final_newline: bool
) -> None:
    path = tmp_path_factory.mktemp("staging") / "staged.ndjson"
    data = b"\n".join(lines) + (b"\n" if final_newline else b"")
    size = max(len(data) // members, 1)
    parts = [data[start : start + size] for start in range(0, len(data), size)] or [b""]
    staged = stage_object(b"".join(gzip.compress(part) for part in parts) if compressed else data, path)
    assert staged.bad_lines == ()
    assert staged.text_bytes == path.stat().st_size
    assert path.read_bytes().rstrip(b"\n") == data.rstrip(b"\n")


@given(cut=st.integers(1, 400))
def test_truncation_is_noticed_and_keeps_whole_lines(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("staging") / "staged.ndjson"
    text = b"".join(b"%d line of some length\n" % (n * 7919) for n in range(200))
    data = gzip.compress(text)
    staged = stage_object(data[: max(len(data) - cut, 2)], path)
    assert [bad.reason for bad in staged.bad_lines] == ["truncated gzip object"]
    kept = path.read_bytes()
    assert text.startswith(kept)
    assert kept == b"" or kept.endswith(b"\n")


def test_damaged_gzip_is_noticed(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(b"line\n" * 1000))
    data[len(data) // 2] ^= 0xFF
    staged = stage_object(bytes(data), tmp_path / "staged")
    assert [bad.reason for bad in staged.bad_lines] == ["damaged gzip object"]


def test_zero_padding_after_the_last_member_is_no_damage(tmp_path: Path) -> None:
    staged = stage_object(gzip.compress(b"line\n") + b"\0" * 512, tmp_path / "staged")
    assert staged.bad_lines == ()
    assert (tmp_path / "staged").read_bytes() == b"line\n"


@pytest.mark.parametrize("compressed", [True, False])
def test_overlong_line_is_put_aside_and_the_next_one_kept(tmp_path: Path, compressed: bool) -> None:
    text = b"first\n" + b"x" * (3 * MAX_LINE_BYTES) + b"\nlast\n"
    staged = stage_object(gzip.compress(text) if compressed else text, tmp_path / "staged")
    assert [(bad.reason, len(bad.line)) for bad in staged.bad_lines] == [("line too long", KEPT_CHARACTERS)]
    assert (tmp_path / "staged").read_bytes().split() == [b"first", b"last"]


def test_text_that_is_not_utf8_is_marked_but_kept(tmp_path: Path) -> None:
    stage_object(b'{"id":"\xff\xfe"}\nsecond\n', tmp_path / "staged")
    assert (tmp_path / "staged").read_text("utf-8").splitlines() == ['{"id":"��"}', "second"]


def test_no_byte_is_left_that_would_cut_a_line_differently(tmp_path: Path) -> None:
    stage_object(b"a\rb\x00c\x01d\x02e\r\n", tmp_path / "staged")
    assert (tmp_path / "staged").read_bytes() == b"a b\x03c\x03d\x03e \n"
