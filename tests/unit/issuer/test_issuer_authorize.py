from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from issuer.authorize import (
    MAX_KEYS,
    GrantView,
    Limits,
    RefusedError,
    TokenRequest,
    check_request,
    decide,
    readable,
    scope,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS = Limits(ttl=300, min_ttl=30, max_ttl=3600)


def ask(**fields: Any) -> TokenRequest:
    return TokenRequest(**{"dataset": "cats", **fields})


def in_(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_a_grant_for_the_dataset_allows() -> None:
    approval = decide(ask(), [GrantView("cats", "vision")], NOW, LIMITS)
    assert (approval.project, approval.ttl) == ("vision", 300)


@pytest.mark.parametrize(
    "grants",
    [[], [GrantView("dogs", "p")], [GrantView("cat", "p")], [GrantView("cats2", "p")], [GrantView("cats", "p", NOW)]],
    ids=["none", "another dataset", "a prefix of it", "longer than it", "ends this moment"],
)
def test_without_a_valid_grant_it_refuses(grants: list[GrantView]) -> None:
    with pytest.raises(RefusedError) as caught:
        decide(ask(), grants, NOW, LIMITS)
    assert (caught.value.status, caught.value.code) == (403, "no_grant")


def test_an_expired_grant_and_no_grant_are_told_apart_only_in_the_audit() -> None:
    with pytest.raises(RefusedError) as expired:
        decide(ask(), [GrantView("cats", "p", in_(-1))], NOW, LIMITS)
    with pytest.raises(RefusedError) as absent:
        decide(ask(), [], NOW, LIMITS)
    assert expired.value.detail == absent.value.detail
    assert expired.value.reason == "every grant for it has expired"


def test_a_grant_for_the_dataset_goes_before_the_wildcard() -> None:
    grants = [GrantView("*", "general"), GrantView("cats", "vision", in_(600))]
    assert decide(ask(), grants, NOW, LIMITS).project == "vision"


def test_the_longest_grant_is_taken_and_ties_go_by_project() -> None:
    grants = [GrantView("cats", "b"), GrantView("cats", "a", in_(10)), GrantView("cats", "c")]
    assert decide(ask(), grants, NOW, LIMITS).project == "b"


def test_a_named_project_needs_a_grant_of_its_own() -> None:
    grants = [GrantView("cats", "vision"), GrantView("*", "general"), GrantView("cats", "old", in_(-1))]
    assert decide(ask(project="general"), grants, NOW, LIMITS).project == "general"
    with pytest.raises(RefusedError, match="general, vision") as caught:
        decide(ask(project="old"), grants, NOW, LIMITS)
    assert (caught.value.status, caught.value.code) == (403, "project_not_granted")


@given(left=st.floats(min_value=0.001, max_value=10_000), ttl=st.none() | st.integers(30, 3600))
def test_a_token_does_not_outlive_its_grant(left: float, ttl: int | None) -> None:
    approval = decide(ask(ttl=ttl), [GrantView("cats", "p", in_(left))], NOW, LIMITS)
    assert 1 <= approval.ttl <= max(1, left)


@pytest.mark.parametrize("ttl", [29, 0, -1, 3601])
def test_a_lifetime_out_of_bounds_is_refused(ttl: int) -> None:
    with pytest.raises(RefusedError, match="30 to 3600") as caught:
        check_request(ask(ttl=ttl), LIMITS)
    assert caught.value.status == 422


@pytest.mark.parametrize("name", ["", "Cats", "../x", "cats/shards", "cats\n", "*", "a" * 64])
def test_a_name_that_breaks_the_rules_is_refused(name: str) -> None:
    for request in (ask(dataset=name), ask(version=f"/{name}")):
        with pytest.raises(RefusedError) as caught:
            check_request(request, LIMITS)
        assert caught.value.code == "bad_request"


@pytest.mark.parametrize(
    "key",
    [
        "dogs/shards/a",
        "cats",
        "cats/",
        "cats/shards/",
        "cats/../dogs/a",
        "cats/./a",
        "cats//a",
        "cats/a\nb",
        "cats/a\x00",
        "cats/a\\b",
        "catsx/a",
        "/cats/a",
        "cats/" + "é" * 600,
        "cats/\ud800",
    ],
)
def test_a_key_that_is_no_exact_key_of_the_dataset_is_refused(key: str) -> None:
    with pytest.raises(RefusedError) as caught:
        check_request(ask(keys=("cats/shards/good", key)), LIMITS)
    assert caught.value.code == "bad_request"


@pytest.mark.parametrize("count", [0, MAX_KEYS + 1])
def test_no_keys_and_too_many_keys_are_refused(count: int) -> None:
    with pytest.raises(RefusedError):
        check_request(ask(keys=("cats/a",) * count), LIMITS)


@pytest.mark.parametrize(
    ("given_", "canonical"),
    [("192.0.2.1", "192.0.2.1"), ("192.0.2.7/24", "192.0.2.0/24"), ("2001:DB8::1", "2001:db8::1")],
)
def test_addresses_become_canonical(given_: str, canonical: str) -> None:
    assert check_request(ask(bind_ip=given_), LIMITS).bind_ip == canonical


@pytest.mark.parametrize("address", ["", "localhost", "1.2.3", "1.2.3.4/33", "testclient"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(RefusedError):
        check_request(ask(bind_ip=address), LIMITS)


def test_the_scope_is_the_release_or_exactly_the_keys() -> None:
    assert scope("cats", "v1", None) == ["cats/shards/", "cats/releases/v1/"]
    assert scope("cats", "v1", ("cats/shards/a",)) == ["cats/shards/a"]


@given(st.lists(st.tuples(st.sampled_from(["cats", "dogs", "*"]), st.integers(-5, 5) | st.none())))
def test_readable_and_decide_agree(raw: list[tuple[str, int | None]]) -> None:
    grants = [GrantView(dataset, "p", None if end is None else in_(end)) for dataset, end in raw]
    if readable("cats", grants, NOW):
        decide(ask(), grants, NOW, LIMITS)
    else:
        with pytest.raises(RefusedError):
            decide(ask(), grants, NOW, LIMITS)
