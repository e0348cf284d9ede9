"""Every error that Lading raises on purpose, in one tree.

LadingError                      exit 1   anything below, or a failure with no better name
├── UsageError                   exit 2   an argument or a setting is wrong
│   └── BadNameError                      a dataset, version or path name breaks the rules
├── AccessError                  exit 3   the issuer or the gateway refused
├── NotFoundError                exit 4   a dataset, version, file or object is not there
├── IntegrityError               exit 5   bytes, a hash or a signature do not match
├── ConflictError                exit 6   it exists already, or somebody else was faster
├── SourceError                  exit 7   the source tree cannot be released as it is
└── TransferError                exit 8   the network or a server failed, retries included
    └── StorageError                      the object store failed

A message says what happened and to what; `hint` says what to do next. The command line prints both on one line.
"""

from __future__ import annotations


class LadingError(Exception):
    """Base of all errors with a message for people.

    `message` is one sentence without a full stop; `hint` is what to do next, in the imperative.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[type[LadingError], tuple[str, str | None]]:
        # Prefect moves exceptions between processes; the default would lose the hint.
        return type(self), (self.message, self.hint)


class UsageError(LadingError):
    """An argument or a setting is wrong."""

    exit_code = 2


class BadNameError(UsageError):
    """A dataset, version or path name breaks the rules."""


class AccessError(LadingError):
    """The issuer or the gateway refused: no key, a wrong key, no grant, a token that is not valid."""

    exit_code = 3


class NotFoundError(LadingError):
    """A dataset, version, file or object is not there."""

    exit_code = 4


class IntegrityError(LadingError):
    """Bytes, a hash or a signature do not match what a manifest or an index promised."""

    exit_code = 5


class ConflictError(LadingError):
    """It exists already, or another run was faster."""

    exit_code = 6


class SourceError(LadingError):
    """The source tree cannot be released as it is."""

    exit_code = 7


class TransferError(LadingError):
    """The network or a server failed, and retries did not help."""

    exit_code = 8


class StorageError(TransferError):
    """The object store failed."""
