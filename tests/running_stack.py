"""What a test knows of the running local stack."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

from lading.settings import Settings
from lading.stack.config import StackConfig


@dataclass(frozen=True)
class RunningStack:
    """The local stack: its settings as this process sees them, and the environment for child processes."""

    config: StackConfig
    settings: Settings
    environment: dict[str, str]

    def lading(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the command line as a user would."""
        return subprocess.run(
            [sys.executable, "-m", "lading", *arguments],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
