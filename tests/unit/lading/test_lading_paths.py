from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lading.errors import ConflictError, IntegrityError
from lading.paths import Folders, check_path, link_is_safe, printable


@pytest.mark.parametrize("path", ["a", "a/b", "a/.lading", "...", "a..b", " ", "-", "a\\b", "\n", "日本", ".ladingx"])
def test_a_path_below_the_root_is_returned(path: str) -> None:
    assert check_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "../a",
        "a/../b",
        "a/..",
        "./a",
        "a/.",
        "a\0b",
        ".lading",
        ".lading/journal",
    ],
)
def test_an_unsafe_path_is_refused(path: str) -> None:
    with pytest.raises(IntegrityError, match="unsafe path"):
        check_path(path)


@pytest.mark.parametrize(
    ("path", "target"), [("a", "b"), ("a", "b/c"), ("a", "."), ("a/b", ".."), ("a/b", "../c"), ("a/b/c", "../../d")]
)
def test_a_link_that_stays_below_the_root_is_safe(path: str, target: str) -> None:
    assert link_is_safe(path, target)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("a", ""),
        ("a", "/"),
        ("a", "/b"),
        ("a", "//b"),
        ("a", ".."),
        ("a/b", "../.."),
        ("a", "b/.."),
        ("a/b", "../c/.."),
        ("a", "b\0"),
    ],
)
def test_a_link_that_may_leave_the_root_is_not_safe(path: str, target: str) -> None:
    assert not link_is_safe(path, target)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a b/ünïcode-名前.txt", "a b/ünïcode-名前.txt"),
        ("a\u00a0b\u3000c", "a\u00a0b\u3000c"),
        ("👩\u200d🚀", "👩\u200d🚀"),
        ("a\\b", "a\\b"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\x1b[31mred\x7f\x85", r"\x1b[31mred\x7f\x85"),
        ("exe.\u202etxt", r"exe.\u202etxt"),
        ("a\u2028b", r"a\u2028b"),
        ("\udcff", r"\udcff"),
    ],
)
def test_what_people_see_of_a_name_is_one_line_without_control_characters(text: str, shown: str) -> None:
    assert printable(text) == shown


PARTS = st.sampled_from(["a", "b", "c", "..", ".", ""])
LINKS = st.lists(
    st.tuples(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), st.lists(PARTS, min_size=1, max_size=6)),
    min_size=1,
    max_size=8,
)


@given(links=LINKS, probes=st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=5), max_size=5))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_chain_of_safe_links_leads_out(
    tmp_path_factory: pytest.TempPathFactory, links: list[tuple[list[str], list[str]]], probes: list[list[str]]
) -> None:
    """Links are made as a pull makes them, in real folders; then the system itself resolves every path."""
    root = tmp_path_factory.mktemp("links") / "a" / "b"
    root.mkdir(parents=True)
    (root.parent / "c").mkdir()
    folders = Folders(root)
    made = []
    for names, parts in links:
        path, target = "/".join(names), "/".join(parts)
        if link_is_safe(path, target):
            try:
                folders.ensure_parent(path)
                (root / path).symlink_to(target)
            except (ConflictError, FileExistsError):
                continue
            made.append(path)
    for path in [*made, *(f"{link}/{'/'.join(probe)}" for link in made for probe in probes)]:
        with contextlib.suppress(OSError, RuntimeError):  # it leads nowhere, or in a circle
            assert (root / path).resolve(strict=True).is_relative_to(root), path


def test_parent_folders_are_made(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    folders.ensure_parent("a/b/file")
    folders.ensure_parent("a/b/other")
    folders.ensure("")
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "b"]


def test_a_folder_that_is_there_is_taken(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    Folders(tmp_path).ensure_parent("a/b/file")


@pytest.mark.parametrize("kind", ["link to a folder outside", "link to a folder inside", "dangling link", "file"])
def test_a_link_or_a_file_in_place_of_a_folder_is_refused(tmp_path: Path, kind: str) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    match kind:
        case "link to a folder outside":
            (root / "a").symlink_to(outside)
        case "link to a folder inside":
            (root / "real").mkdir()
            (root / "a").symlink_to("real")
        case "dangling link":
            (root / "a").symlink_to("nowhere")
        case "file":
            (root / "a").write_bytes(b"")
    with pytest.raises(ConflictError, match="in the way"):
        Folders(root).ensure_parent("a/b/file")
    assert list(outside.iterdir()) == []
