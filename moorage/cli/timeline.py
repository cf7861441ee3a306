"""`moorage timeline`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from moorage.cli.completion import StackName
from moorage.cli.options import Selection
from moorage.cli.output import as_json, remark, say
from moorage.cli.target import whole_stack_of
from moorage.cli.world import open_world
from moorage.errors import DefinitionError


def timeline(
    stack: StackName = None,
    *,
    selection: Selection = Selection(),  # noqa: B008 - frozen
    svg: Annotated[Path | None, Parameter(help="Write the chart as SVG to a file; `-` is stdout.")] = None,
    run: Annotated[
        str | None,
        Parameter(help="Show this run (its id or its beginning), not the last start; `history --runs` lists them."),
    ] = None,
    json: Annotated[bool, Parameter(help="Print the timeline as JSON.")] = False,
) -> int:
    """Draw the last start: what waited for what, how long each service took, and what slowed the whole start down.

    A line says so if a service took clearly longer than in its last ten starts.

    Parameters
    ----------
    stack
        Name of the stack, as with `--name`; without it, the stack of the working directory.
    """
    from moorage.work.queries.timeline import timeline as look

    world = open_world()
    chart = look(world, whole_stack_of(world, selection, stack, "timeline"), run)
    if svg:
        from moorage.show.timeline_svg import timeline_svg

        _write(svg, timeline_svg(chart))
    if json:
        as_json(chart.model_dump(mode="json"))
    elif not svg:
        from moorage.show.timeline_text import timeline_text

        say(timeline_text(chart, shutil.get_terminal_size((100, 24)).columns))
    return 0


def _write(file: Path, text: str) -> None:
    if str(file) == "-":
        say(text)
        return
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DefinitionError(f"{file}: {error.strerror}", hint="Name a writeable file.") from None
    remark(f"written: {file}")
