"""What the commands share: options, and one-line errors with an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

from weirdgen.errors import WeirdgenError


class CommandGroup(click.Group):
    """Ends each command with its exit code; an error the user can act on is one line on stderr."""

    def invoke(self, ctx: click.Context) -> NoReturn:
        try:
            code = super().invoke(ctx)
        except (WeirdgenError, OSError) as error:
            from weirdgen.text import single_line  # what it quotes may be anybody's text

            click.echo(f"weirdgen: {single_line(' '.join(str(error).split()))}", err=True)
            code = error.exit_code if isinstance(error, WeirdgenError) else 2
        except KeyboardInterrupt:
            click.echo("weirdgen: interrupted; run the same command to continue", err=True)
            code = 130
        sys.exit(code or 0)


FILE = click.Path(path_type=Path)


def repeatable(*names: str, help: str, **kwargs: Any) -> Callable[[Any], Any]:
    """An option that may be given several times, and whose help says so."""
    return click.option(*names, multiple=True, help=f"{help} May be repeated.", **kwargs)


study_argument = click.argument("study", type=FILE)
set_option = repeatable(
    "--set",
    "overrides",
    metavar="FIELD=VALUE",
    help="Change a field of the study; VALUE is YAML, e.g. grid.seeds=0..9.",
)
storage_option = click.option(
    "--storage",
    default="results",
    help="Where artifacts and results live: a folder (relative to here), s3:// or gs://.",
)
