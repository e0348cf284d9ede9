"""Selection: which part of a release is asked for. What it selects is decided in lading/client/select.py."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Selection:
    """What is wanted of a release; what all given conditions hold for is selected, and everything without any.

    include  globs, one of which has to match
    exclude  globs, none of which may match
    paths    paths of files, or of folders with all that is below them; None is no condition
    where    one SQL expression over the columns of files.parquet, the labels' columns included
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    paths: tuple[str, ...] | None = None
    where: str | None = None

    @property
    def everything(self) -> bool:
        """Whether no condition is given."""
        return not self.include and not self.exclude and self.paths is None and self.where is None


EVERYTHING = Selection()


def read_paths(lines: Iterable[str]) -> tuple[str, ...]:
    """Paths from a list of lines; empty lines and a leading `./` do not count."""
    stripped = (line.rstrip("\r\n").removeprefix("./").rstrip("/") for line in lines)
    return tuple(dict.fromkeys(line for line in stripped if line))
