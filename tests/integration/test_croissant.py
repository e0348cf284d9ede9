"""The Croissant document of a real release."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import mlcroissant
import pytest
import requests
from running_stack import RunningStack

from lading.manifest import parse
from lading.names import CROISSANT, MANIFEST, SIGNATURE, release_key
from lading.objectstore import bucket


def test_a_release_has_a_valid_document_that_leads_to_its_objects(
    stack: RunningStack, dataset: str, make_tree: Callable[..., Path], tmp_path: Path
) -> None:
    from flows.release import release

    labels, card = tmp_path / "labels.csv", tmp_path / "card.toml"
    labels.write_text("path,label,score\na.txt,first,1.5\n")
    card.write_text('title = "Two files"\nlicense = "CC0-1.0"\n')
    source = make_tree("source", {"a.txt": b"a", "b.txt": b"b"})
    release(source=str(source), dataset=dataset, version="1.0.0", labels=str(labels), card=str(card), smoke=False)
    store = bucket(stack.settings)

    data = store.get(release_key(dataset, "1.0.0", CROISSANT))

    made = json.loads(data)
    issues = mlcroissant.Dataset(jsonld=made).metadata.ctx.issues
    assert (set(issues.errors), set(issues.warnings)) == (set(), set())
    fields = {field["@id"]: field["dataType"] for records in made["recordSet"] for field in records["field"]}
    assert (fields["files/label"], fields["files/score"]) == ("sc:Text", "sc:Float")
    # With a token, every URL gives what the document says.
    body = {"dataset": dataset, "version": "1.0.0"}
    headers = {"Authorization": f"Bearer {stack.settings.api_key}"}
    token = requests.post(f"{stack.settings.issuer_url}/v1/tokens", json=body, headers=headers, timeout=10).json()
    assert token["token"].encode() not in data
    manifest = parse(store.get(release_key(dataset, "1.0.0", MANIFEST)))
    assert len(made["distribution"]) == 3 + len(manifest.files)
    for item in made["distribution"]:
        assert requests.get(item["contentUrl"], timeout=10).status_code == 401
        answer = requests.head(item["contentUrl"], headers={"Authorization": f"Bearer {token['token']}"}, timeout=10)
        assert answer.headers["ETag"] == f'"{item["sha256"]}"'
        assert f"{answer.headers['Content-Length']} B" == item["contentSize"]
    document = requests.get(
        f"{stack.settings.gateway_url}/d/{release_key(dataset, '1.0.0', CROISSANT)}",
        headers={"Authorization": f"Bearer {token['token']}"},
        timeout=10,
    )
    assert document.content == data


def test_a_release_that_was_killed_before_its_document_gets_one_when_it_is_repeated(
    stack: RunningStack, dataset: str, make_tree: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import tasks.publish as module
    from flows.release import release

    source = make_tree("source", {"a.txt": b"a"})

    def die(*_: object) -> None:
        raise SystemExit("killed")

    with monkeypatch.context() as patched:
        patched.setattr(module, "croissant", die)
        with pytest.raises(SystemExit):
            release(source=str(source), dataset=dataset, version="v1", smoke=False)
    store = bucket(stack.settings)
    before = store.get(release_key(dataset, "v1", MANIFEST))
    # Without a signature nobody is given the release.
    assert store.head(release_key(dataset, "v1", SIGNATURE)) is None

    release(source=str(source), dataset=dataset, version="v1", smoke=False)

    assert store.get(release_key(dataset, "v1", MANIFEST)) == before
    assert store.head(release_key(dataset, "v1", CROISSANT)) is not None
