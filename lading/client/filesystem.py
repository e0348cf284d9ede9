"""File systems that cannot hold every name: those of Windows, and those that take names of another case for one.

Rules of Windows: Microsoft, "Naming Files, Paths, and Namespaces" and "Maximum Path Length Limitation".
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from lading.errors import ConflictError
from lading.paths import OWN_FOLDER
from lading.tables import Tables

FORBIDDEN = frozenset('<>:"\\|?*') | frozenset(map(chr, range(32)))

DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.IGNORECASE | re.DOTALL)
"""Names of devices, also with an extension: opening such a file opens the device."""

OWN_SHORT_NAME = re.compile(r"lading~[0-9]+", re.IGNORECASE)
"""What Windows may call `.lading`, too: each long name has one of eight letters."""

NAME_MAX = 255
"""UTF-16 units of one name."""

PATH_MAX = 259
"""UTF-16 units of a whole path, where long paths are not turned on."""


@dataclass(frozen=True, slots=True)
class FileSystem:
    """What the file system of a folder makes of names.

    windows     only names that Windows allows
    folds_case  names that differ in case only are one
    path_max    UTF-16 units of a whole path at most; None for any
    """

    windows: bool
    folds_case: bool
    path_max: int | None = None

    @classmethod
    def of(cls, own_folder: Path) -> FileSystem:
        """That of a pulled folder, whose own folder has a file called `lock`."""
        windows = os.name == "nt"
        return cls(windows, (own_folder / "LOCK").exists(), PATH_MAX if windows and not _long_paths() else None)

    def check_path(self, root: Path, path: str) -> None:
        """Raise ConflictError if `root` cannot hold a file of this relative path."""
        if not self.windows:
            return
        problem = refused_by_windows(path)
        if problem is None and self.path_max is not None and _units(f"{root}/{path}") > self.path_max:
            problem = f"a whole path has {self.path_max} characters at most: give a shorter DEST, turn on long paths"
        if problem:
            raise ConflictError(
                f"Windows cannot hold a file called {path!r}: {problem}",
                "leave it out with --exclude, or pull on another system; nothing was changed",
            )

    def check_link(self, path: str, target: str) -> None:
        """Raise ConflictError if a link may lead elsewhere than it does where it comes from."""
        if self.windows and any(letter in FORBIDDEN for letter in target):
            raise ConflictError(
                f"Windows cannot hold the link {path!r}: its target is {target!r}",
                "leave it out with --exclude, or pull on another system; nothing was changed",
            )

    def check_cases(self, tables: Tables, root: Path) -> None:
        """Raise ConflictError if two names would be one: of the release, of what stays in `root`, or Lading's own."""
        if not self.folds_case:
            return
        rows = tables.rows(
            f"{_NAMES} SELECT min(path), max(path) FROM names {_GROUPED} ORDER BY ALL LIMIT 1", OWN_FOLDER
        )
        for one, other in rows:
            raise ConflictError(
                f"{root} takes {one!r} and {other!r} for one name",
                "leave one out with --exclude or move it away, or pull to a file system that tells upper from lower "
                "case; nothing was changed",
            )


_NAMES = """
WITH RECURSIVE wanted(path) AS (
    SELECT path FROM files
    UNION SELECT regexp_replace(path, '/?[^/]*$', '') FROM wanted WHERE path <> ''
),
kept(path) AS (
    SELECT path FROM present ANTI JOIN (SELECT path FROM obsolete SEMI JOIN trusted USING (path)) USING (path)
        ANTI JOIN obsolete_entries USING (path)
    UNION SELECT regexp_replace(path, '/?[^/]*$', '') FROM kept WHERE path <> ''
),
names AS (
    SELECT path, true AS is_wanted FROM wanted UNION ALL SELECT path, false FROM kept UNION ALL SELECT ?, false
)
"""

_GROUPED = "WHERE path <> '' GROUP BY lower(path) HAVING count(DISTINCT path) > 1 AND bool_or(is_wanted)"


def refused_by_windows(path: str) -> str | None:
    """Why Windows cannot hold a relative path with `/` between its parts; None if it can."""
    for number, part in enumerate(path.split("/")):
        found = sorted(FORBIDDEN.intersection(part))
        if found:
            return f"{found[0]!r} is not allowed"
        if part.endswith((".", " ")):
            return "a name cannot end in a dot or a space"
        if DEVICE.fullmatch(part):
            return f"{part!r} is the name of a device"
        if number == 0 and OWN_SHORT_NAME.fullmatch(part):
            return f"{part!r} may be another name of {OWN_FOLDER!r}"
        if _units(part) > NAME_MAX:
            return f"a name has {NAME_MAX} characters at most"
    return None


def _units(text: str) -> int:
    """The length of a text as Windows counts it, in UTF-16 units."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _long_paths() -> bool:
    """Whether this Windows takes paths of more than 259 characters from programs that can, as Python is."""
    if sys.platform == "win32":
        import winreg

        try:
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"SYSTEM\CurrentControlSet\Control\FileSystem") as key:
                return bool(winreg.QueryValueEx(key, "LongPathsEnabled")[0])
        except OSError:
            return False
    return True
