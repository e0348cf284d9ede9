"""Credentials that `lading login` keeps for a user: the API key, and the issuer that it is for.

The file is JSON, readable by its owner alone. Its key is for its issuer: it is never sent to another one.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lading.errors import UsageError
from lading.paths import naming

FILE_MODE = 0o600
OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a login leaves behind; `gateway_url` is None where the issuer names the gateway."""

    issuer_url: str
    api_key: str = field(repr=False)
    gateway_url: str | None = None


def config_folder(env: Mapping[str, str]) -> Path:
    """The user's folder for Lading's configuration: below XDG_CONFIG_HOME or ~/.config, APPDATA on Windows."""
    base = env.get("APPDATA") if os.name == "nt" else env.get("XDG_CONFIG_HOME")
    return Path(base or "~/.config").expanduser() / "lading"


def load(path: Path) -> Credentials | None:
    """What is kept in a file; None without it. Raises UsageError if it is malformed or others may read it."""
    try:
        with path.open("rb") as file:
            if os.name != "nt" and os.fstat(file.fileno()).st_mode & OTHERS:
                raise UsageError(f"{path} holds an API key and may be read by others", f"run: chmod 600 {path}")
            document = json.load(file)
        return Credentials(str(document["issuer_url"]), str(document["api_key"]), document.get("gateway_url") or None)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror})", "mend it or run 'lading logout'") from error
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"{path} is malformed", "run 'lading login' again") from None


def store(path: Path, credentials: Credentials) -> None:
    """Keep credentials, in place of any others. The file is its owner's alone from the moment it is there."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    with naming(path), os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(credentials), file, indent=2, sort_keys=True)
        file.write("\n")
    partial.replace(path)


def remove(path: Path) -> bool:
    """Forget what is kept; whether there was something."""
    try:
        path.unlink()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
