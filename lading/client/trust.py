"""Trust: which publisher key may sign which dataset.

The first key that is seen for a dataset is remembered, as ssh does with hosts; from then on another key is an error.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from lading.errors import IntegrityError, UsageError
from lading.paths import naming
from lading.signing import signer, thumbprint, verify


class TrustStore:
    """A small JSON file: dataset name to public JWK. `note` is told when a key is trusted on first use."""

    def __init__(self, path: Path, note: Callable[[str], None] = lambda message: None) -> None:
        self._path = path
        self._note = note

    def check(self, dataset: str, payload: bytes, signature: bytes) -> None:
        """Verify a manifest's signature with the trusted key. Raises IntegrityError."""
        keys = self._read()
        named = signer(signature)
        trusted = keys.get(dataset)
        if trusted is not None and thumbprint(trusted) != thumbprint(named):
            raise IntegrityError(
                f"dataset {dataset!r} is signed by key {thumbprint(named)}, not by the trusted {thumbprint(trusted)}",
                f"ask its publisher; if the change is right, run 'lading trust {dataset} {thumbprint(named)}'",
            )
        verify(payload, signature, trusted or named)
        if trusted is None:
            self.trust(dataset, named)
            self._note(f"trusting key {thumbprint(named)} for dataset {dataset} from now on (first use)")

    def trust(self, dataset: str, jwk: dict[str, str]) -> None:
        """Remember the key of a dataset, in place of any other."""
        keys = {**self._read(), dataset: jwk}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_name(f"{self._path.name}.{os.getpid()}.partial")
        with naming(self._path):
            partial.write_text(json.dumps(keys, indent=2, sort_keys=True) + "\n")
        partial.replace(self._path)

    def _read(self) -> dict[str, dict[str, str]]:
        try:
            keys = json.loads(self._path.read_bytes())
            return {str(dataset): {n: str(jwk[n]) for n in ("crv", "kty", "x")} for dataset, jwk in keys.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"the trust store {self._path} is malformed", "mend it or remove it") from error
