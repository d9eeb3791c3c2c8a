"""What the commands share: options, and one-line errors with an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from weirdgen.errors import WeirdgenError


def one_line_errors(command: Callable[..., int | None]) -> Callable[..., None]:
    """Ends the command with its exit code; an error the user can act on is one line on stderr."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            code = command(*args, **kwargs)
        except (WeirdgenError, OSError) as error:
            from weirdgen.text import single_line  # what it quotes may be anybody's text

            click.echo(f"weirdgen: {single_line(' '.join(str(error).split()))}", err=True)
            code = error.exit_code if isinstance(error, WeirdgenError) else 2
        except KeyboardInterrupt:
            click.echo("weirdgen: interrupted; run the same command to continue", err=True)
            code = 130
        sys.exit(code or 0)

    return wrapped


study_argument = click.argument("study", type=click.Path(path_type=Path))
set_option = click.option(
    "--set",
    "overrides",
    metavar="FIELD=VALUE",
    multiple=True,
    help="Change a field of the study; VALUE is YAML, e.g. grid.seeds=0..9. May be repeated.",
)
storage_option = click.option(
    "--storage",
    default="results",
    show_default=True,
    help="Where artifacts and results live: a folder (relative to here), s3:// or gs://.",
)
