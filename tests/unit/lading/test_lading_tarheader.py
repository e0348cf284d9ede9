"""The fast header is tarfile's header."""

from __future__ import annotations

import tarfile

from hypothesis import given
from hypothesis import strategies as st

from lading.tarheader import header

NAMES = st.text(min_size=1, max_size=130).filter(lambda name: "\0" not in name and not name.endswith("/"))
KINDS = st.sampled_from([tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE])


def by_tarfile(path: str, kind: bytes, size: int, mode: int, mtime: int, target: str) -> bytes:
    info = tarfile.TarInfo(path)
    info.type, info.size, info.mode, info.mtime, info.linkname = kind, size, mode, mtime, target
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


@given(
    path=NAMES | st.text(alphabet="abc/é", min_size=95, max_size=105).map(lambda name: name.strip("/") or "x"),
    kind=KINDS,
    size=st.integers(0, 2**40) | st.integers(8**11 - 2, 8**11 + 2),
    mode=st.integers(0, 0o777),
    mtime=st.integers(0, 2**34),
    target=st.just("") | NAMES,
)
def test_every_header_is_what_tarfile_writes(
    path: str, kind: bytes, size: int, mode: int, mtime: int, target: str
) -> None:
    assert header(path, kind, size, mode, mtime, target) == by_tarfile(path, kind, size, mode, mtime, target)


def test_names_around_the_limit_of_a_plain_header() -> None:
    for length in (99, 100, 101):
        for kind in (tarfile.REGTYPE, tarfile.DIRTYPE):
            assert header("x" * length, kind, 0, 0o644, 0, "") == by_tarfile("x" * length, kind, 0, 0o644, 0, "")
