"""DuckDB's engine: `from lading.duck import duckdb`.

`import duckdb` also loads a Python API of relations and expressions, a tenth of a second that Lading has no use for.
The engine itself, which that package re-exports, is the module `_duckdb`; where a later version has moved it, the whole
package serves as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb
else:
    try:
        import _duckdb as duckdb
    except ImportError:
        import duckdb

__all__ = ["duckdb"]
