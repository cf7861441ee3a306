"""`moorage init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from moorage.cli.output import as_json, say
from moorage.hub.project import project_directory
from moorage.work.operations.init import write_project


def init(
    directory: Path,
    *,
    template: Annotated[
        Literal["commandcenter"] | None,
        Parameter(help="Write the compose file and Dockerfiles of this template instead."),
    ] = None,
    force: Annotated[bool, Parameter(help="Overwrite existing files that have other content.")] = False,
    json: Annotated[bool, Parameter(help="Print the written files as JSON.")] = False,
) -> int:
    """Write flows/, tasks/, blocks/ and prefect.yaml into a directory, for your team to own and change.

    Parameters
    ----------
    directory
        Directory to write to; it is created if missing.
    """
    target = directory.absolute()
    names = (
        _template(template, target, force=force)
        if template
        else write_project(project_directory(), target, force=force)
    )
    if json:
        as_json({"directory": str(target), "files": names})
    else:
        say(f"{directory}: {len(names)} files written")
        say(f"next, run in that directory: `{'moorage up' if template else 'prefect --no-prompt deploy --all'}`")
    return 0


def _template(name: str, target: Path, *, force: bool) -> list[str]:
    """Compose file and Dockerfiles for a project with `backend/`, `frontend/`, or itself one of the two."""
    from moorage.adapters.build_context import BuildContexts
    from moorage.rules.starter_template import files
    from moorage.work.operations.init import template, write_files

    seen = {folder: BuildContexts().survey(target / folder) for folder in ("backend", "frontend", ".")}
    written = files(seen, template(name))
    return write_files({path: text.encode() for path, text in written.items()}, target, force=force)
