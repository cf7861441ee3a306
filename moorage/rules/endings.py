"""What the end of a container means: it was meant to end, the engine starts it again, or it has failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from moorage.model.definition import RestartPolicy, Service
from moorage.model.state import Container, RunHead, RunOutcome
from moorage.model.step import Operation
from moorage.rules import graph, known_images

_BEGINNINGS = (Operation.UP, Operation.START, Operation.RESTART, Operation.ROLLBACK, Operation.HEAL)
_MOST_RESTARTS = 5
"""A container that the engine has started again so often is in a crash loop; the engine's pauses are 3 s by then."""
_MOST_PATIENCE = 10
"""The same for `on-failure:N`, which says itself how often it may be tried."""


def good_exit(service: Service) -> int:
    """The exit code with which a service that may end should end."""
    return service.ready.exit_code if service.ready else 0


def may_end(services: Mapping[str, Service], name: str, policy: RestartPolicy) -> bool:
    """True if a good exit code ends it well: it is a one-shot, or nobody wants more of it than that it was started.

    Whoever says when it is ready, waits until it is healthy, or has it started again after every end, wants more.
    """
    if graph.is_one_shot(services, name):
        return True
    lasting = policy in (RestartPolicy.ALWAYS, RestartPolicy.UNLESS_STOPPED)
    return services[name].ready is None and not lasting and not graph.is_awaited(services, name)


def ended_well(services: Mapping[str, Service], container: Container) -> bool:
    """True if a container has ended, as it may, with a good exit code."""
    name = container.service
    well = container.exit_code == good_exit(services[name]) and not container.oom_killed
    return container.state == "exited" and well and may_end(services, name, container.restart_policy)


def comes_back(container: Container) -> bool:
    """True if the engine starts it again after the end that it has come to."""
    match container.restart_policy:
        case RestartPolicy.ON_FAILURE:
            tried = container.most_restarts and container.restarts >= container.most_restarts
            return container.exit_code != 0 and not tried
        case RestartPolicy.NO:
            return False
    return True


def loops(container: Container) -> bool:
    """True if the engine has started it so often that this is a crash loop.

    Where its policy itself ends soon, the last try may still succeed: the engine's giving up is waited for.
    """
    if 0 < container.most_restarts <= _MOST_PATIENCE:
        return False
    return container.restarts >= (_MOST_PATIENCE if container.most_restarts else _MOST_RESTARTS)


def ended_in_a_run(started_at: datetime | None, finished_at: datetime | None, runs: Iterable[RunHead]) -> bool:
    """True if a life began and ended while a run brought the stack up, and that run was content: nobody stopped it.

    Of any other end with 0, nothing tells whether the program had done its work or was told to stop. The engine notes
    the start of a short life a little later than its end.
    """
    if started_at is None or finished_at is None:
        return False
    first, last = sorted((started_at, finished_at))
    return any(
        run.operation in _BEGINNINGS
        and run.outcome == RunOutcome.COMMITTED
        and run.finished_at is not None
        and run.started_at <= first
        and last <= run.finished_at
        for run in runs
    )


def serves(service: Service, container: Container) -> bool:
    """True if it looks like something that others talk to: it has ports, a health check, or is a known server."""
    known = known_images.guess(service.image or "", container.program)
    return bool(service.ports or container.health_check or known)
