"""The command line. A command's module is imported when it runs, so that `lading --help` is quick.

stdout carries data, stderr messages and progress. An error is one line with what to do next; the exit code is that of
its class in lading/errors.py, 130 after Ctrl-C.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from lading import __version__
from lading.errors import LadingError

COMMANDS = {
    "pull": ("lading.cli.pull", "Bring a folder to the state of a release."),
    "diff": ("lading.cli.diff", "Say what changed between two releases."),
    "ls": ("lading.cli.ls", "List datasets, releases, or the files of one."),
    "show": ("lading.cli.show", "Describe a release."),
    "cat": ("lading.cli.cat", "Write files of a release to stdout."),
    "url": ("lading.cli.url", "Print signed URLs for curl, wget, aria2 and others."),
    "login": ("lading.cli.login", "Keep an API key for later commands."),
    "logout": ("lading.cli.logout", "Forget the API key that is kept."),
    "verify": ("lading.cli.verify", "Check that a pulled folder is as it was pulled."),
    "release": ("flows.cli.release", "Release a folder as a new version of a dataset."),
    "promote": ("flows.cli.promote", "Make a version the dataset's latest."),
    "yank": ("flows.cli.yank", "Keep a version but no longer offer it."),
    "gc": ("flows.cli.gc", "Remove expired releases and what no release needs."),
    "report": ("analytics.cli", "Load the logs and write a weekly report."),
    "up": ("lading.cli.up", "Run the local stack until Ctrl-C."),
    "gateway": ("lading.cli.gateway", "Run the gateway on plain workerd, on a machine of your own."),
    "env": ("lading.cli.env", "Print the settings of the local stack."),
    "admin": ("issuer.cli", "Manage users, keys, grants and signing keys of the issuer."),
    "keygen": ("lading.cli.keygen", "Make a key that signs manifests."),
    "trust": ("lading.cli.trust", "Trust another publisher's key for a dataset."),
}
"""Command to (module with its Typer `app`, help). The modules of other parts are named as text: nothing here imports
them, and each needs an extra of its own."""

EXTRAS = {"flows": "pipeline", "analytics": "pipeline", "issuer": "issuer"}

EXIT_INTERRUPTED = 130

KEPT = {"pull": "what was fetched is kept: run the same command to go on"} | dict.fromkeys(
    ("release", "gc", "report"), "what was done is kept: run the same command to go on"
)
"""What is said after Ctrl-C of commands that go on where they stopped."""


class _Commands(TyperGroup):
    """Knows the commands' names and help, and loads the one that runs."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        known = COMMANDS.get(cmd_name)
        return TyperCommand(cmd_name, help=known[1]) if known else None

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            # Typer ends with exit code 130 and no word.
            kept = KEPT.get(ctx.invoked_subcommand or "")
            print(f"lading: interrupted{'; ' + kept if kept else ''}", file=sys.stderr)
            raise

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, _load(name) if name in COMMANDS else command, rest


def _load(name: str) -> Any:
    module = COMMANDS[name][0]
    try:
        command = typer.main.get_command(importlib.import_module(module).app)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(module.partition(".")[0])
        if extra is None:
            raise
        raise LadingError(
            f"'lading {name}' needs the package {error.name!r}", f"install it with: pip install 'lading[{extra}]'"
        ) from error
    command.name = name
    return command


def _version(wanted: bool) -> None:
    if wanted:
        print(f"lading {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=_Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)


@app.callback()
def _main(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Release versioned datasets to object storage, and pull them through an edge gateway."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    try:
        app(args=list(arguments) if arguments is not None else None, prog_name="lading")
    except LadingError as error:
        fail(error)
    except OSError as error:
        fail(_of_the_system(error), error)
    except Exception as error:
        if os.environ.get("LADING_DEBUG"):
            raise
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        fail(LadingError(f"something unexpected happened: {reason}", "set LADING_DEBUG=1 to see where"), error)
    except KeyboardInterrupt:
        print("lading: interrupted", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)


def _of_the_system(error: OSError) -> LadingError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = error.filename or _places_written()
        return LadingError(f"no space left for {where}", "free some, or name a place on a larger disk")
    return LadingError(f"{error.filename or 'the system'}: {error.strerror or error}", "mend it and try again")


def _places_written() -> str:
    """Where the full disk may be: a write that fails does not say what it wrote to."""
    import tempfile

    from lading.settings import Settings

    home = Settings.from_env(kept=False).home
    return f"LADING_HOME ({home}), temporary files ({tempfile.gettempdir()}) or stdout"


def fail(error: LadingError, raised: BaseException | None = None) -> None:
    """Print an error as one line (log excerpts, where there are any, on lines of their own) and exit.

    `raised` is what really happened, if it was something else.
    """
    print(f"lading: {error}", file=sys.stderr)
    # Prefect keeps a failed run's exception, and with it every frame. DuckDB would report what those frames hold as
    # leaked when the process ends.
    cause: BaseException | None = raised or error
    while cause is not None:
        traceback.clear_frames(cause.__traceback__)
        cause = cause.__cause__ or cause.__context__
    sys.exit(error.exit_code)
