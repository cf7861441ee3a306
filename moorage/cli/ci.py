"""`moorage ci`: a stack for one command, and nothing left behind."""

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
    """Bring up a stack of its own, run a command against it, remove the stack: `moorage ci -- pytest`.

    Exit code of the command; 5 when the stack was started and did not come up (2, 3, 4: it was not, as with `up`).

    Parameters
    ----------
    command
        Program and arguments, after `--`; finds the services by MOORAGE_URL_<SERVICE>_<PORT>, MOORAGE_HOST_…,
        MOORAGE_PORT_… in its environment.
    """
    if not command:
        sys.stderr.write("moorage: which command? `moorage ci -- pytest`\n")
        return DefinitionError.exit_code
    if command[0].startswith("-"):
        message = f"ci: {command[0]}: no such option"
        raise DefinitionError(message, hint="`moorage ci --help` lists them; the command comes after `--`.")
    if asked.timeout is not None and not 0 < asked.timeout < _LONGEST_S:
        message = f"--timeout {asked.timeout:g}: not a time that a command can have"
        raise DefinitionError(message, hint="Give seconds, more than 0.")
    return _runner(asked)(asked, command).whole()


def _runner(asked: Asked) -> type[CiRun]:
    """Who runs it, by engine; Dagger's part is loaded only when it is asked for."""
    if asked.engine == "docker":
        return CiRun
    from moorage.cli.ci_dagger import DaggerCiRun

    return DaggerCiRun
