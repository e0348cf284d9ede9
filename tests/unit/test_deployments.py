"""prefect.yaml names flows that exist, with parameters that they take."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow

ROOT = Path(__file__).resolve().parents[2]
DEPLOYMENTS = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]


def flow_of(deployment: dict[str, Any]) -> Flow[..., Any]:
    module, _, name = deployment["entrypoint"].rpartition(".")
    found = getattr(importlib.import_module(module), name)
    assert isinstance(found, Flow)
    return found


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_an_entrypoint_is_a_flow_of_its_own_module(deployment: dict[str, Any]) -> None:
    flow = flow_of(deployment)
    assert deployment["entrypoint"].startswith("flows.")
    assert flow.fn.__module__ == deployment["entrypoint"].rpartition(".")[0]
    assert flow.name == deployment["name"]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_preset_parameters_are_valid(deployment: dict[str, Any]) -> None:
    flow = flow_of(deployment)
    preset = deployment.get("parameters", {})
    required = set(flow.parameters.required) - set(preset)
    assert preset.keys() <= flow.parameters.properties.keys()
    flow.validate_parameters({**dict.fromkeys(required, "given"), **preset})


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_every_parameter_explains_itself_in_the_form(deployment: dict[str, Any]) -> None:
    for name, schema in flow_of(deployment).parameters.properties.items():
        assert schema.get("description"), f"parameter {name} has no description"


def test_deployments_hold_no_secrets() -> None:
    text = (ROOT / "prefect.yaml").read_text()
    assert "job_variables" not in text
    assert "SECRET" not in text
