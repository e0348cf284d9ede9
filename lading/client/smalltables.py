"""Tables of a client: DuckDB within little memory, whatever the size of the dataset."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lading.tables import Tables

MEMORY = "128MB"
THREADS = 2


class SmallTables(Tables):
    """Tables that spill to a folder beyond MEMORY."""

    def __init__(self, spill: Path | None = None) -> None:
        super().__init__(spill, MEMORY, THREADS)
        # Every query whose order matters says so; to keep an order that does not takes memory.
        self.run("SET preserve_insertion_order = false")

    def load(self, name: str, ndjson: Path, columns: Mapping[str, str], *, torn: bool = False) -> None:
        """As Tables.load, but read once and kept: each scan of NDJSON takes 32 MiB for each thread."""
        super().load(f"{name}_lines", ndjson, columns, torn=torn)
        self.run(f"CREATE OR REPLACE TABLE {name} AS SELECT * FROM {name}_lines")
        self.run(f"DROP VIEW {name}_lines")
