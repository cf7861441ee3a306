"""`moorage cancel`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from moorage.cli.detached import verdict
from moorage.cli.output import as_json, remark, say
from moorage.hub import runs


def cancel(
    run: str,
    *,
    timeout: Annotated[
        float, Parameter(name=["--timeout", "-t"], help="Longest time to wait for the run to end, in seconds.")
    ] = 60.0,
    json: Annotated[bool, Parameter(help="Print the run as JSON.")] = False,
) -> int:
    """Cancel a flow run, which undoes its work, and wait until it has ended; exit code 6 if that takes too long.

    Parameters
    ----------
    run
        Id of the run, or its first characters.
    """
    where = runs.address()
    asked = runs.one(where, run)
    runs.cancel(where, asked)
    remark(f"{asked.name}: cancelling; it undoes its work")
    found = runs.until_ended(where, asked, timeout)
    if json:
        as_json(found.model_dump(mode="json"))
    else:
        say(verdict(found))
    return 0 if found.ended else 6
