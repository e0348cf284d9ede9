"""What each `code` of a refused request means to somebody who does not know the gateway."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Meaning:
    """`group` is one of GROUPS; `text` says what happened and, if anybody can do something, what."""

    group: str
    text: str


GROUPS = ("access", "limits", "request", "failure", "test")
"""Refused by access rules, refused by limits, a request that could not be served as asked, a failure on our side, and
what a smoke test asked for in order to be refused."""

GROUP_TITLES = {
    "access": "No access",
    "limits": "Limits",
    "request": "Not servable",
    "failure": "Failures",
    "test": "Smoke tests",
}

GATEWAY_CODES = {
    "token_missing": Meaning("access", "No token was sent. Ask the issuer for one, or use the client."),
    "token_expired": Meaning("access", "The token's lifetime was over. Clients renew it and resume by themselves."),
    "token_invalid": Meaning("access", "The signature, issuer, audience or form of the token does not hold."),
    "token_revoked": Meaning("access", "The token, its user or its signing key was revoked."),
    "key_not_allowed": Meaning("access", "The token is valid, but not for this object."),
    "ip_not_allowed": Meaning("access", "The token is bound to another network address."),
    "rate_limited": Meaning("limits", "Too many requests in a short time. Clients wait and go on."),
    "quota_exceeded": Meaning("limits", "The bytes allowed for this token, or for this user and day, are used up."),
    "bad_request": Meaning("request", "The address has no key or no token, or its key is malformed."),
    "not_found": Meaning("request", "There is no such object."),
    "not_acceptable": Meaning("request", "A file is too large to be decoded here, and zstd was not accepted."),
    "method_not_allowed": Meaning("request", "Only GET, HEAD and OPTIONS are served."),
    "precondition_failed": Meaning("request", "The object is not the one that If-Match asked for."),
    "range_not_satisfiable": Meaning("request", "The range begins behind the end of the object."),
    "origin_error": Meaning("failure", "The object store failed or gave a wrong answer."),
    "internal_error": Meaning("failure", "The gateway itself failed."),
    "misconfigured": Meaning("failure", "A setting of the gateway is missing or wrong."),
    "smoke_test": Meaning("test", "The smoke test of a release made sure that this is refused."),
    "limiter_unavailable": Meaning("failure", "The limiter did not answer, and the gateway is set to refuse then."),
}

ISSUER_CODES = {
    "api_key_missing": Meaning("access", "No API key was sent."),
    "api_key_invalid": Meaning("access", "The API key is unknown, expired or revoked."),
    "no_grant": Meaning("access", "The user has no grant for this dataset, or it has expired."),
    "project_not_granted": Meaning("access", "The user has no grant for this dataset on that project."),
    "bad_request": Meaning("request", "The request for a token is malformed."),
    "dataset_not_found": Meaning("request", "There is no such dataset."),
    "version_not_found": Meaning("request", "The dataset has no such version."),
    "store_unavailable": Meaning("failure", "The issuer could not read the release from the object store."),
    "release_invalid": Meaning("failure", "The release in the object store does not match its signature or hashes."),
    "database_unavailable": Meaning("failure", "The issuer's database did not answer."),
    "issuer_error": Meaning("failure", "The issuer itself failed."),
}

_BY_STATUS = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 412: "precondition_failed"} | {
    416: "range_not_satisfiable"
}


def gateway_meaning(code: str, status: int) -> Meaning:
    """The meaning of a code that the gateway logged, by its status if the code is not known here."""
    known = GATEWAY_CODES.get(code) or GATEWAY_CODES.get(_BY_STATUS.get(status, ""))
    if known:
        return known
    if status >= 500:
        return Meaning("failure", f"The gateway answered with status {status}.")
    if status == 429:
        return Meaning("limits", "The gateway answered with status 429: a limit was reached.")
    group = "access" if status in (401, 403) else "request"
    return Meaning(group, f"The gateway answered with status {status}.")


def issuer_meaning(code: str) -> Meaning:
    """The meaning of a code that the issuer logged for a token that it did not give."""
    return ISSUER_CODES.get(code) or Meaning("access", "The issuer gave no token.")
