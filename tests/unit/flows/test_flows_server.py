"""The Prefect server of one command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

URL = "http://prefect.example/api"

USE = """
from lading.settings import Settings
from flows.cli.server import prefect_server
with prefect_server(Settings.from_env()):
    from prefect.settings import PREFECT_API_URL
    print(PREFECT_API_URL.value())
"""


def test_a_server_that_a_profile_names_is_left_alone(tmp_path: Path) -> None:
    home = tmp_path / "prefect"
    home.mkdir()
    (home / "profiles.toml").write_text(f'active = "team"\n[profiles.team]\nPREFECT_API_URL = "{URL}"\n')
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {"PREFECT_HOME": str(home), "LADING_HOME": str(tmp_path / "lading")}
    done = subprocess.run([sys.executable, "-c", USE], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == URL
