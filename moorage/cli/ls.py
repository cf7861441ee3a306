"""`moorage ls`."""

from __future__ import annotations

import asyncio
from typing import Annotated

from cyclopts import Parameter

from moorage.cli.output import as_json, remark, say
from moorage.cli.world import open_world
from moorage.show.formatting import clean
from moorage.work.queries.stacks import states as look


def ls(*, json: Annotated[bool, Parameter(help="Print the list as JSON.")] = False) -> int:
    """List the stacks of this machine, with their state.

    One that cannot be read or looked at is listed as `unknown`; stderr says why, and so does `error` with `--json`.
    """
    world = open_world()
    records, states, wrong = asyncio.run(look(world))
    if json:
        lost = [{"name": name, "state": states[name], "error": words} for name, words in wrong.items()]
        readable = [
            {**one.model_dump(mode="json"), "state": states[one.name], "error": wrong.get(one.name)} for one in records
        ]
        known = {record.name for record in records}
        as_json([*readable, *(one for one in lost if one["name"] not in known)])
    else:
        from moorage.show.text import stacks_text

        say(stacks_text(records, states))
    for name, words in wrong.items():
        if name in {record.name for record in records}:  # of the others the registry has told
            remark(f"note: {name}: {clean(words)}")
    return 0
