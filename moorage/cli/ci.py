"""`moorage ci`: a temporary stack for one command."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from moorage.cli.ci_run import Asked, CiRun
from moorage.errors import DefinitionError

_LONGEST_S = 10_000_000.0


def ci(
    *command: Annotated[str, Parameter(allow_leading_hyphen=True)],
    asked: Asked = Asked(),  # noqa: B008 - frozen
) -> int:
    """Bring up a temporary stack, run a command against it, and remove the stack: `moorage ci -- pytest`.

    The exit code is the command's; 5 if the stack was started but did not come up (2, 3, 4: it could not be started, as
    with `up`).

    Parameters
    ----------
    command
        Program and arguments, after `--`. Its environment has the addresses of the services:
        MOORAGE_URL_<SERVICE>_<PORT>, MOORAGE_HOST_…, MOORAGE_PORT_….
    """
    if not command:
        sys.stderr.write("moorage: ci: no command given, such as `moorage ci -- pytest`\n")
        return DefinitionError.exit_code
    if command[0].startswith("-"):
        message = f"ci: {command[0]}: no such option"
        raise DefinitionError(message, hint="`moorage ci --help` lists them; the command comes after `--`.")
    if asked.timeout is not None and not 0 < asked.timeout < _LONGEST_S:
        message = f"--timeout {asked.timeout:g} is not a valid time"
        raise DefinitionError(message, hint="Give a number of seconds greater than 0.")
    return _runner(asked)(asked, command).whole()


def _runner(asked: Asked) -> type[CiRun]:
    """The class that runs it on the selected engine; Dagger's is loaded only when it is used."""
    if asked.engine == "docker":
        return CiRun
    from moorage.cli.ci_dagger import DaggerCiRun

    return DaggerCiRun
