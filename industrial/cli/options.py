"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path

import click


def _named_after(context: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    if value is not None:
        context.obj = value


#: `--project` behind an inner verb, where most people write it, for groups that take it before the verb as their object.
project_too = click.option(
    "--project", type=click.Path(exists=True, file_okay=False, path_type=Path), callback=_named_after,
    expose_value=False, help="As before the verb.",
)  # fmt: skip
