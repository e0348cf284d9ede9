from __future__ import annotations

import json
from pathlib import Path

import pytest
from analytics_events import issue, request, write_log

from lading.cli import main


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LADING_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def run(*arguments: str | Path) -> int:
    try:
        main(["report", *map(str, arguments)])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_report_of_a_folder_with_logs(logs: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_log(logs, "a", [request(), "bad"])
    write_log(logs, "b", [issue()], producer="issuer")
    assert run("--logs", logs, "--week", "2026-W47") == 0
    output = capsys.readouterr()
    page = home / "reports/2026-W47/report.html"
    assert output.out == f"{page}\n"
    assert "loaded 2 events from 2 new log objects, put 1 bad lines aside" in output.err
    assert "imagenet-mini" in page.read_text("utf-8")


def test_json_goes_to_stdout_alone(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_log(logs, "a", [request()])
    assert run("--logs", logs, "--from", "2026-11-18", "--to", "2026-11-18", "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["period"]["name"] == "2026-11-18_2026-11-18"
    assert figures["total"]["requests"] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--week", "2026-W99"],
        ["--from", "2026-11-18"],
        ["--week", "last", "--from", "2026-11-18", "--to", "2026-11-18"],
        ["--prices", "nowhere.toml"],
    ],
)
def test_wrong_arguments_end_with_the_code_for_usage(
    logs: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--logs", logs, *arguments) == 2
    assert capsys.readouterr().err.startswith("lading: ")


def test_reading_before_loading_says_what_to_do(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--logs", logs, "--no-load") == 4
    assert "load logs first" in capsys.readouterr().err
