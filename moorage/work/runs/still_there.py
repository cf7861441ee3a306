"""What became ready and has ended since: a start ends with everything ready, or undone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from moorage.errors import NotReadyError
from moorage.model.definition import Service
from moorage.model.state import Container, Observed
from moorage.rules import endings, graph
from moorage.work.queries.last_lines import last_lines
from moorage.work.runs.run import Run
from moorage.work.runs.wait import LOG_LINES, had_no_memory, not_ready
from moorage.work.threads import in_thread


async def first_gone(run: Run, names: Iterable[str], observed: Observed) -> NotReadyError | None:
    """The error of the first of these services of which a container is not there any more. None: all are."""
    for name in names:
        containers = observed.of(name)
        gone = next((c for c in containers if not _is_still_there(run.services, c)), None)
        if gone is None and len(containers) == run.services[name].replicas:
            continue
        log = await in_thread(partial(last_lines, run.world, gone.id, LOG_LINES)) if gone else ""
        return not_ready(name, await _what_became_of(run, gone), gone, "", log, 0.0)
    return None


def _is_still_there(services: Mapping[str, Service], container: Container) -> bool:
    """Running, or between two lives of a restart policy, or ended as it may. A one-shot has ended."""
    if endings.ended_well(services, container):
        return True
    if graph.is_one_shot(services, container.service):
        return False
    coming_back = container.state in ("exited", "restarting") and endings.comes_back(container)
    return container.state == "running" or coming_back


async def _what_became_of(run: Run, container: Container | None) -> str:
    if container is None:
        return "removed"
    if container.state == "created":
        return "not started"
    if container.state not in ("exited", "dead", "restarting"):
        return "not running"
    return "oom" if container.oom_killed or await had_no_memory(run.world, container) else "exited"
