"""Parameters of chunking and compression, frozen with each release.

Plain dataclasses: the steps of a release use them without loading the model of the manifest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

_STRICT: dict[str, Any] = {"extra": "forbid", "strict": True}
"""How pydantic reads them as parts of a manifest."""


@dataclass(frozen=True, slots=True)
class Chunking:
    """Parameters of content-defined chunking, frozen with the release; sizes in bytes."""

    __pydantic_config__: ClassVar = _STRICT

    algorithm: Literal["fastcdc"] = "fastcdc"
    min: int = 256 * 1024
    avg: int = 1024 * 1024
    max: int = 4 * 1024 * 1024
    normalization: int = 2
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Compression:
    """How frames are compressed."""

    __pydantic_config__: ClassVar = _STRICT

    algorithm: Literal["zstd"] = "zstd"
    level: int = 3

    def __post_init__(self) -> None:
        if not 1 <= self.level <= 22:
            raise ValueError("level is to be from 1 to 22")
