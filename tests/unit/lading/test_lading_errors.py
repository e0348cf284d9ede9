from __future__ import annotations

import inspect
import pickle
import re

import pytest

from lading import errors

CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, errors.LadingError)]

EXIT_CODES = {
    errors.LadingError: 1,
    errors.UsageError: 2,
    errors.BadNameError: 2,
    errors.AccessError: 3,
    errors.NotFoundError: 4,
    errors.IntegrityError: 5,
    errors.ConflictError: 6,
    errors.SourceError: 7,
    errors.TransferError: 8,
    errors.StorageError: 8,
}


def test_exit_codes_stay_as_they_were_published() -> None:
    assert {cls: cls.exit_code for cls in CLASSES} == EXIT_CODES


@pytest.mark.parametrize("cls", CLASSES)
def test_the_tree_in_the_module_text_names_the_class_and_its_exit_code(cls: type[errors.LadingError]) -> None:
    tree = errors.__doc__ or ""
    line = next((line for line in tree.splitlines() if re.match(rf"[│├└─ ]*{cls.__name__}\b", line)), "")
    assert line, f"{cls.__name__} is not in the tree"
    code = re.search(r"exit (\d)", line)
    # A class without a code of its own is listed below the one whose code it has.
    assert cls.exit_code == (int(code[1]) if code else cls.__mro__[1].exit_code)


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("hint", [None, "do this next"])
def test_pickling_keeps_message_and_hint(cls: type[errors.LadingError], hint: str | None) -> None:
    error = pickle.loads(pickle.dumps(cls("it broke", hint)))
    assert type(error) is cls
    assert (error.message, error.hint) == ("it broke", hint)


def test_text_is_the_message_then_the_hint() -> None:
    assert str(errors.UsageError("a is b", "give c")) == "a is b; give c"
    assert str(errors.UsageError("a is b")) == "a is b"
