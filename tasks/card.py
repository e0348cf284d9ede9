"""The dataset card: what a manifest says about the data as a whole."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lading.errors import UsageError
from lading.manifest import Source


class DatasetCard(BaseModel):
    """Title, licence (an SPDX identifier), labels, and the sources with their shares of the bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str | None = None
    license: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    sources: tuple[Source, ...] = ()

    @model_validator(mode="after")
    def _shares_fit(self) -> DatasetCard:
        if sum(source.share for source in self.sources) > 1.0001:
            raise ValueError("the sources' shares add up to more than 1")
        return self


def read_card(path: Path | None) -> DatasetCard:
    """Read a card from a TOML file; without one it is empty. Raises UsageError that names the field."""
    if path is None:
        return DatasetCard()
    try:
        return DatasetCard.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UsageError(f"there is no dataset card {path}", "check the path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the dataset card {path} is not TOML: {error}", "mend it") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the card"
        raise UsageError(f"the dataset card {path} is wrong at {field}: {first['msg']}", "mend it") from error
