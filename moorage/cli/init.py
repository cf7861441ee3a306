"""`moorage init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from moorage.cli.output import as_json, say
from moorage.hub.project import project_directory
from moorage.work.project_files import write_project


def init(
    directory: Path,
    *,
    force: Annotated[bool, Parameter(help="Overwrite files that are there with other content.")] = False,
    json: Annotated[bool, Parameter(help="Print the written files as JSON.")] = False,
) -> int:
    """Write flows/, tasks/, blocks/ and prefect.yaml into a directory, for a team to own and change.

    Parameters
    ----------
    directory
        Where to; made if it is not there.
    """
    names = write_project(project_directory(), directory.absolute(), force=force)
    if json:
        as_json({"directory": str(directory.absolute()), "files": names})
    else:
        say(f"{directory}: {len(names)} files written")
        say("next, in that directory: `prefect --no-prompt deploy --all`")
    return 0
